//! Tables for people: plain columns without lines or colours, so that grep and awk read them too. Pure.

use comfy_table::{CellAlignment, Table, presets};

/// One column: its heading, and whether it holds numbers, which stand at the right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heading<'a> {
    /// What stands above the column.
    pub(crate) name: &'a str,
    /// Whether its cells are numbers.
    pub(crate) is_number: bool,
}

/// A column of text.
pub(crate) fn text(name: &str) -> Heading<'_> {
    Heading { name, is_number: false }
}

/// A column of numbers.
pub(crate) fn number(name: &str) -> Heading<'_> {
    Heading { name, is_number: true }
}

/// Rows without headings, newline included: names and what they stand for.
pub(crate) fn rows(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// The table, newline included. What would move a terminal's cursor is shown escaped.
pub(crate) fn render(headings: &[Heading<'_>], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().map(|heading| visible(heading.name)));
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    for (i, heading) in headings.iter().enumerate() {
        if let Some(column) = table.column_mut(i) {
            column.set_padding((0, 2));
            if heading.is_number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.trim_fmt() + "\n"
}

fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let (escaped, plain) = if c.is_control() { (Some(c.escape_default()), None) } else { (None, Some(c)) };
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_in_their_line() {
        let rows = [vec!["a\nb\u{1b}[31m".to_owned(), "1".to_owned()], vec!["ü".to_owned(), "100".to_owned()]];
        let found = render(&[text("name"), number("n")], rows);
        assert_eq!(found, "name              n\na\\nb\\u{1b}[31m    1\nü               100\n");
    }
}
