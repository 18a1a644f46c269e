//! What a request came to, from what each of its shards said. Pure.

use std::collections::BTreeMap;

use meridian_types::{Code, Failure, Kind, SeriesNumber, ShardId, Witness};

/// What one shard said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ShardOutcome {
    pub(super) shard: ShardId,
    /// Its last acknowledgement.
    pub(super) witness: Option<Witness>,
    /// Field values acknowledged.
    pub(super) points: u64,
    /// The numbers of the series that its last frame names by key.
    pub(super) series: Vec<SeriesNumber>,
    /// Why the rest is not.
    pub(super) failure: Option<Failure>,
}

/// Everything is stored.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct All {
    /// Field values.
    pub(super) points: u64,
    pub(super) witnesses: Vec<Witness>,
    /// What each shard said of the series of its last frame.
    pub(super) series: BTreeMap<ShardId, Vec<SeriesNumber>>,
}

/// What all shards have stored, or one failure for the whole request.
///
/// A request that is stored in part must not carry a kind that says "certainly not applied": if all other shards refused it
/// for good, the failure says that a part was refused; else it says that the outcome is not known.
pub(super) fn verdict(outcomes: Vec<ShardOutcome>) -> Result<All, Failure> {
    let failures = outcomes.iter().filter_map(|o| Some((o.shard, o.failure.as_ref()?)));
    let Some((shard, worst)) = failures.max_by_key(|(_, failure)| badness(failure.kind())) else {
        return Ok(All {
            points: outcomes.iter().map(|o| o.points).sum(),
            witnesses: outcomes.iter().filter_map(|o| o.witness).collect(),
            series: outcomes.into_iter().map(|o| (o.shard, o.series)).collect(),
        });
    };
    if outcomes.iter().all(|o| o.witness.is_none()) || matches!(worst.kind(), Kind::Broken | Kind::Unknown) {
        let message = format!("{shard}: {}", worst.message);
        return Err(Failure { message, ..worst.clone() });
    }
    let all_final = outcomes.iter().filter_map(|o| o.failure.as_ref()).all(|f| f.kind() == Kind::Fix);
    let code = if all_final { Code::PartlyRefused } else { Code::Unknown };
    let message = format!("{}; {shard}: {}: {}", fates(&outcomes), worst.code, worst.message);
    Err(Failure { code, message, retry_after_ms: worst.retry_after_ms })
}

/// Which shards stored what: each stands in one list.
fn fates(outcomes: &[ShardOutcome]) -> String {
    let list = |what: &str, stored: bool, failed: bool| {
        let has = |o: &&ShardOutcome| (o.witness.is_some(), o.failure.is_some()) == (stored, failed);
        let shards: Vec<_> = outcomes.iter().filter(has).map(|o| o.shard.to_string()).collect();
        (!shards.is_empty()).then(|| format!("{what} {}", shards.join(", ")))
    };
    let lists =
        [list("stored by", true, false), list("stored in part by", true, true), list("not stored by", false, true)];
    lists.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Which of two kinds tells the caller of a whole request more of what it must reckon with.
pub(crate) fn badness(kind: Kind) -> u8 {
    match kind {
        Kind::Retry => 0,
        Kind::Overloaded => 1,
        Kind::Fix | Kind::NotFound | Kind::Exists | Kind::NotAllowed => 2,
        Kind::Unknown => 3,
        Kind::Broken => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_types::{Incarnation, LogIndex, Stamp};

    fn done(shard: u32, points: u64) -> ShardOutcome {
        let shard = ShardId(shard);
        let witness = Witness { shard, incarnation: Incarnation(1), index: LogIndex(7), stamp: Stamp(9) };
        ShardOutcome { shard, witness: Some(witness), points, series: Vec::new(), failure: None }
    }

    fn failed(shard: u32, code: Code) -> ShardOutcome {
        let failure = Failure::new(code, "why").retry_after_ms(20);
        ShardOutcome { shard: ShardId(shard), witness: None, points: 0, series: Vec::new(), failure: Some(failure) }
    }

    fn code(outcomes: Vec<ShardOutcome>) -> Code {
        verdict(outcomes).expect_err("a failure").code
    }

    #[test]
    fn success_is_claimed_only_if_every_shard_stored_its_part() {
        let all = verdict(vec![done(1, 3), done(2, 4)]).expect("all stored");
        assert_eq!((all.points, all.witnesses.len()), (7, 2));
        assert_eq!(verdict(Vec::new()), Ok(All::default()), "a request without good rows asks no shard");
    }

    #[test]
    fn certainly_not_applied_is_said_only_if_nothing_is_stored() {
        assert_eq!(code(vec![failed(1, Code::NoLeader), failed(2, Code::NoLeader)]), Code::NoLeader);
        assert_eq!(code(vec![failed(1, Code::NoLeader), failed(2, Code::Overloaded)]), Code::Overloaded);
        assert_eq!(code(vec![done(1, 3), failed(2, Code::NoLeader)]), Code::Unknown);
        assert_eq!(code(vec![done(1, 3), failed(2, Code::Overloaded)]), Code::Unknown);
        assert_eq!(code(vec![failed(1, Code::Unknown), failed(2, Code::NoLeader)]), Code::Unknown);
        assert_eq!(code(vec![done(1, 3), failed(2, Code::OverLimit)]), Code::PartlyRefused);
        assert_eq!(code(vec![done(1, 3), failed(2, Code::OverLimit), failed(3, Code::Moved)]), Code::Unknown);
        assert_eq!(code(vec![done(1, 3), failed(2, Code::Internal), failed(3, Code::Unknown)]), Code::Internal);
        let part = ShardOutcome { failure: failed(1, Code::Moved).failure, ..done(1, 3) };
        assert_eq!(code(vec![part]), Code::Unknown, "the first frames of a shard are stored, the next is not");
    }

    #[test]
    fn a_failure_in_part_says_where_what_is() {
        let failure = verdict(vec![done(1, 3), failed(2, Code::NoLeader)]).expect_err("a failure");
        assert_eq!(failure.message, "stored by s1, not stored by s2; s2: E0014: why");
        assert_eq!(failure.retry_after_ms, Some(20));
        let part = |shard| ShardOutcome { failure: failed(shard, Code::Moved).failure, ..done(shard, 3) };
        let text = |outcomes| verdict(outcomes).expect_err("a failure").message;
        assert_eq!(text(vec![part(1)]), "stored in part by s1; s1: E0013: why");
        assert_eq!(
            text(vec![done(1, 3), part(2), failed(3, Code::OverLimit), failed(4, Code::NoLeader), done(5, 1)]),
            "stored by s1, s5, stored in part by s2, not stored by s3, s4; s3: E0003: why",
        );
    }
}
