//! All stories are understood, what is shown reads back, mistakes are named as `testdata/mistakes.txt` says, the
//! grammar that people read is the one that is used, and no text makes a panic.

#![expect(clippy::disallowed_methods, reason = "the subject of these tests is files of the repository")]

use std::fs;

use super::*;

const CASE_HEAD: &str = "fear: A case.\ncluster of 3 nodes, 2 shards, 2 routers\n";

fn file(below: &str) -> String {
    fs::read_to_string(format!("{}/{below}", env!("CARGO_MANIFEST_DIR"))).expect("a file of this crate")
}

fn stories() -> BTreeMap<String, String> {
    let entries = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts")).expect("the stories");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"));
    names.filter(|name| name.ends_with(".txt")).map(|name| (name.clone(), file(&format!("scripts/{name}")))).collect()
}

fn lines(all: impl IntoIterator<Item = impl ToString>) -> String {
    all.into_iter().map(|one| one.to_string() + "\n").collect()
}

fn parsed(name: &str, text: &str) -> Script {
    parse(text).unwrap_or_else(|mistakes| panic!("{name}:\n{}{text}", lines(mistakes)))
}

/// A story as its statements are shown, each on its line.
fn shown(script: &Script) -> String {
    let mut text = vec![format!("fear: {}", script.title)];
    text.extend(script.seed.map(|seed| format!("seed {seed}")));
    text.push(script.cluster.show());
    for step in &script.steps {
        text.resize(text.len().max(step.line - 1), String::new());
        text.push(step.action.to_string());
    }
    lines(text)
}

#[test]
fn every_story_is_short_understood_and_in_its_one_form() {
    let stories = stories();
    for (name, text) in &stories {
        assert!((5..=25).contains(&text.lines().count()), "{name} is too long or too short");
        let script = parsed(name, text);
        for Step { line, text, action } in &script.steps {
            assert_eq!(*text, action.to_string(), "{name}:{line}");
        }
        assert_eq!(parsed(name, &shown(&script)), script);
    }
    let all: String = stories.into_values().collect();
    let is_used = |form: &String| all.lines().any(|line| verb_of(line) == verb_of(form));
    let unused: Vec<_> = forms().into_iter().filter(|form| !is_used(form)).collect();
    assert_eq!(unused, ["seed N"], "the stories show how all other statements are used");
}

/// Cases stand between empty lines: a text behind `> `, then what is said of it.
#[test]
fn mistakes_are_named_with_line_column_and_help() {
    let mut wrong = String::new();
    for case in file("testdata/mistakes.txt").split("\n\n").filter(|case| case.starts_with("> ")) {
        let (text, told): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| line.starts_with("> "));
        let story = lines(text.iter().map(|line| &line[2..]));
        let head = if HEAD.contains(&verb_of(&story)) || story.starts_with('#') { "" } else { CASE_HEAD };
        let found = lines(parse(&format!("{head}{story}")).err().into_iter().flatten());
        if found != lines(told) {
            wrong += &format!("{}{found}\n", lines(text));
        }
    }
    assert!(wrong.is_empty(), "found instead:\n{wrong}");
}

#[test]
fn the_grammar_for_people_is_current() {
    let mut grammar = lines(forms());
    let parts = [Process::forms(), Node::forms(), Place::forms(), Outcome::forms(), Answer::forms()];
    for (name, forms) in ["PROCESS", "NODE", "PLACE", "OUTCOME", "ANSWER"].iter().zip(parts) {
        grammar += &format!("\n{name} is {}\n", forms.join(" | "));
    }
    assert!(file("scripts/README.md").contains(&grammar), "scripts/README.md should have:\n{grammar}");
}

#[test]
fn no_text_makes_a_panic_and_what_is_understood_reads_back() {
    let all: String = stories().into_values().collect();
    let (known, words): (Vec<&str>, Vec<&str>) = (all.lines().collect(), all.split_whitespace().collect());
    let (mut state, mut understood) = (7_u64, 0);
    let mut below = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % end
    };
    for _ in 0..6_000 {
        let noise: Vec<u8> = (0..below(60)).map(|_| below(256) as u8).collect();
        let _ = parse(&String::from_utf8_lossy(&noise));
        // A line of a story in which a word may be another one.
        let mut line: Vec<&str> = known[below(known.len())].split(' ').collect();
        let at = below(2 * line.len());
        line.iter_mut().skip(at).take(1).for_each(|word| *word = words[below(words.len())]);
        let Ok(script) = parse(&(CASE_HEAD.to_owned() + &line.join(" "))) else { continue };
        assert_eq!(parsed("what was shown", &shown(&script)).steps[0].action, script.steps[0].action);
        understood += 1;
    }
    assert!(understood > 1_000, "only {understood} lines were understood");
}
