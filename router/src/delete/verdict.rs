//! What a delete came to, from what each of its shards said. Pure.

use meridian_types::{Code, Failure, Kind, ShardId, Witness};

use crate::write::badness;

/// What one shard said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ShardOutcome {
    pub(super) shard: ShardId,
    pub(super) outcome: Result<Witness, Failure>,
}

/// How much is known of one shard. The order is that of what the caller must reckon with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Done,
    NotDone,
    NotKnown,
}

impl ShardOutcome {
    fn fate(&self) -> Fate {
        match self.outcome.as_ref().map_err(Failure::kind) {
            Ok(_) => Fate::Done,
            Err(Kind::Unknown | Kind::Broken) => Fate::NotKnown,
            Err(_) => Fate::NotDone,
        }
    }
}

/// The witnesses if every shard has done it, else one failure for the whole request, which says where it is done, where it
/// certainly is not, and where that is not known.
///
/// What is done in part must not carry a kind that says "certainly not applied": it is not known then, and the same request
/// id brings the rest about.
pub(super) fn verdict(outcomes: Vec<ShardOutcome>) -> Result<Vec<Witness>, Failure> {
    let failures = outcomes.iter().filter_map(|o| Some((o.shard, o.outcome.as_ref().err()?)));
    let Some((shard, worst)) = failures.max_by_key(|(_, failure)| badness(failure.kind())) else {
        return Ok(outcomes.into_iter().filter_map(|o| o.outcome.ok()).collect());
    };
    if outcomes.iter().all(|o| o.fate() == Fate::NotDone) {
        return Err(Failure { message: format!("{shard}: {}", worst.message), ..worst.clone() });
    }
    let code = if matches!(worst.kind(), Kind::Unknown | Kind::Broken) { worst.code } else { Code::Unknown };
    let message = format!("{}; {shard}: {}: {}", fates(&outcomes), worst.code, worst.message);
    Err(Failure { code, message, retry_after_ms: worst.retry_after_ms })
}

fn fates(outcomes: &[ShardOutcome]) -> String {
    let list = |(what, fate)| {
        let shards = outcomes.iter().filter(|o| o.fate() == fate).map(|o| o.shard.to_string());
        let shards = shards.collect::<Vec<_>>().join(", ");
        (!shards.is_empty()).then(|| format!("{what} {shards}"))
    };
    let lists = [("deleted on", Fate::Done), ("not deleted on", Fate::NotDone), ("not known of", Fate::NotKnown)];
    lists.into_iter().filter_map(list).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_types::{Incarnation, LogIndex, Stamp};

    fn done(shard: u32) -> ShardOutcome {
        let shard = ShardId(shard);
        ShardOutcome {
            shard,
            outcome: Ok(Witness { shard, incarnation: Incarnation(1), index: LogIndex(7), stamp: Stamp(9) }),
        }
    }

    fn failed(shard: u32, code: Code) -> ShardOutcome {
        ShardOutcome { shard: ShardId(shard), outcome: Err(Failure::new(code, "why").retry_after_ms(20)) }
    }

    fn told(outcomes: Vec<ShardOutcome>) -> (Code, String) {
        let failure = verdict(outcomes).expect_err("a failure");
        (failure.code, failure.message)
    }

    #[test]
    fn success_is_claimed_only_if_every_shard_has_done_it() {
        let witnesses = verdict(vec![done(1), done(2)]).expect("all have");
        assert_eq!(witnesses.iter().map(|w| w.shard.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn certainly_not_done_is_said_only_if_nothing_is() {
        assert_eq!(told(vec![failed(1, Code::NoLeader), failed(2, Code::NoLeader)]).0, Code::NoLeader);
        assert_eq!(
            told(vec![failed(1, Code::NoLeader), failed(2, Code::Overloaded)]),
            (Code::Overloaded, "s2: why".into())
        );
        assert_eq!(told(vec![done(1), failed(2, Code::NoLeader)]).0, Code::Unknown);
        assert_eq!(told(vec![failed(1, Code::Unknown), failed(2, Code::NoLeader)]).0, Code::Unknown);
        for refused in [Code::NoDatabase, Code::TimeOutOfRange, Code::RequestIdReused] {
            assert_eq!(told(vec![done(1), failed(2, refused)]).0, Code::Unknown, "{refused}: it is done in part");
        }
        assert_eq!(told(vec![done(1), failed(2, Code::Internal), failed(3, Code::Unknown)]).0, Code::Internal);
    }

    #[test]
    fn a_failure_in_part_says_where_what_is() {
        assert_eq!(
            told(vec![done(1), failed(2, Code::NoLeader)]).1,
            "deleted on s1, not deleted on s2; s2: E0014: why"
        );
        let all = vec![done(1), failed(2, Code::Unknown), failed(3, Code::Moved), done(4), failed(5, Code::Internal)];
        assert_eq!(
            told(all),
            (Code::Internal, "deleted on s1, s4, not deleted on s3, not known of s2, s5; s5: E0021: why".into())
        );
        assert_eq!(told(vec![failed(1, Code::Unknown)]).1, "not known of s1; s1: E0020: why");
    }
}
