//! A batch's way in: rows are checked and become frames, one shard each; frames are proposed; what became of them is one
//! answer. HTTP and gRPC share all of it.
//!
//! Never says that something is stored before every shard has said so, and never that it certainly is not once one has.

mod budget; // bytes under way
mod frames; // frames that clients made
mod growing; // the frames of one shard while rows join them, pure
mod prepare; // rows to frames, pure
mod propose; // frames to shards
mod refused; // what was not stored, and why
mod series; // what this router has met
mod source; // rows as they arrive
mod target; // the database that is written to
mod unseen; // fields that the catalogue must learn first, pure
mod verdict; // what became of all shards, pure

use std::sync::Arc;

use meridian_client::{Database, Map};
use meridian_env::{Class, Context, run};
use meridian_types::{Code, Failure, RequestId, SeriesNumber, SessionId, ShardId, Timestamp, Witness};
use tracing::{Instrument, Span};

use crate::front::Front;
use crate::metrics::outcome_of;
use prepare::{Prepared, Rules, prepare};
use target::{earliest, is_made, latest};
use unseen::Unseen;
use verdict::All;

pub(crate) use budget::{Budget, Held};
pub(crate) use refused::{Refusal, Refused};
pub(crate) use series::AllMet;
pub(crate) use source::Source;
pub(crate) use verdict::badness;

/// Above this size, input is worked on by the threads for that, not where connections are served.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// How far ahead of this router's clock a client's session may be born. Shards forget sessions by their birth: those of a
/// client whose clock is fast would outlive the sessions of everybody else.
const SESSION_AHEAD_NANOS_MAX: i64 = 30 * 1_000_000_000;

/// How the frames of a request, or its deletes, are named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ids {
    /// By this router: each frame anew. At least once.
    Own,
    /// By a client's key: frame `n` of each shard has seq `n`, and rows without a time get the time of the key, so that a
    /// repetition makes the same frames.
    Key(SessionId),
    /// By a client, that tells one request: each shard gets one frame at most.
    Exactly {
        /// The name.
        request: RequestId,
        /// The lowest seq of the session that is still pending.
        pending_from: u64,
    },
}

/// What a write came to, all shards having answered.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Field values.
    pub(crate) points: u64,
    /// One for each shard that stored something, in order.
    pub(crate) witnesses: Vec<Witness>,
    /// Rows that are not stored.
    pub(crate) refused: Refused,
    /// Rows of the request.
    pub(crate) rows: u64,
    /// Of a frame, each series that it names by key, as its shard knows it.
    pub(crate) series: Vec<(ShardId, SeriesNumber)>,
}

/// Why a write failed, and what of it was refused before: a failure of the rest leaves no refused row unnamed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// Rows that are not stored, whatever became of the others.
    pub(crate) refused: Refused,
    /// Rows of the request.
    pub(crate) rows: u64,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, refused: Refused::default(), rows: 0 }
    }
}

impl Front {
    /// Stores the good rows of a request in the named database.
    pub(crate) async fn write(
        &self,
        context: &Context,
        database: &str,
        source: Source,
        ids: Ids,
    ) -> Result<Stored, Failed> {
        let clock = self.env.clock.wall();
        check_birth(ids, clock)?;
        let mut rules = self.rules(self.target(context, database).await?, ids, clock);
        let mut prepared = self.prepare(&rules, &source).await?;
        if !prepared.unseen.is_empty() {
            let Prepared { unseen, refused, rows, .. } = prepared;
            rules = self.make_room(context, rules, unseen, ids, clock).await.map_err(|failure| Failed {
                failure,
                refused,
                rows,
            })?;
            prepared = self.prepare(&rules, &source).await?;
        }
        let Prepared { frames, refused, rows, .. } = prepared;
        self.metrics.lines_refused.inc_by(refused.total());
        match self.propose(context, rules.database.id, frames, ids).await {
            Ok(All { points, witnesses, .. }) => {
                self.metrics.points_written.inc_by(points);
                Ok(Stored { points, witnesses, refused, rows, series: Vec::new() })
            }
            Err(failure) => Err(Failed { failure, refused, rows }),
        }
    }

