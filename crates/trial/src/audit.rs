//! Whether all that was done to one register can have happened one after the other: the slow judge by the fast one. Pure.
//!
//! A register is one field of one series at one time. Its history is linearizable (Herlihy and Wing 1990) if each operation
//! can be given one moment between its beginning and its end, so that every read returns what the last write or delete
//! before it left. An order is found by trying, as in Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with
//! the memory of Lowe, "Testing for linearizability" (2017): when the same operations have their places, the rest is tried
//! once.
//!
//! Shares nothing with `registers.rs`, which judges each answer alone: this is to find its errors, and what no single answer
//! shows, such as a value that goes away and comes back. Knows nothing of rows: that their fields go together is not judged.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Operations that a [`Stuck`] shows of those that have a place: the last ones.
const SHOWN_MAX: usize = 8;

/// What was done to the register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// It was given a value.
    Write(i64),
    /// It was emptied.
    Delete,
    /// It was read, and had this.
    Read(Option<i64>),
}

impl Deed {
    /// What the register has right after it.
    fn value(self) -> Option<i64> {
        match self {
            Self::Write(value) => Some(value),
            Self::Delete => None,
            Self::Read(seen) => seen,
        }
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Read(_))
    }
}

/// One operation, and when it was under way. It came before each one that began after its end, whatever a clock says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Op {
    /// A point in the order of all beginnings and ends.
    pub began: u64,
    /// Nothing if its outcome was never told: it may take effect at any later time, or never.
    pub ended: Option<u64>,
    /// What was done.
    pub deed: Deed,
}

impl Op {
    fn end(&self) -> u64 {
        self.ended.unwrap_or(u64::MAX)
    }
}

/// How far an order can go at most, and what does not fit in any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stuck {
    /// The longest order that was found for a part of the operations.
    pub placed: Vec<Op>,
    /// What the register has after them.
    pub state: Option<i64>,
    /// What cannot come next, and not later either: all that could bring its value has its place, or must come after it.
    pub blocked: Op,
}

/// Whether there is an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is one.
    Linearizable,
    /// There is none.
    Stuck(Stuck),
    /// Nobody knows: so many steps were not enough.
    GaveUp(usize),
}

/// Looks for an order of all operations on one register that has nothing at first. Refused operations are left out by the
/// caller. Gives up after about `steps_max` steps, each of which gives one operation its place; mostly there are hardly more
/// steps than operations. Of an operation that ends before it begins the verdict says nothing.
pub fn audit(ops: &[Op], steps_max: usize) -> Verdict {
    Search::of(ops).run(steps_max)
}

/// Operations of one value that have no place yet.
#[derive(Default)]
struct Waiting {
    reads: usize,
    /// Writes of the value, or deletes if it is nothing.
    writes: usize,
}

/// A point in the search to which it can come back.
struct Fork {
    placed: usize,
    state: Option<i64>,
    /// Not tried yet, the first to try last.
    choices: Vec<usize>,
}

/// An order that grows and shrinks until all have their places.
struct Search {
    /// By their beginnings.
    ops: Vec<Op>,
    /// One bit for each operation that has its place.
    is_placed: Vec<u64>,
    /// The same operations, as they follow each other.
    order: Vec<usize>,
    /// What the register has after them.
    state: Option<i64>,
    waiting: BTreeMap<Option<i64>, Waiting>,
    steps: usize,
}

impl Search {
    /// Leaves out reads that had no answer, and operations of unknown outcome whose value nobody can have read. The latter
    /// loses nothing: in an order with such a write no read follows it before the next write, so that the order is as good
    /// without it; and an order without it is as good with it at the very end. An unknown delete is left out likewise, but
    /// stays if anybody read nothing after it began.
    fn of(ops: &[Op]) -> Self {
        let mut last_read = BTreeMap::new();
        for op in ops.iter().filter(|op| op.deed.is_read()) {
            if let Some(ended) = op.ended {
                let last = last_read.entry(op.deed.value()).or_insert(ended);
                *last = ended.max(*last);
            }
        }
        let may_be_read = |op: &Op| last_read.get(&op.deed.value()).is_some_and(|ended| *ended >= op.began);
        let matters = |op: &&Op| op.ended.is_some() || !op.deed.is_read() && may_be_read(op);
        let mut ops: Vec<Op> = ops.iter().filter(matters).copied().collect();
        ops.sort_by_key(|op| op.began);
        let is_placed = vec![0; ops.len().div_ceil(64)];
        let mut search = Self { ops, is_placed, order: Vec::new(), state: None, waiting: BTreeMap::new(), steps: 0 };
        for i in 0..search.ops.len() {
            *search.count(i) += 1;
        }
        search
    }

