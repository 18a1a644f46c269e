//! One binary for all rules, so that the workspace is compiled and read once. A rule is a pure function from text to
//! what is wrong in it, tried here on a text that breaks it, and then on the repository.

mod dependencies;
mod docs;
mod edges;
mod source;
mod supply;
mod text;
mod tree;

/// Fails with every violation at once: a rule that stops at the first one is run ten times.
#[track_caller]
fn assert_none(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}
