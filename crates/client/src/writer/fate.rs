//! What becomes of a frame after a failure. Pure.
//!
//! Never calls refused what may be stored, and never sends rows under another id that may be stored under this one.

use meridian_types::{Code, Failure, Kind};

/// Into how many parts a refused frame is cut, and those again, until its bad rows are alone: a few round trips, and some
/// dozen frames for one bad row of thousands.
const PARTS: usize = 16;

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// The same frame under the same id.
    Again,
    /// Its rows by key, in frames of so many rows, under ids of their own: nothing of it is stored.
    Apart {
        /// Rows of each.
        rows_max: usize,
    },
    /// Nothing of it is stored.
    Refused,
    /// It may be stored, or a part of it.
    Unknown,
}

/// The fate of a frame of `rows` rows, `by_number` or by key, of which an earlier try may have been stored.
pub(super) fn fate(failure: &Failure, by_number: bool, rows: usize, may_be_stored: bool) -> Fate {
    match (failure.code, failure.kind()) {
        // No shard tells any more, or a part is stored: another try would say no more.
        (Code::SessionExpired | Code::PartlyRefused, _) | (_, Kind::Broken) => Fate::Unknown,
        (Code::SendKeys, _) if !may_be_stored && by_number => Fate::Apart { rows_max: usize::MAX },
        (code, kind) if code != Code::SendKeys && matches!(kind, Kind::Retry | Kind::Overloaded | Kind::Unknown) => {
            Fate::Again
        }
        _ if may_be_stored => Fate::Unknown,
        // Some row of it is to blame, or how many there are.
        (Code::BadRequest | Code::OverLimit | Code::TypeConflict | Code::TimeOutOfRange, _) if rows > 1 => {
            Fate::Apart { rows_max: rows.div_ceil(PARTS) }
        }
        _ => Fate::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(code: Code, by_number: bool, rows: usize) -> [Fate; 2] {
        [false, true].map(|may_be_stored| fate(&Failure::new(code, "why"), by_number, rows, may_be_stored))
    }

    #[test]
    fn what_may_be_stored_is_never_refused_nor_sent_anew() {
        for code in Code::ALL {
            for (by_number, rows) in [(true, 9), (false, 9), (true, 1), (false, 1)] {
                let [_, after_another] = fates(*code, by_number, rows);
                assert!(matches!(after_another, Fate::Again | Fate::Unknown), "{code}");
            }
        }
    }

    #[test]
    fn a_first_failure_is_followed_by_what_its_kind_asks_for() {
        for code in [Code::Moved, Code::NoLeader, Code::NotReady, Code::Unreachable, Code::Overloaded, Code::Unknown] {
            assert_eq!(fates(code, true, 9), [Fate::Again; 2], "{code}");
        }
        for code in [Code::SessionExpired, Code::PartlyRefused, Code::Internal] {
            assert_eq!(fates(code, true, 9), [Fate::Unknown; 2], "{code}");
        }
        for code in [Code::NoDatabase, Code::RequestIdReused, Code::WrongVersion, Code::NoSuchPath] {
            assert_eq!(fates(code, true, 9)[0], Fate::Refused, "{code}");
        }
    }

    #[test]
    fn numbers_give_way_to_keys_once() {
        assert_eq!(fates(Code::SendKeys, true, 9)[0], Fate::Apart { rows_max: usize::MAX });
        assert_eq!(fates(Code::SendKeys, false, 9)[0], Fate::Refused);
    }

    #[test]
    fn bad_rows_end_up_alone() {
        let mut rows = 5_000;
        let mut rounds = 0;
        while let Fate::Apart { rows_max } = fates(Code::TypeConflict, false, rows)[0] {
            assert!(rows_max < rows);
            (rows, rounds) = (rows_max, rounds + 1);
        }
        assert_eq!((rows, rounds), (1, 4));
        assert_eq!(fates(Code::TypeConflict, false, 1)[0], Fate::Refused);
    }
}
