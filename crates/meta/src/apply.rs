//! How a command changes the catalogue. Deterministic: the same commands give the same state, the same bytes and the same
//! replies on every replica. Nothing here may panic on any command that decodes, and a refused command changes nothing.

use std::collections::BTreeSet;

use meridian_types::limits::{SHARDS_MAX, TAGS_MAX};
use meridian_types::{
    DatabaseId, Duration, Epoch, EpochId, FieldType, Incarnation, ReplicaId, ShardId, TimeRange,
    database_name_is_valid, name_is_valid,
};

use crate::catalogue::{Catalogue, Database, Dropped, Formation, PLACEMENT_DEFAULT, Placement, Replica, Shard};
use crate::command::{ClusterId, Command, NodeSpec};
use crate::fields::{FieldRecord, FieldRefused};
use crate::place::{Seats, place};
use crate::reply::{Refused, Reply};
use crate::ring::slot_table;
use crate::sections::Section;

impl Catalogue {
    /// Applies one command of the log.
    pub fn apply(&mut self, command: &Command) -> Reply {
        self.try_apply(command).unwrap_or_else(Reply::Refused)
    }

    fn try_apply(&mut self, command: &Command) -> Result<Reply, Refused> {
        if let Command::Form { cluster, nodes, shards, replication } = command {
            return self.form(*cluster, nodes, *shards, *replication);
        }
        if self.formation.is_none() {
            return Err(Refused::NotFormed);
        }
        match command {
            Command::Form { .. } => unreachable!("answered above"),
            Command::RegisterNode(node) => self.register_node(node),
            Command::CreateDatabase { name, shard_by, retention, future, if_absent } => {
                self.create_database(name, shard_by.as_deref(), *retention, *future, *if_absent)
            }
            Command::DropDatabase { name } => self.drop_database(name),
            Command::ConfirmDropped { database, shard } => self.confirm_dropped(*database, *shard),
            Command::RegisterFields { database, fields } => self.register_fields(*database, fields),
        }
    }

    fn form(&mut self, cluster: ClusterId, nodes: &[NodeSpec], shards: u32, replication: u8) -> Result<Reply, Refused> {
        let formation = Formation { cluster, nodes: nodes.iter().map(|n| n.id).collect(), shards, replication };
        if let Some(formed) = &self.formation {
            // Addresses may have changed since, so they do not tell formations apart.
            return if *formed == formation { Ok(Reply::Formed) } else { Err(Refused::AlreadyFormed(formed.cluster)) };
        }
        let mut ids = BTreeSet::new();
        if let Some(twice) = nodes.iter().find(|n| !ids.insert(n.id)) {
            return Err(Refused::DuplicateNode(twice.id));
        }
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(Refused::ShardCount(shards));
        }
        let by_id = nodes.iter().map(|n| (n.id, n.clone())).collect();
        let seats =
            place(&by_id, shards, replication).ok_or(Refused::Replication { replication, nodes: nodes.len() })?;

