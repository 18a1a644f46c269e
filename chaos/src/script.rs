//! Stories: small texts that say what is done to a cluster and what may be expected then, one statement a line, so that
//! an operator who never saw the language understands them. `scripts` has them, and the grammar in its README.
//!
//! Here a text becomes a `Script`. Nothing here knows a clock, a network or a cluster, and nothing guesses: a text is
//! understood in full, or refused with all of its mistakes. Nothing here may panic, whatever the text.

mod language; // the statements, and how they are written
mod pieces; // what they are made of
mod words; // a line, word by word

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub(crate) use language::*;
pub(crate) use pieces::*;
use words::Words;

/// The verbs of the lines before the steps, in their order.
const HEAD: [&str; 3] = ["fear:", "seed", "cluster"];

/// Words that are likely to be tried, and the verb that does it.
const OTHER_VERBS: &str = "kill crash start restart freeze pause continue resume partition cut isolate cut delay hold \
    reconnect heal insert write query read retry repeat erase wipe corrupt damage skew set transfer hand sleep wait \
    assert expect check expect";

/// A story, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Script {
    /// What the operator fears, as a sentence.
    pub(crate) title: String,
    /// The seed of the simulation, if the story needs a certain one.
    pub(crate) seed: Option<u64>,
    pub(crate) cluster: Cluster,
    pub(crate) steps: Vec<Step>,
}

/// One statement, on a line counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    /// As it was written.
    pub(crate) text: String,
    pub(crate) action: Action,
}

/// Something that does not belong where it stands. Lines and columns, in characters, are counted from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) expected: String,
    pub(crate) found: String,
    /// How the statement is written, or the nearest verb.
    pub(crate) help: Vec<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, expected, found, help } = self;
        write!(f, "line {line}, column {column}: expected {expected}, found {found}")?;
        help.iter().try_for_each(|help| write!(f, "\nhelp: {help}"))
    }
}

/// Reads a story, or says everything that is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Script, Vec<Mistake>> {
    let mut reader = Reader::default();
    for (i, line) in text.lines().enumerate() {
        let mut words = Words::of(line, reader.cluster);
        if !words.verb().is_empty() && !words.verb().starts_with('#') {
            reader.line(i + 1, &mut words);
        }
    }
    reader.end(text.lines().count() + 1)
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    /// The first part that may still come: one of `HEAD`, or the steps.
    part: usize,
    title: String,
    seed: Option<u64>,
    cluster: Option<Cluster>,
    steps: Vec<Step>,
    /// The line that gave each name, and what it stands for.
    names: BTreeMap<Name, (usize, Stage)>,
    mistakes: Vec<Mistake>,
}

/// What has become of something with a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Sent,
    Answered,
    Writing,
    Stopped,
}

impl Reader {
    fn line(&mut self, line: usize, words: &mut Words<'_>) {
        let verb = words.verb();
        let help: Vec<String> = forms().into_iter().filter(|form| verb_of(form) == verb).collect();
        let part = HEAD.iter().position(|first| *first == verb).unwrap_or(HEAD.len());
        if let Some(missing) = self.missing(part) {
            words.wrong::<()>(verb, missing);
            self.mistakes.push(words.mistake(line, Vec::new()));
        }
        let out_of_order = part < self.part;
        self.part = self.part.max(part + 1).min(HEAD.len());
        if out_of_order || help.is_empty() {
            let order = || "title, seed and cluster stand once, in this order, before the steps".to_owned();
            let help = if out_of_order { order() } else { format!("the nearest verb is \"{}\"", nearest(verb)) };
            words.wrong::<()>(verb, "a step");
            return self.mistakes.push(words.mistake(line, vec![help]));
        }
        let read = match part {
            0 => words.sentence().map(|title| self.title = title),
            1 => words.phrase(verb).and_then(|()| Count::read(words)).map(|seed| self.seed = Some(seed.0)),
            2 => Cluster::read(words).map(|cluster| self.cluster = Some(cluster)),
            _ => Action::read(words)
                .map(|action| self.steps.push(Step { line, text: words.line.trim().to_owned(), action })),
        };
        if read.and_then(|()| words.end()).and_then(|()| self.refer(line, words)).is_none() {
            self.mistakes.push(words.mistake(line, help));
        }
    }

