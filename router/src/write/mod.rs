//! A batch's way in: rows are checked and become frames, one shard each; frames are proposed; what became of them is one
//! answer. HTTP and gRPC share all of it.
//!
//! Never says that something is stored before every shard has said so, and never that it certainly is not once one has.

mod budget; // bytes under way
mod frames; // frames that clients made
mod prepare; // rows to frames, pure
mod propose; // frames to shards
mod refused; // what was not stored, and why
mod sessions; // the request ids of this router
mod source; // rows as they arrive
mod verdict; // what became of all shards, pure

use std::time::Duration;

use meridian_client::{Database, Map};
use meridian_env::{Class, Context, run};
use meridian_types::{Code, DatabaseId, Failure, FieldType, RequestId, SessionId, Timestamp, Witness, limits};
use tracing::{Instrument, Span};

use crate::front::Front;
use crate::metrics::outcome_of;
use prepare::{Prepared, Rules, prepare};

pub(crate) use budget::{Budget, Held};
pub(crate) use refused::{Refusal, Refused};
pub(crate) use sessions::Sessions;
pub(crate) use source::Source;

/// Above this size, input is worked on by the threads for that, not where connections are served.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// How far ahead of this router's clock a client's session may be born. Shards forget sessions by their birth: one born far
/// ahead would take those born now with it.
const SESSION_AHEAD_MAX: Duration = Duration::from_secs(3_600);
/// Fields of one call to the catalogue, and the bytes of their names.
const REGISTER_FIELDS_MAX: usize = 4_096;
const REGISTER_BYTES_MAX: usize = 512 << 10;

/// How the frames of a request are named.
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
}

impl Front {
    /// Stores the good rows of a request in the named database.
    pub(crate) async fn write(
        &self,
        context: &Context,
        database: &str,
        source: Source,
        ids: Ids,
    ) -> Result<Stored, Failure> {
        let clock = self.env.clock.wall();
        self.check_birth(ids, clock)?;
        let database = self.database(context, database, self.config.auto_create_databases).await?;
        let mut rules = Rules {
            map: self.cluster.map(),
            default_time: match ids {
                Ids::Own => Some(clock),
                Ids::Key(session) => Some(session.birth),
                Ids::Exactly { .. } => None,
            },
            latest: latest(&database, if let Ids::Key(session) = ids { session.birth } else { clock }),
            database,
            one_frame: matches!(ids, Ids::Exactly { .. }),
            registered: false,
        };
        let mut prepared = self.prepare(&rules, &source).await?;
        if !prepared.unseen.is_empty() {
            self.register(context, rules.database.id, prepared.unseen).await?;
            (rules.map, rules.registered) = (self.cluster.map(), true);
            prepared = self.prepare(&rules, &source).await?;
        }
        let Prepared { frames, refused, rows, .. } = prepared;
        let (points, witnesses) = self.propose(context, rules.database.id, frames, ids).await?;
        self.metrics.points_written.inc_by(points);
        self.metrics.lines_refused.inc_by(refused.total());
        Ok(Stored { points, witnesses, refused, rows })
    }

    async fn prepare(&self, rules: &Rules, source: &Source) -> Result<Prepared, Failure> {
        if source.bytes() <= INLINE_BYTES_MAX {
            return prepare(rules, source);
        }
        let (rules, source) = (rules.clone(), source.clone());
        run(&*self.env.work, Class::Scan, move || prepare(&rules, &source)).await
    }

    /// Gives unseen fields their types. A field that already has another, or for which there is no room, is found when the
    /// rows are looked at again.
    async fn register(
        &self,
        context: &Context,
        database: DatabaseId,
        fields: Vec<(String, String, FieldType)>,
    ) -> Result<(), Failure> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for field in fields {
            let size = field.0.len() + field.1.len();
            if batch.len() == REGISTER_FIELDS_MAX || !batch.is_empty() && bytes + size > REGISTER_BYTES_MAX {
                self.cluster.register_fields(context, database, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            batch.push(field);
        }
        self.cluster.register_fields(context, database, batch).await.map(drop)
    }

    fn check_birth(&self, ids: Ids, clock: Timestamp) -> Result<(), Failure> {
        let birth = match ids {
            Ids::Own => return Ok(()),
            Ids::Key(session) => session.birth,
            Ids::Exactly { request, .. } => request.session.birth,
        };
        let ahead = i64::try_from(SESSION_AHEAD_MAX.as_nanos()).expect("an hour fits");
        if birth <= clock.saturating_add(ahead) {
            return Ok(());
        }
        let text =
            format!("the request id was made at {birth}, over an hour ahead of this router's {clock}: set the clocks");
        Err(Failure::new(Code::BadRequest, text))
    }
}

/// The last instant that a point of the database may have when it is `now`.
fn latest(database: &Database, now: Timestamp) -> Timestamp {
    let future = database.future.nanos();
    now.saturating_add(if future == 0 { limits::FUTURE_DEFAULT_NANOS } else { future })
}

/// Why nothing can be stored at a time: the map has no owner for it.
fn no_owner(map: &Map) -> Failure {
    Failure::new(Code::NotReady, format!("version {} of the map has no shard for this time", map.version))
}

fn over_limit(text: String) -> Failure {
    Failure::new(Code::OverLimit, text)
}

/// Counts and logs a write, whatever it came in by.
pub(crate) async fn counted(
    front: &Front,
    endpoint: &'static str,
    span: Span,
    writing: impl Future<Output = Result<Stored, Failure>>,
) -> Result<Stored, Failure> {
    let mut in_flight = front.metrics.begin(endpoint);
    let started = front.env.clock.now();
    let result = writing.instrument(span.clone()).await;
    let outcome = match &result {
        Ok(stored) if stored.refused.total() > 0 => "partial",
        Ok(_) => "ok",
        Err(failure) => outcome_of(failure),
    };
    span.in_scope(|| match &result {
        Err(failure) => tracing::info!(outcome, code = %failure.code, why = failure.message, "refused"),
        Ok(stored) => tracing::debug!(outcome, points = stored.points, refused = stored.refused.total(), "stored"),
    });
    in_flight.done(outcome);
    front.metrics.write_took(front.env.clock.now() - started);
    result
}
