//! What clients asked and what they were told, and whether a final read agrees.
//!
//! Every value names its write, so that any value that is seen can be traced to who sent it. An outcome is acked, refused or
//! unknown; a timeout is unknown, never refused.

use std::collections::BTreeMap;

/// What a client was told of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Acked,
    Refused,
    Unknown,
}

/// All writes of a run by their serial number, which is also the value and the timestamp of their one point.
#[derive(Debug, Default)]
pub(crate) struct History {
    writes: BTreeMap<i64, Told>,
}

/// How a final read contradicts what clients were told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("acknowledged write {0} is not there")]
    Lost(i64),
    #[error("refused write {0} is there")]
    Refused(i64),
    #[error("write {0} is there, but nobody sent it")]
    Phantom(i64),
    #[error("write {0} is there {1} times")]
    Doubled(i64, usize),
    #[error("the point of write {0} has the value {1}")]
    Changed(i64, i64),
    #[error("the count over all windows is {counted}, but {read} rows were read")]
    Miscounted { counted: u64, read: usize },
}

impl History {
    pub(crate) fn told(&mut self, serial: i64, told: Told) {
        self.writes.insert(serial, told);
    }

    pub(crate) fn count(&self, told: Told) -> usize {
        self.writes.values().filter(|t| **t == told).count()
    }

    /// Whether rows of (timestamp, value) and a separate count are what was promised.
    pub(crate) fn check(&self, rows: &[(i64, i64)], counted: u64) -> Result<(), Violation> {
        let mut seen: BTreeMap<i64, usize> = BTreeMap::new();
        for (time, value) in rows {
            if time != value {
                return Err(Violation::Changed(*time, *value));
            }
            *seen.entry(*time).or_default() += 1;
        }
        for (serial, times) in &seen {
            match self.writes.get(serial) {
                None => return Err(Violation::Phantom(*serial)),
                Some(Told::Refused) => return Err(Violation::Refused(*serial)),
                Some(_) if *times > 1 => return Err(Violation::Doubled(*serial, *times)),
                Some(_) => {}
            }
        }
        let lost = self.writes.iter().find(|(serial, told)| **told == Told::Acked && !seen.contains_key(serial));
        if let Some((serial, _)) = lost {
            return Err(Violation::Lost(*serial));
        }
        let read = rows.len();
        if usize::try_from(counted) != Ok(read) { Err(Violation::Miscounted { counted, read }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A checker that cannot fail checks nothing: each lie is told once.
    #[test]
    fn every_lie_is_found() {
        let mut history = History::default();
        history.told(1, Told::Acked);
        history.told(2, Told::Refused);
        history.told(3, Told::Unknown);
        assert_eq!(history.check(&[(1, 1)], 1), Ok(()));
        assert_eq!(history.check(&[(1, 1), (3, 3)], 2), Ok(()));
        assert_eq!(history.check(&[], 0), Err(Violation::Lost(1)));
        assert_eq!(history.check(&[(1, 1), (2, 2)], 2), Err(Violation::Refused(2)));
        assert_eq!(history.check(&[(1, 1), (4, 4)], 2), Err(Violation::Phantom(4)));
        assert_eq!(history.check(&[(1, 1), (1, 1)], 2), Err(Violation::Doubled(1, 2)));
        assert_eq!(history.check(&[(1, 3)], 1), Err(Violation::Changed(1, 3)));
        assert_eq!(history.check(&[(1, 1)], 2), Err(Violation::Miscounted { counted: 2, read: 1 }));
    }
}