    fn rules(&self, database: Arc<Database>, ids: Ids, clock: Timestamp) -> Rules {
        Rules {
            map: self.cluster.map(),
            default_time: match ids {
                Ids::Own => Some(clock),
                Ids::Key(session) => Some(session.birth),
                Ids::Exactly { .. } => None,
            },
            earliest: earliest(&database, ids, clock),
            latest: latest(&database, if let Ids::Key(session) = ids { session.birth } else { clock }),
            database,
            one_frame: matches!(ids, Ids::Exactly { .. }),
            by_number: matches!(ids, Ids::Own),
            registered: false,
        }
    }

    /// The rules once the catalogue has heard of the database and the fields that good rows need.
    async fn make_room(
        &self,
        context: &Context,
        rules: Rules,
        unseen: Unseen,
        ids: Ids,
        clock: Timestamp,
    ) -> Result<Rules, Failure> {
        let database = self.made(context, rules.database).await?;
        self.register(context, database.id, &unseen).await?;
        Ok(Rules { registered: true, ..self.rules(database, ids, clock) })
    }

    async fn prepare(&self, rules: &Rules, source: &Source) -> Result<Prepared, Failure> {
        if source.bytes() <= INLINE_BYTES_MAX {
            return prepare(rules, &self.all_met, source);
        }
        let (rules, all_met, source) = (rules.clone(), Arc::clone(&self.all_met), source.clone());
        run(&*self.env.work, Class::Scan, move || prepare(&rules, &all_met, &source)).await
    }
}

pub(crate) fn check_birth(ids: Ids, clock: Timestamp) -> Result<(), Failure> {
    let birth = match ids {
        Ids::Own => return Ok(()),
        Ids::Key(session) => session.birth,
        Ids::Exactly { request, .. } => request.session.birth,
    };
    if birth <= clock.saturating_add(SESSION_AHEAD_NANOS_MAX) {
        return Ok(());
    }
    let seconds = SESSION_AHEAD_NANOS_MAX / 1_000_000_000;
    let text =
        format!("the request id was made at {birth}, over {seconds} s ahead of this router's {clock}: set the clocks");
    Err(Failure::new(Code::BadRequest, text))
}

/// Why nothing can be stored at a time: the map has no owner for it.
fn no_owner(map: &Map) -> Failure {
    Failure::new(Code::NotReady, format!("version {} of the map has no shard for this time", map.version))
}

fn over_limit(text: String) -> Failure {
    Failure::new(Code::OverLimit, text)
}

/// Counts and logs a write, whatever it came in by.
pub(crate) async fn counted<E: Into<Failed>>(
    front: &Front,
    endpoint: &'static str,
    span: Span,
    writing: impl Future<Output = Result<Stored, E>>,
) -> Result<Stored, Failed> {
    let mut in_flight = front.metrics.begin(endpoint);
    let started = front.env.clock.now();
    let result = writing.instrument(span.clone()).await.map_err(Into::into);
    let outcome = match &result {
        Ok(stored) if stored.refused.total() > 0 => "partial",
        Ok(_) => "ok",
        Err(failed) => outcome_of(&failed.failure),
    };
    span.in_scope(|| match &result {
        Err(Failed { failure, refused, .. }) => {
            let (code, why, refused) = (failure.code, &*failure.message, refused.total());
            tracing::info!(outcome, %code, why, refused, "refused");
        }
        Ok(stored) => tracing::debug!(outcome, points = stored.points, refused = stored.refused.total(), "stored"),
    });
    in_flight.done(outcome);
    front.metrics.write_took(front.env.clock.now() - started);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_half_a_minute_ahead() {
        let at = |nanos| Timestamp::new(nanos).expect("in range");
        let clock = at(1_700_000_000_000_000_000);
        let of = |ahead| {
            let session = SessionId { birth: at(clock.nanos() + ahead), nonce: 7 };
            let exactly = Ids::Exactly { request: RequestId { session, seq: 1 }, pending_from: 0 };
            let code = |ids| check_birth(ids, clock).map_err(|failure| failure.code);
            assert_eq!(code(Ids::Key(session)), code(exactly));
            check_birth(exactly, clock)
        };
        assert_eq!(of(30_000_000_000), Ok(()));
        assert_eq!(of(-30_000_000_000_000), Ok(()), "old ids are the shards' business");
        let failure = of(30_000_000_001).expect_err("too far ahead");
        assert_eq!(failure.code, Code::BadRequest);
        assert!(failure.message.contains("over 30 s ahead"), "{failure}");
        assert_eq!(check_birth(Ids::Own, clock), Ok(()));
    }
}
