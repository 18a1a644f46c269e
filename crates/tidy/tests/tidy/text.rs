//! What must not stand in any committed text.

use crate::{assert_none, tree};

/// Paths that exist on one machine only. Put together here, so that this file does not break its own rule.
fn machine_paths() -> [String; 3] {
    ["work", "root", "home"].map(|folder| format!("/{folder}/"))
}

/// Lines that name a path of one machine.
fn paths_in(text: &str) -> Vec<usize> {
    let starts_a_path = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "./}~-_*".contains(c))
    };
    let names_one =
        |line: &str| machine_paths().iter().any(|path| line.match_indices(path).any(|(at, _)| starts_a_path(line, at)));
    text.lines().enumerate().filter(|(_, line)| names_one(line)).map(|(i, _)| i + 1).collect()
}

#[test]
fn no_text_names_a_path_of_one_machine() {
    let [work, root, _] = machine_paths();
    let text = format!("a {work}x\nnet{work}x\n`{root}.cargo`\n");
    assert_eq!(paths_in(&text), [1, 3]);
    let mut found = Vec::new();
    for file in tree::files() {
        found.extend(paths_in(&file.text).iter().map(|line| format!("{}:{line}", file.path)));
    }
    assert_none("paths of one machine", &found);
}

/// A note to do something later is an entry of the roadmap or an issue, not a comment.
#[test]
fn no_code_puts_work_off() {
    let marks = ["TO", "FIX", "XX"].iter().zip(["DO", "ME", "X"]).map(|(a, b)| format!("{a}{b}"));
    let marks: Vec<String> = marks.collect();
    let mut found = Vec::new();
    for file in tree::rust_files() {
        for (i, line) in file.text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_ascii_alphanumeric());
            if words.into_iter().any(|word| marks.iter().any(|mark| mark == word)) {
                found.push(format!("{}:{}", file.path, i + 1));
            }
        }
    }
    assert_none("work put off in a comment", &found);
}
