//! Pages that are generated are current, decisions have their four parts, and links lead somewhere.

use std::fmt::Write as _;

use meridian_types::{Code, Kind};

use crate::{assert_none, tree};

const ERRORS: &str = "docs/errors.md";

/// Every kind with what it asks of the caller.
const KINDS: [Kind; 8] = [
    Kind::Fix,
    Kind::NotFound,
    Kind::Exists,
    Kind::NotAllowed,
    Kind::Retry,
    Kind::Overloaded,
    Kind::Unknown,
    Kind::Broken,
];

fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::Fix => "change the request",
        Kind::NotFound => "name something that exists, or create it",
        Kind::Exists => "use what is there, or choose another name",
        Kind::NotAllowed => "ask for the right, or go to the right cluster",
        Kind::Retry => "certainly not applied: send again with the same request id",
        Kind::Overloaded => "certainly not applied: send again later, with the same request id",
        Kind::Unknown => "may or may not be applied: send again with the same request id",
        Kind::Broken => "a bug or a disk: report it",
    }
}

fn errors_page() -> String {
    let mut page = String::from(
        "# Error codes\n\nEvery failure carries a code, and every code a kind that says what the caller must do. \
         Generated from `crates/types`:\n`MERIDIAN_BLESS=1 cargo test -p meridian-tidy` writes this page.\n\n\
         | kind | what to do |\n|---|---|\n",
    );
    for kind in KINDS {
        writeln!(page, "| {kind:?} | {} |", remedy(kind)).expect("a String takes everything");
    }
    for code in Code::ALL {
        write!(page, "\n## {code}\n\n**{}** Kind: {:?}.\n{}\n", code.title(), code.kind(), code.help())
            .expect("a String takes everything");
    }
    page
}

#[test]
fn the_page_of_error_codes_is_current() {
    let page = errors_page();
    if std::env::var_os("MERIDIAN_BLESS").is_some() {
        tree::write(ERRORS, &page);
    }
    assert!(tree::read(ERRORS) == page, "{ERRORS} is old: MERIDIAN_BLESS=1 cargo test -p meridian-tidy");
}

/// What a decision lacks.
fn lacking(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let shape: String = name.chars().take(11).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape != "0000-00-00-" {
        found.push(format!("{name}: the name starts with a date"));
    }
    for part in
        ["\nStatus: ", "\n**Problem.**", "\n**Decision.**", "\n**Rejected.**", "\n**What would change our mind.**"]
    {
        if !text.contains(part) {
            found.push(format!("{name}: no {}", part.trim()));
        }
    }
    found
}

#[test]
fn decisions_are_dated_and_complete() {
    assert_eq!(lacking("why.md", "# Why\n").len(), 6);
    let mut found = Vec::new();
    for file in tree::files() {
        if let Some(name) = file.path.strip_prefix("docs/decisions/").filter(|name| *name != "dependencies.md") {
            found.extend(lacking(name, &file.text));
        }
    }
    assert_none("decisions", &found);
}

/// Targets of the Markdown links of a page that are files of the repository.
fn links(text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
    local.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn links_lead_somewhere() {
    assert_eq!(links("[a](b.md#c) [d](https://e) [f](#g)"), ["b.md"]);
    let mut found = Vec::new();
    for file in tree::files().into_iter().filter(|file| file.path.ends_with(".md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(&file.text) {
            if !tree::root().join(folder).join(&link).exists() {
                found.push(format!("{}: {link}", file.path));
            }
        }
    }
    assert_none("links to files that are not there", &found);
}

/// Paths of Rust files and pages that a page names in backticks, or at the end of a line of an example.
fn named_paths(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || "`()[],:;".contains(c));
    let is_path = |word: &&str| {
        let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        plain && word.contains('/') && (word.ends_with(".rs") || word.ends_with(".md"))
    };
    words.filter(is_path).map(str::to_owned).collect()
}

#[test]
fn paths_in_pages_exist() {
    assert_eq!(named_paths("see `a/b.rs`, https://c/d.md x.rs\n e/f.md:"), ["a/b.rs", "//c/d.md", "e/f.md"]);
    let mut found = Vec::new();
    for file in tree::files().into_iter().filter(|file| file.path.ends_with(".md")) {
        let folder = tree::root().join(file.path.rsplit_once('/').map_or("", |(folder, _)| folder));
        for path in named_paths(&file.text).into_iter().filter(|path| !path.starts_with("//")) {
            if !tree::root().join(&path).exists() && !folder.join(&path).exists() {
                found.push(format!("{}: {path}", file.path));
            }
        }
    }
    assert_none("files that a page names and that are not there", &found);
}
