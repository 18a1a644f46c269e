//! The files of the repository, and the Markdown tables that hold the rules' data. Reads only; follows no links.

#![expect(
    clippy::disallowed_methods,
    reason = "the subject of these tests is files on disk; nothing here is simulated"
)]

use std::path::{Path, PathBuf};

/// What builds, runs and editors leave behind; the rest of the tree is committed.
const NOT_COMMITTED: [&str; 5] = ["target", ".git", "meridian-data", "__pycache__", ".venv"];

/// One committed text file.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests")
    }
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One file by its path from the root.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Writes a generated file.
pub(crate) fn write(path: &str, text: &str) {
    std::fs::write(root().join(path), text).unwrap_or_else(|e| panic!("{path}: {e}"));
}

/// All text files of the repository, in the order of their paths.
pub(crate) fn files() -> Vec<File> {
    let (mut found, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root().join(&folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
        for entry in entries {
            let entry = entry.unwrap_or_else(|e| panic!("{folder}: {e}"));
            let name = entry.file_name().into_string().expect("committed names are UTF-8");
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type().unwrap_or_else(|e| panic!("{path}: {e}"));
            if kind.is_dir() && !NOT_COMMITTED.contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The Rust files of the repository.
pub(crate) fn rust_files() -> impl Iterator<Item = File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs"))
}

/// Rows of the first table below the heading `## title`, as trimmed cells, without its head.
pub(crate) fn table(page: &str, title: &str) -> Vec<Vec<String>> {
    let section = page.split("\n## ").find_map(|part| part.strip_prefix(title)).unwrap_or_default();
    let lines = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = lines.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// What stands between backticks.
pub(crate) fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn a_table_is_read_below_its_heading() {
    let page =
        "# Page\n\n## Other\n| a |\n|---|\n| `no` |\n\n## Edges\ntext\n\n| a | b |\n|---|---|\n| `x` | `y`, `z` |\n";
    assert_eq!(table(page, "Edges"), [["`x`", "`y`, `z`"]]);
    assert_eq!(quoted("`y`, `z` and more"), ["y", "z"]);
    assert!(table(page, "Missing").is_empty());
}