    /// What should have come before a part.
    fn missing(&self, part: usize) -> Option<&'static str> {
        match self.part {
            0 if part > 0 => Some("\"fear:\" and a sentence first"),
            1 | 2 if part == HEAD.len() => Some("\"cluster of ...\" before the steps"),
            _ => None,
        }
    }

    /// Keeps what names stand for, and finds what does not fit the lines above. After a mistake it finds nothing: what
    /// is referred to may stand on the line that was not understood.
    fn refer(&mut self, line: usize, words: &mut Words<'_>) -> Option<()> {
        let Some((Step { action, .. }, above)) = self.steps.split_last().filter(|_| self.mistakes.is_empty()) else {
            return Some(());
        };
        let known = |name| self.names.get(name).map(|(_, stage)| *stage);
        let (name, is, becomes, expected) = match action {
            Action::Change { then: Then::Later { name }, .. } => (name, None, Stage::Sent, "a name that is new"),
            Action::KeepWriting { name, .. } => (name, None, Stage::Writing, "a name that is new"),
            Action::Await { name, .. } => (name, Some(Stage::Sent), Stage::Answered, "what was sent and not awaited"),
            Action::Stop { name, .. } => (name, Some(Stage::Writing), Stage::Stopped, "what keeps writing"),
            Action::Repeat { which: Earlier::Named { name }, .. } => {
                let sent = known(name).filter(|stage| matches!(stage, Stage::Sent | Stage::Answered));
                (name, sent.or(Some(Stage::Sent)), sent.unwrap_or(Stage::Sent), "what was sent under a name")
            }
            Action::Repeat { which: Earlier::LastWrite {}, .. } => {
                let is_there = above.iter().any(|step| verb_of(&step.text) == "write");
                return if is_there { Some(()) } else { words.wrong("write", "what stands on a line above") };
            }
            _ => return Some(()),
        };
        if known(name) != is {
            return words.wrong(&name.0, expected);
        }
        self.names.insert(name.clone(), (line, becomes));
        Some(())
    }

    fn end(self, line: usize) -> Result<Script, Vec<Mistake>> {
        let no_step = self.steps.is_empty().then_some("a step");
        let missing = self.missing(HEAD.len()).or(no_step).map(|missing| (line, missing.to_owned()));
        let unfinished = self.names.iter().filter_map(|(Name(name), (line, stage))| match stage {
            Stage::Sent => Some((*line, format!("\"await {name} -> ...\" on a line below"))),
            Stage::Writing => Some((*line, format!("\"stop {name} -> ...\" on a line below"))),
            Stage::Answered | Stage::Stopped => None,
        });
        let found = "the end of the story";
        let mistake = |(line, expected)| Mistake { line, column: 1, expected, found: found.into(), help: vec![] };
        let open: Vec<Mistake> = missing.into_iter().chain(unfinished).map(mistake).collect();
        match self.cluster {
            Some(cluster) if self.mistakes.is_empty() && open.is_empty() => {
                Ok(Script { title: self.title, seed: self.seed, cluster, steps: self.steps })
            }
            _ if self.mistakes.is_empty() => Err(open),
            _ => Err(self.mistakes),
        }
    }
}

/// How every line is written.
fn forms() -> Vec<String> {
    let mut forms = ["fear: SENTENCE.", "seed N", Cluster::NAME].map(str::to_owned).to_vec();
    forms.extend(Action::forms());
    for (name, of) in [(Change::NAME, Change::forms()), (Condition::NAME, Condition::forms())] {
        let written_out = |form: &String| of.iter().map(|one| form.replace(name, one)).collect();
        let each = |form: String| if form.contains(name) { written_out(&form) } else { vec![form] };
        forms = forms.into_iter().flat_map(each).collect();
    }
    forms
}

fn verb_of(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// The verb that was most likely meant.
fn nearest(word: &str) -> String {
    let others: Vec<_> = OTHER_VERBS.split(' ').collect();
    if let Some([_, verb]) = others.chunks_exact(2).find(|pair| pair[0] == word) {
        return (*verb).to_owned();
    }
    // How many letters one word has and the other has not, wherever they stand: slips of the fingers are 0 or 1 apart.
    let count = |word: &str, letter: char| word.chars().filter(|c| *c == letter).count();
    let apart = |verb: &str| ('a'..='z').map(|letter| count(word, letter).abs_diff(count(verb, letter))).sum::<usize>();
    let forms = forms();
    forms.iter().map(|form| verb_of(form)).min_by_key(|verb| apart(verb)).unwrap_or_default().to_owned()
}
