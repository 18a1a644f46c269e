//! Where a line ends. The one place that knows that newlines may stand inside strings, and what an open string does to the
//! lines behind it. It judges nothing else: a line that is cut here may still be refused.

use memchr::{memchr, memchr_iter, memchr2};

/// Cuts the first line off `body`, which is not empty: the line without its newline and `\r`, how many newlines were passed,
/// and what is behind it.
pub(super) fn first_line(body: &[u8]) -> (&[u8], usize, &[u8]) {
    let end = line_end(body);
    let line = &body[..end];
    let newlines = 1 + memchr_iter(b'\n', line).count();
    (line.strip_suffix(b"\r").unwrap_or(line), newlines, body.get(end + 1..).unwrap_or_default())
}

/// The line without spaces and tabs at both ends.
pub(super) fn without_blanks(line: &[u8]) -> &[u8] {
    let line = without_leading_blanks(line);
    &line[..line.len() - line.iter().rev().take_while(|b| is_blank(**b)).count()]
}

/// Where the first line's newline stands, or the end of `body`. Each byte is looked at a bounded number of times over all
/// lines of a body: the search for a closing quote stops at the next `="`, which is where the next search can begin.
fn line_end(body: &[u8]) -> usize {
    let newline_after = |at: usize| memchr(b'\n', &body[at..]).map_or(body.len(), |i| at + i);
    let mut end = newline_after(0);
    if memchr(b'"', &body[..end]).is_none() {
        return end;
    }
    let start = end - without_leading_blanks(&body[..end]).len();
    if body[start] == b'#' {
        return end;
    }
    // Only a field's value can be a string: quotes before the first space are part of names.
    let Some(fields) = memchr_iter(b' ', &body[start..end]).map(|i| start + i).find(|&i| !is_escaped(body, i)) else {
        return end;
    };
    let mut at = fields + 1;
    while let Some(quote) = memchr(b'"', &body[at..end]).map(|i| at + i) {
        at = quote + 1;
        if body[quote - 1] != b'=' || is_escaped(body, quote - 1) {
            continue;
        }
        match closing_quote(body, at) {
            Some(close) if close < end => at = close + 1,
            Some(close) if may_follow_string(&body[close + 1..]) => {
                at = close + 1;
                end = newline_after(at);
            }
            // Nothing closes this string: the line ends at the newline that is the string's first.
            _ => return end,
        }
    }
    end
}

fn without_leading_blanks(line: &[u8]) -> &[u8] {
    &line[line.iter().take_while(|b| is_blank(**b)).count()..]
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_escaped(body: &[u8], at: usize) -> bool {
    at > 0 && body[at - 1] == b'\\'
}

/// The quote that ends the string whose text begins at `at`.
pub(super) fn closing_quote(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at);
        }
        at += if matches!(body.get(at + 1), Some(b'"' | b'\\')) { 2 } else { 1 };
    }
}

/// Whether what stands behind a quote lets that quote be the end of a string: another field, a timestamp or the line's end.
fn may_follow_string(behind: &[u8]) -> bool {
    match without_leading_blanks(behind).first() {
        None | Some(b'\n' | b'\r') => true,
        Some(b',') => behind[0] == b',',
        Some(b'-' | b'0'..=b'9') => behind[0] == b' ',
        Some(_) => false,
    }
}
