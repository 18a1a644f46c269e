//! Sees to it that docs/cli.md names every command with what it prints and how it ends, that its second half is the help pages
//! as they are, and that every help page shows an example. Test code only.

use std::path::Path;

use clap::{Command, CommandFactory as _};
use meridian_env::real;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
const PAGE_BYTES_MAX: u64 = 1 << 20;
/// What stands above it is written by people.
const MARK: &str = "<!-- What follows is generated: MERIDIAN_BLESS=1 cargo test -p meridian-cli -->\n";
const WIDTH: usize = 100;

/// Every command with its words, parents before what is in them.
fn commands() -> Vec<(String, Command)> {
    fn wide(command: Command) -> Command {
        command.term_width(WIDTH).mut_subcommands(wide)
    }
    fn collect(path: &str, command: &Command, found: &mut Vec<(String, Command)>) {
        found.push((path.to_owned(), command.clone()));
        for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
            collect(&format!("{path} {}", inner.get_name()), inner, found);
        }
    }
    let mut root = wide(crate::Cli::command());
    root.build();
    let mut found = Vec::new();
    collect("meridian", &root, &mut found);
    found
}

fn help(command: &Command) -> String {
    let text = command.clone().render_long_help().to_string();
    let lines = text.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect::<String>().trim_end().to_owned() + "\n"
}

fn generated() -> String {
    let page = |(path, command): &(String, Command)| format!("\n### {path}\n\n```text\n{}```\n", help(command));
    "\n## Help pages\n".to_owned() + &commands().iter().map(page).collect::<String>()
}

fn page() -> (String, String) {
    let bytes = real::disk().read(Path::new(PAGE), PAGE_BYTES_MAX).expect("the page is there");
    let text = String::from_utf8(bytes).expect("the page is text");
    let (written, generated) = text.split_once(MARK).expect("the page has its mark");
    (written.to_owned(), generated.to_owned())
}

#[test]
fn the_help_pages_in_the_manual_are_current() {
    let (written, found) = page();
    let expected = generated();
    if std::env::var_os("MERIDIAN_BLESS").is_some() {
        let text = written + MARK + &expected;
        real::disk().replace(Path::new(PAGE), text.as_bytes()).expect("written");
        return;
    }
    assert!(found == expected, "docs/cli.md is old: MERIDIAN_BLESS=1 cargo test -p meridian-cli");
}

#[test]
fn every_help_page_has_an_example() {
    for (path, command) in commands() {
        assert!(help(&command).contains("Example"), "`{path} --help` shows no example");
    }
}

#[test]
fn the_manual_says_what_every_command_prints_and_how_it_ends() {
    let (written, _) = page();
    let rows: Vec<Vec<&str>> =
        written.lines().filter(|line| line.starts_with("| `meridian ")).map(|line| line.split('|').collect()).collect();
    let leaves: Vec<_> = commands().into_iter().filter(|(_, command)| !command.has_subcommands()).collect();
    for (path, _) in &leaves {
        let row = rows.iter().find(|row| row[1].trim() == format!("`{path}`"));
        let row = row.unwrap_or_else(|| panic!("docs/cli.md has no row for `{path}`"));
        assert!(row.len() == 5 && row[2..4].iter().all(|cell| !cell.trim().is_empty()), "`{path}`: an empty cell");
    }
    assert_eq!(rows.len(), leaves.len(), "docs/cli.md has a row for a command that is not there");
}