    fn run(mut self, steps_max: usize) -> Verdict {
        let Some(blocked) = self.blocked() else { return Verdict::Linearizable };
        let mut longest = self.stuck(blocked);
        let mut forks: Vec<Fork> = Vec::new();
        let mut tried = BTreeSet::new();
        loop {
            self.settle();
            let Some(blocked) = self.blocked() else { return Verdict::Linearizable };
            if self.steps > steps_max {
                return Verdict::GaveUp(steps_max);
            }
            if longest.placed.len() < self.order.len() {
                longest = self.stuck(blocked);
            }
            // Lowe remembers what the register has, too. Here that does not matter: what comes next overwrites it.
            let is_hopeless = self.starves(&blocked) || !tried.insert(self.is_placed.clone());
            let choices = if is_hopeless { Vec::new() } else { self.choices() };
            forks.push(Fork { placed: self.order.len(), state: self.state, choices });
            while let Some(fork) = forks.last_mut() {
                self.take_back(fork.placed, fork.state);
                if let Some(choice) = fork.choices.pop() {
                    self.place(choice);
                    break;
                }
                forks.pop();
            }
            if forks.is_empty() {
                return Verdict::Stuck(longest);
            }
        }
    }

    /// Places what may as well come right now. A read of what the register has: wherever an order has it later, it can be
    /// moved here, because it changes nothing. If there is none, every order goes on with a write or a delete, and one whose
    /// value no waiting read wants can be moved here: where it was, no read followed before the next one, and here none
    /// does.
    fn settle(&mut self) {
        loop {
            let near = self.near();
            let is_read = |i: &&usize| self.ops[**i].deed == Deed::Read(self.state);
            let is_unwanted = |i: &&usize| {
                let op = self.ops[**i];
                !op.deed.is_read() && op.ended.is_some() && self.waiting(op.deed.value()).0 == 0
            };
            let Some(i) = near.iter().find(is_read).or_else(|| near.iter().find(is_unwanted)) else { return };
            self.place(*i);
        }
    }

    /// Writes and deletes to try next, the most urgent last. Of those that leave the same value, only the one that ends
    /// first: if an order has another one here and this one later, the two can change places, because what comes between
    /// began before this one's end, and so before the other one's end, too. One of unknown outcome ends last of all, and
    /// comes only right before a read that wants it: where an order has it elsewhere, it can be left out.
    fn choices(&self) -> Vec<usize> {
        let near = self.near();
        let is_wanted = |value| near.iter().any(|i| self.ops[*i].deed == Deed::Read(value));
        let may_come = |i: &usize| {
            let Op { ended, deed, .. } = self.ops[*i];
            !deed.is_read() && (ended.is_some() || is_wanted(deed.value()))
        };
        let value = |i: &usize| self.ops[*i].deed.value();
        let end = |i: &usize| (self.ops[*i].end(), self.ops[*i].ended.is_none());
        let mut choices: Vec<usize> = near.iter().copied().filter(may_come).collect();
        choices.sort_by_key(|i| (value(i), end(i)));
        choices.dedup_by_key(|i| value(i));
        choices.sort_by_key(|i| Reverse(end(i)));
        choices
    }

    /// All that may come next: nothing that waits has ended before it began.
    fn near(&self) -> Vec<usize> {
        let mut first_end = u64::MAX;
        // Nothing that begins later ends before these have begun.
        let is_near = |(_, op): &(usize, &Op)| {
            let is_near = op.began <= first_end;
            first_end = first_end.min(op.end());
            is_near
        };
        self.waiting_ops().take_while(is_near).map(|(i, _)| i).collect()
    }

    /// Of all that must still get a place, a read that cannot, or else what must come first. Nothing if all have theirs.
    fn blocked(&self) -> Option<Op> {
        let must_come = self.waiting_ops().map(|(_, op)| *op).filter(|op| op.ended.is_some());
        must_come.min_by_key(|op| (!self.starves(op), op.end()))
    }

    fn stuck(&self, blocked: Op) -> Stuck {
        Stuck { placed: self.order.iter().map(|i| self.ops[*i]).collect(), state: self.state, blocked }
    }

    /// Whether it reads what is neither there nor will ever be.
    fn starves(&self, op: &Op) -> bool {
        let value = op.deed.value();
        op.deed.is_read() && value != self.state && self.waiting(value).1 == 0
    }

    fn waiting_ops(&self) -> impl Iterator<Item = (usize, &Op)> {
        self.ops.iter().enumerate().filter(|(i, _)| self.is_placed[i / 64] >> (i % 64) & 1 == 0)
    }

    /// How many reads of a value wait, and how many writes.
    fn waiting(&self, value: Option<i64>) -> (usize, usize) {
        self.waiting.get(&value).map_or((0, 0), |waiting| (waiting.reads, waiting.writes))
    }

