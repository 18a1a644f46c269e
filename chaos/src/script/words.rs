//! A line as words that are taken one after the other. What was tried in vain at the last word that was reached is what
//! would have been right there: readers try, and none of them has to tell what another one would have taken.

use super::{Cluster, Mistake};

/// What is left of a line.
#[derive(Debug)]
pub(super) struct Words<'a> {
    /// Without the blanks at its end.
    pub(super) line: &'a str,
    words: Vec<&'a str>,
    next: usize,
    /// The last word that was reached, and what was expected there.
    furthest: usize,
    expected: Vec<String>,
    /// Which nodes, shards and routers there are.
    pub(super) cluster: Cluster,
}

impl<'a> Words<'a> {
    pub(super) fn of(line: &'a str, cluster: Option<Cluster>) -> Self {
        let (line, words) = (line.trim_end(), line.split_whitespace().collect());
        let cluster = cluster.unwrap_or(Cluster { nodes: 9, shards: 64, routers: 9 });
        Self { line, words, next: 0, furthest: 0, expected: Vec::new(), cluster }
    }

    /// The first word; empty if there is none.
    pub(super) fn verb(&self) -> &'a str {
        self.word(0)
    }

    fn word(&self, at: usize) -> &'a str {
        self.words.get(at).copied().unwrap_or_default()
    }

    /// Takes these words, all or none. Nothing is a phrase, too.
    pub(super) fn phrase(&mut self, phrase: &str) -> Option<()> {
        let (mut rest, mut at) = (phrase, self.next);
        while !rest.is_empty() {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            if self.word(at) != word {
                return self.fail(at, format!("\"{rest}\""));
            }
            (rest, at) = (after, at + 1);
        }
        self.next = at;
        Some(())
    }

    /// Takes the next word as what it means.
    pub(super) fn take<T>(&mut self, expected: &str, meaning: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let Some(value) = meaning(self.word(self.next)) else { return self.fail(self.next, expected) };
        self.next += 1;
        Some(value)
    }

    /// Takes all behind the first word.
    pub(super) fn sentence(&mut self) -> Option<String> {
        self.next = self.words.len();
        let sentence = self.words.get(1..).unwrap_or_default().join(" ");
        if sentence.ends_with('.') { Some(sentence) } else { self.fail(self.next, "a sentence and its full stop") }
    }

    /// What `read` takes, or nothing.
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = self.next;
        let taken = read(self);
        self.next = if taken.is_some() { self.next } else { start };
        taken
    }

    pub(super) fn end(&mut self) -> Option<()> {
        if self.next < self.words.len() { self.fail(self.next, "the end of the line") } else { Some(()) }
    }

    /// The word that was taken last should have been something else.
    pub(super) fn refuse<T>(&mut self, expected: &str) -> Option<T> {
        self.fail(self.next.saturating_sub(1), expected)
    }

    fn fail<T>(&mut self, at: usize, expected: impl Into<String>) -> Option<T> {
        let expected = expected.into();
        if at > self.furthest {
            self.expected.clear();
        }
        if at >= self.furthest && !self.expected.contains(&expected) {
            self.furthest = at;
            self.expected.push(expected);
        }
        None
    }

    /// Whatever else, this word of the line should have been something else.
    pub(super) fn wrong<T>(&mut self, word: &str, expected: &str) -> Option<T> {
        self.furthest = self.words.iter().rposition(|other| *other == word).unwrap_or_default();
        self.expected = vec![expected.to_owned()];
        None
    }

    /// The mistake at the last word that was reached.
    pub(super) fn mistake(&self, line: usize, help: Vec<String>) -> Mistake {
        let (before, found) = match self.words.get(self.furthest) {
            Some(word) => (word.as_ptr().addr() - self.line.as_ptr().addr(), format!("\"{}\"", word.escape_debug())),
            None => (self.line.len(), "the end of the line".to_owned()),
        };
        let expected = match self.expected.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => self.expected.concat(),
        };
        Mistake { line, column: self.line[..before].chars().count() + 1, expected, found, help }
    }
}