        self.nodes = by_id;
        for (id, seats) in (1..=shards).map(ShardId).zip(seats) {
            let shard = self.seat_shard(id, &seats);
            self.shards.insert(id, shard);
        }
        let ids: Vec<_> = self.shards.keys().copied().collect();
        let epoch = Epoch { id: EpochId(0), range: TimeRange::ALL, table: slot_table(&ids) };
        self.epochs.insert(epoch.id, epoch);
        let placement = Placement { name: PLACEMENT_DEFAULT.to_owned(), replication };
        self.placements.insert(placement.name.clone(), placement);
        self.formation = Some(formation);
        self.change([Section::Formation, Section::Nodes, Section::Placements, Section::Shards, Section::Epochs]);
        Ok(Reply::Formed)
    }

    /// A new shard with fresh replica ids in `seats`.
    fn seat_shard(&mut self, id: ShardId, seats: &Seats) -> Shard {
        let first = self.counters.next_replica;
        self.counters.next_replica += seats.nodes.len() as u64;
        let replicas: Vec<_> =
            (first..).map(ReplicaId).zip(&seats.nodes).map(|(id, node)| Replica { id, node: *node }).collect();
        let preferred = replicas.iter().find(|r| r.node == seats.preferred).expect("a shard's leader has a seat").id;
        Shard { id, incarnation: Incarnation(1), replicas, preferred }
    }

    fn register_node(&mut self, node: &NodeSpec) -> Result<Reply, Refused> {
        let known = self.nodes.get_mut(&node.id).ok_or(Refused::UnknownNode(node.id))?;
        if known.region != node.region {
            let (stored, given) = (known.region.clone(), node.region.clone());
            return Err(Refused::RegionChanged { node: node.id, stored, given });
        }
        if known != node {
            *known = node.clone();
            self.change([Section::Nodes]);
        }
        Ok(Reply::NodeRegistered)
    }

    fn create_database(
        &mut self,
        name: &str,
        shard_by: Option<&[String]>,
        retention: Duration,
        future: Duration,
        if_absent: bool,
    ) -> Result<Reply, Refused> {
        if !database_name_is_valid(name) {
            return Err(Refused::DatabaseName(name.to_owned()));
        }
        let shard_by = shard_by.map(checked_shard_by).transpose()?;
        for (what, span) in [("retention", retention), ("future", future)] {
            // Durations that were decoded from bytes have not passed `Duration::from_nanos`.
            if span.nanos() < 0 {
                return Err(Refused::NegativeDuration { what: what.to_owned(), nanos: span.nanos() });
            }
        }
        if let Some(database) = self.database(name) {
            return if if_absent {
                Ok(Reply::Database(database.clone()))
            } else {
                Err(Refused::DatabaseExists(name.to_owned()))
            };
        }
        let number = self.counters.next_database;
        self.counters.next_database = number.checked_add(1).ok_or(Refused::DatabaseIds(number))?;
        let (id, name, placement) = (DatabaseId(number), name.to_owned(), PLACEMENT_DEFAULT.to_owned());
        let database = Database { id, name, shard_by, retention, future, placement };
        let before = self.databases.insert(id, database.clone());
        assert!(before.is_none() && !self.dropped.contains_key(&id), "{id} is given twice");
        self.change([Section::Databases]);
        Ok(Reply::Database(database))
    }

    fn drop_database(&mut self, name: &str) -> Result<Reply, Refused> {
        let id = self.database(name).ok_or_else(|| Refused::NoDatabase(name.to_owned()))?.id;
        self.databases.remove(&id);
        let waiting = self.shards.keys().copied().collect();
        self.dropped.insert(id, Dropped { id, name: name.to_owned(), waiting });
        let records = self.fields.forget(id);
        self.counters.fields = self.fields.log().len() as u64;
        self.changed.extend(records.into_iter().map(Section::Field));
        self.change([Section::Databases, Section::Dropped]);
        Ok(Reply::Dropped(id))
    }

    fn confirm_dropped(&mut self, database: DatabaseId, shard: ShardId) -> Result<Reply, Refused> {
        if self.databases.contains_key(&database) {
            return Err(Refused::NotDropped(database));
        }
        if database.0 == 0 || database.0 >= self.counters.next_database {
            return Err(Refused::NoDatabaseId(database));
        }
        // Confirmed by all before, or by this one: a shard repeats itself until it hears the reply.
        let Some(dropped) = self.dropped.get_mut(&database) else { return Ok(Reply::Confirmed) };
        if dropped.waiting.remove(&shard) {
            if dropped.waiting.is_empty() {
                self.dropped.remove(&database);
            }
            self.change([Section::Dropped]);
        }
        Ok(Reply::Confirmed)
    }

    fn register_fields(
        &mut self,
        database: DatabaseId,
        fields: &[(String, String, FieldType)],
    ) -> Result<Reply, Refused> {
        if !self.databases.contains_key(&database) {
            return Err(Refused::NoDatabaseId(database));
        }
        if let Some((measurement, field, _)) = fields.iter().find(|(m, f, _)| !name_is_valid(m) || !name_is_valid(f)) {
            return Err(Refused::FieldName { measurement: measurement.clone(), field: field.clone() });
        }
        let (mut conflicts, mut over_limit) = (Vec::new(), Vec::new());
        let first = self.counters.next_field;
        for (measurement, field, field_type) in fields {
            let seq = self.counters.next_field;
            let (measurement, field) = (measurement.clone(), field.clone());
            match self.fields.register(FieldRecord { seq, database, measurement, field, field_type: *field_type }) {
                Ok(new) => self.counters.next_field += u64::from(new),
                Err(FieldRefused::Conflict(conflict)) => conflicts.push(conflict),
                Err(FieldRefused::OverLimit(over)) => over_limit.push(over),
            }
        }
        if first < self.counters.next_field {
            self.counters.fields = self.fields.log().len() as u64;
            self.change((first..self.counters.next_field).map(Section::Field));
        }
        Ok(Reply::Fields { conflicts, over_limit })
    }

    /// Notes that a command changed these sections.
    fn change(&mut self, sections: impl IntoIterator<Item = Section>) {
        self.counters.version += 1;
        self.changed.insert(Section::Counters);
        self.changed.extend(sections);
    }
}

/// The tags in one order whatever the order they were given in, each once.
fn checked_shard_by(names: &[String]) -> Result<Vec<String>, Refused> {
    let names: BTreeSet<_> = names.iter().collect();
    if !(1..=TAGS_MAX).contains(&names.len()) || !names.iter().all(|n| name_is_valid(n)) {
        return Err(Refused::ShardBy);
    }
    Ok(names.into_iter().cloned().collect())
}

#[cfg(test)]
pub(crate) mod tests;