    /// Among which an operation is counted while it waits.
    fn count(&mut self, i: usize) -> &mut usize {
        let deed = self.ops[i].deed;
        let waiting = self.waiting.entry(deed.value()).or_default();
        if deed.is_read() { &mut waiting.reads } else { &mut waiting.writes }
    }

    fn place(&mut self, i: usize) {
        self.steps += 1;
        self.order.push(i);
        self.is_placed[i / 64] |= 1 << (i % 64);
        *self.count(i) -= 1;
        self.state = self.ops[i].deed.value();
    }

    fn take_back(&mut self, placed: usize, state: Option<i64>) {
        for i in self.order.split_off(placed) {
            self.is_placed[i / 64] &= !(1 << (i % 64));
            *self.count(i) += 1;
        }
        self.state = state;
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(value) => write!(f, "write {value}"),
            Self::Delete => write!(f, "delete"),
            Self::Read(Some(value)) => write!(f, "read {value}"),
            Self::Read(None) => write!(f, "read nothing"),
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ended {
            Some(ended) => write!(f, "{} [{}, {ended}]", self.deed, self.began),
            None => write!(f, "{} [{}, unknown]", self.deed, self.began),
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an order of {} is possible", self.placed.len())?;
        let shown = self.placed.len().saturating_sub(SHOWN_MAX);
        for (i, op) in self.placed[shown..].iter().enumerate() {
            write!(f, "{}{op}", if i == 0 { ", at its end " } else { ", " })?;
        }
        match self.state {
            Some(value) => write!(f, "; then there is {value}, and {} cannot come any more", self.blocked),
            None => write!(f, "; then there is nothing, and {} cannot come any more", self.blocked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS_MAX: usize = 100_000;

    /// Each with its name, how many operations fit in, and which cannot come any more.
    const BAD: &str = "
> a lost write: 1, read nothing
|w1| |r|
> a stale read: 2, read 1
|w1| |w2| |r1|
> new, then old: 3, read 1
|w1|  |r2| |r1|
     |w2--------|
> back after its delete: 3, read 1
|w1| |r1| |d| |r1|
> read before it was written: 0, read 1
|r1| |w1|
> never written: 1, read 2
|w1| |r2|
> two readers that disagree: 5, read 2
|w1---------|
|w2---------|
 |r1|  |r2|
 |r2|  |r1|
> an unknown write that takes effect twice: 3, read 1
|w1? |r1| |w2| |r1|
> an unknown delete that takes effect twice: 4, read nothing
|w1| |d? |r| |w2| |r|
> an unknown write before it was sent: 1, read 1
|r1| |w1?
|w2|";

    const GOOD: &str = "
> nothing at all
> one after the other
|r| |w1| |r1| |d| |r|
> two that overlap, the other way round
|w1--|
  |w2--| |r1|
> old, then new
|w1|  |r1| |r2|
     |w2--------|
> the same value again
|w1| |w2| |r2| |r1|
     |w1---------|
> an unknown write, late
|w1? |w2| |r2| |r1|
> an unknown write, never
|w1? |w2| |r2| |r2|
> an unknown delete, late, and a read without an answer
|w1| |d? |r1| |r|
|r7?";

    /// The named histories of a text. Each line is of one client: its operations from when to when, with a `?` where the end
    /// was not told; writes, reads and deletes by their first letter.
    fn histories(text: &str) -> impl Iterator<Item = (&str, Vec<Op>)> {
        let ops = |line: &str| {
            let marks: Vec<usize> = line.match_indices(['|', '?']).map(|(at, _)| at).collect();
            let op = |pair: &[usize]| {
                let (deed, value) = line[pair[0] + 1..pair[1]].trim_end_matches('-').split_at(1);
                let deed = match deed {
                    "w" => Deed::Write(value.parse().expect("a write names its value")),
                    "d" => Deed::Delete,
                    _ => Deed::Read(value.parse().ok()),
                };
                let ended = line[pair[1]..].starts_with('|').then_some(2 * pair[1] as u64 + 1);
                Op { began: 2 * pair[0] as u64, ended, deed }
            };
            marks.chunks(2).map(op).collect::<Vec<_>>()
        };
        text.split("\n> ").skip(1).map(move |history| {
            let (name, lines) = history.split_once('\n').unwrap_or((history, ""));
            (name, lines.lines().flat_map(ops).collect())
        })
    }

    fn is_linearizable(ops: &[Op]) -> bool {
        let verdict = audit(ops, STEPS_MAX);
        assert_ne!(verdict, Verdict::GaveUp(STEPS_MAX), "{ops:?}");
        verdict == Verdict::Linearizable
    }

    #[test]
    fn what_cannot_have_been_is_found() {
        for (name, ops) in histories(BAD) {
            let Verdict::Stuck(stuck) = audit(&ops, STEPS_MAX) else { panic!("{name} is not found") };
            let told = format!("{}, {}", stuck.placed.len(), stuck.blocked.deed);
            assert!(name.ends_with(&told), "{name}: {stuck}");
            if name.starts_with("a lost") {
                let told = "an order of 1 is possible, at its end write 1 [0, 7]; then there is 1, and read nothing";
                assert!(stuck.to_string().starts_with(told), "{stuck}");
            }
        }
    }

    #[test]
    fn what_can_have_been_is_accepted() {
        for (name, ops) in histories(GOOD) {
            assert_eq!(audit(&ops, STEPS_MAX), Verdict::Linearizable, "{name}");
        }
        // Reads after everything else share their beginning and their end.
        let at_the_end = |deed| Op { began: u64::MAX, ended: Some(u64::MAX), deed };
        assert!(is_linearizable(&[Deed::Write(1), Deed::Read(Some(1)), Deed::Read(Some(1))].map(at_the_end)));
    }

    /// Draws numbers: Knuth's linear congruence, of which the upper bits are good.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }

        fn deed(&mut self, values: u64) -> Deed {
            match self.below(7) {
                0 => Deed::Delete,
                1..=3 => Deed::Write(self.below(values) as i64),
                _ => Deed::Read(self.below(values + 1).checked_sub(1).map(|value| value as i64)),
            }
        }

        /// What `count` operations see that take effect one after the other, each in the midst of about `wide` others; of
        /// some the outcome is not told, and half of those never take effect.
        fn execution(&mut self, count: u64, wide: u64, values: u64) -> Vec<Op> {
            let mut state = None;
            let op = |i: u64| {
                let mut deed = self.deed(values);
                let is_told = deed.is_read() || self.below(4) > 0;
                match deed {
                    Deed::Read(_) => deed = Deed::Read(state),
                    _ if is_told || self.below(2) == 0 => state = deed.value(),
                    _ => {}
                }
                let moment = (i + wide) << 8;
                let [before, after] = [0, 1].map(|odd| self.below(wide << 8) / 2 * 2 + odd);
                Op { began: moment - before, ended: is_told.then_some(moment + after), deed }
            };
            (0..count).map(op).collect()
        }
    }

    /// By the definition, without any thought: tries each order of each part that has all that was told.
    fn is_linearizable_by_force(ops: &[Op], order: &[Op]) -> bool {
        let precedes = |a: &Op, b: &Op| a.ended.is_some_and(|ended| ended < b.began);
        let is_in_time = || (0..order.len()).all(|j| (0..j).all(|i| !precedes(&order[j], &order[i])));
        let is_whole = || ops.iter().all(|op| op.ended.is_none() || order.contains(op));
        let last = |i: usize| order[..i].iter().rfind(|op| !op.deed.is_read()).and_then(|op| op.deed.value());
        let is_true = |i: usize| !order[i].deed.is_read() || order[i].deed.value() == last(i);
        if is_whole() && is_in_time() && (0..order.len()).all(is_true) {
            return true;
        }
        let may_come = |op: &Op| !order.contains(op) && (op.ended.is_some() || !op.deed.is_read());
        ops.iter().any(|op| may_come(op) && is_linearizable_by_force(ops, &[order, &[*op]].concat()))
    }

    #[test]
    fn agrees_with_trying_all_orders() {
        let (mut draw, mut good) = (Draw(1), 0);
        for _ in 0..6_000 {
            let count = 1 + draw.below(6);
            let mut ticks: Vec<u64> = (0..2 * count).collect();
            let op = |_| {
                let [one, other] = [0; 2].map(|_| ticks.remove(draw.below(ticks.len() as u64) as usize));
                let ended = (draw.below(4) > 0).then_some(one.max(other));
                Op { began: one.min(other), ended, deed: draw.deed(2) }
            };
            let ops: Vec<Op> = (0..count).map(op).collect();
            let expected = is_linearizable_by_force(&ops, &[]);
            assert_eq!(is_linearizable(&ops), expected, "{ops:#?}");
            good += usize::from(expected);
        }
        assert!((2_000..4_000).contains(&good), "{good} good of 6000");
    }

    #[test]
    fn what_did_happen_one_after_the_other_is_accepted() {
        let mut draw = Draw(2);
        for values in [2, 5, 1_000].repeat(300) {
            let (count, wide) = (1 + draw.below(120), 1 + draw.below(12));
            let mut ops = draw.execution(count, wide, values);
            assert!(is_linearizable(&ops), "{ops:#?}");
            // Another answer may be possible, too, but is never too much to look at.
            ops[draw.below(count) as usize].deed = draw.deed(values);
            is_linearizable(&ops);
        }
    }

    #[test]
    fn gives_up_in_time() {
        let many = Draw(3).execution(100, 12, 2);
        assert_eq!(audit(&many, 10), Verdict::GaveUp(10));
        assert_eq!(audit(&many, STEPS_MAX), Verdict::Linearizable);
    }
}
