//! What operators fear, and what becomes of it: every story in `scripts` is played to its end.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn stories_hold() {
    #[expect(clippy::disallowed_methods, reason = "the stories are files of the repository")]
    let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")).expect("the stories");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut stories: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    stories.sort_unstable();
    assert!(stories.len() >= 20, "{stories:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian-chaos"));
    let output = command.args(["script", "--jobs", "2"]).args(&stories).output().expect("the simulation starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
