//! The database that a write goes to, and what the catalogue must learn before it can: a database that is made on demand,
//! and fields. Never makes anything for input of which nothing can be stored.

use std::sync::Arc;

use meridian_client::Database;
use meridian_env::Context;
use meridian_types::{DatabaseId, Duration, Failure, Timestamp, limits};

use super::{Ids, Unseen};
use crate::front::Front;

/// Fields of one call to the catalogue, and the bytes of their names.
const REGISTER_FIELDS_MAX: usize = 4_096;
const REGISTER_BYTES_MAX: usize = 512 << 10;
/// What stands in for the id of a database that is not made yet: the catalogue counts from 1.
const NOT_MADE: DatabaseId = DatabaseId(0);

impl Front {
    /// The database, or what stands in for it until the input is known to have something to store.
    pub(super) async fn target(&self, context: &Context, name: &str) -> Result<Arc<Database>, Failure> {
        if !self.config.auto_create_databases {
            return self.database(context, name).await;
        }
        Ok(self.find_database(context, name).await?.unwrap_or_else(|| Arc::new(not_made(name))))
    }

    /// The database itself, made if it is not.
    pub(super) async fn made(&self, context: &Context, database: Arc<Database>) -> Result<Arc<Database>, Failure> {
        if is_made(&database) { Ok(database) } else { self.create_database(context, &database.name).await }
    }

    /// Gives unseen fields their types. A field that already has another, or for which there is no room, is found when the
    /// rows are looked at again.
    pub(super) async fn register(
        &self,
        context: &Context,
        database: DatabaseId,
        unseen: &Unseen,
    ) -> Result<(), Failure> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (measurement, field, field_type) in unseen.iter() {
            let size = measurement.len() + field.len();
            if batch.len() == REGISTER_FIELDS_MAX || !batch.is_empty() && bytes + size > REGISTER_BYTES_MAX {
                self.cluster.register_fields(context, database, std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
            bytes += size;
            batch.push((measurement.to_owned(), field.to_owned(), field_type));
        }
        self.cluster.register_fields(context, database, batch).await.map(drop)
    }
}

/// A database as it would be made, without any field: every good row has fields that it lacks.
pub(super) fn not_made(name: &str) -> Database {
    let default = Duration::default();
    Database { id: NOT_MADE, name: name.to_owned(), shard_by: None, retention: default, future: default }
}

pub(super) fn is_made(database: &Database) -> bool {
    database.id != NOT_MADE
}

/// The last instant that a point of the database may have when it is `now`.
pub(super) fn latest(database: &Database, now: Timestamp) -> Timestamp {
    let future = database.future.nanos();
    now.saturating_add(if future == 0 { limits::FUTURE_DEFAULT_NANOS } else { future })
}

/// The first instant that a point of the database may have when it is `clock`: what is older would go at once. What has a
/// name is judged by the birth of that, lest a repetition that comes later be another request, or be called refused though
/// it is stored.
pub(super) fn earliest(database: &Database, ids: Ids, clock: Timestamp) -> Timestamp {
    let now = match ids {
        Ids::Own => clock,
        Ids::Key(session) => session.birth,
        Ids::Exactly { request, .. } => request.session.birth,
    };
    match database.retention.nanos() {
        0 => Timestamp::MIN,
        retention => now.saturating_add(-retention),
    }
}

#[cfg(test)]
mod tests {
    use meridian_types::{RequestId, SessionId};

    use super::*;

    #[test]
    fn what_has_a_name_is_judged_by_its_birth() {
        let at = |nanos| Timestamp::new(nanos).expect("in range");
        let session = SessionId { birth: at(90), nonce: 7 };
        let exactly = Ids::Exactly { request: RequestId { session, seq: 1 }, pending_from: 0 };
        let mut database = not_made("d");
        assert_eq!(earliest(&database, Ids::Own, at(100)), Timestamp::MIN, "for ever");
        database.retention = Duration::from_nanos(30).expect("not negative");
        let found = [Ids::Own, Ids::Key(session), exactly].map(|ids| earliest(&database, ids, at(100)).nanos());
        assert_eq!(found, [70, 60, 60]);
    }
}
