//! How a command changes the catalogue. Deterministic: the same commands give the same state, the same bytes and the same
//! replies on every replica. Nothing here may panic on any command that decodes, and a refused command changes nothing.

use std::collections::BTreeSet;

use meridian_types::limits::{NODES_MAX, SHARDS_MAX, TAGS_MAX};
use meridian_types::{
    DatabaseId, Duration, Epoch, EpochId, FieldType, Incarnation, Mutant, NodeId, ReplicaId, ShardId, TimeRange,
    database_name_is_valid, name_is_valid,
};

use crate::catalogue::{Catalogue, Database, Dropped, Formation, PLACEMENT_DEFAULT, Placement, Replica, Shard};
use crate::command::{Command, NodeSpec};
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
        if let Command::Init { cluster, nodes, shards, replication } = command {
            let (cluster, nodes, shards, replication) = (*cluster, *nodes, *shards, *replication);
            return self.init(Formation { cluster, nodes, shards, replication });
        }
        let formation = self.formation.ok_or(Refused::NotInitialised)?;
        match command {
            Command::Join { nonce, region, addr_data, addr_raft, addr_http } => {
                let (addr_data, addr_raft, addr_http) = (addr_data.clone(), addr_raft.clone(), addr_http.clone());
                // The id is the one field that the directory does not know.
                let id = NodeId(self.counters.next_node);
                self.join(NodeSpec { id, region: region.clone(), addr_data, addr_raft, addr_http, nonce: *nonce })
            }
            Command::RegisterNode(node) => self.register_node(node),
            Command::Form => self.form(formation),
            _ if !self.is_formed() => Err(self.not_formed(formation)),
            Command::Init { .. } => unreachable!("answered above"),
            Command::CreateDatabase { name, shard_by, retention, future, if_absent } => {
                self.create_database(name, shard_by.as_deref(), *retention, *future, *if_absent)
            }
            Command::DropDatabase { name } => self.drop_database(name),
            Command::ConfirmDropped { database, shard } => self.confirm_dropped(*database, *shard),
            Command::RegisterFields { database, fields } => self.register_fields(*database, fields),
            Command::ReplaceReplica { shard, replica } => self.replace_replica(*shard, *replica),
        }
    }

    fn init(&mut self, formation: Formation) -> Result<Reply, Refused> {
        if let Some(begun) = self.formation {
            return if begun == formation {
                Ok(Reply::Initialised)
            } else {
                Err(Refused::AlreadyInitialised(begun.cluster))
            };
        }
        let Formation { nodes, shards, replication, .. } = formation;
        if !(1..=NODES_MAX).contains(&nodes) {
            return Err(Refused::NodeCount(nodes));
        }
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(Refused::ShardCount(shards));
        }
        if !(1..=nodes).contains(&replication.into()) {
            return Err(Refused::Replication { replication, nodes });
        }
        self.formation = Some(formation);
        self.change([Section::Formation]);
        Ok(Reply::Initialised)
    }

    fn not_formed(&self, formation: Formation) -> Refused {
        Refused::NotFormed { joined: self.nodes.len(), wanted: formation.nodes }
    }

    fn form(&mut self, formation: Formation) -> Result<Reply, Refused> {
        if self.is_formed() {
            return Ok(Reply::Formed);
        }
        if self.nodes.len() < formation.nodes as usize {
            return Err(self.not_formed(formation));
        }
        let Formation { nodes, shards, replication, .. } = formation;
        let seats = place(&self.nodes, shards, replication).ok_or(Refused::Replication { replication, nodes })?;
        for (id, seats) in (1..=shards).map(ShardId).zip(seats) {
            let shard = self.seat_shard(id, &seats);
            self.shards.insert(id, shard);
        }
        let ids: Vec<_> = self.shards.keys().copied().collect();
        let epoch = Epoch { id: EpochId(0), range: TimeRange::ALL, table: slot_table(&ids) };
        self.epochs.insert(epoch.id, epoch);
        let placement = Placement { name: PLACEMENT_DEFAULT.to_owned(), replication };
        self.placements.insert(placement.name.clone(), placement);
        self.change([Section::Placements, Section::Shards, Section::Epochs]);
        Ok(Reply::Formed)
    }

    /// A new shard with fresh replica ids in `seats`.
    fn seat_shard(&mut self, id: ShardId, seats: &Seats) -> Shard {
        let first = self.counters.next_replica;
        self.counters.next_replica += seats.nodes.len() as u64;
        let replicas: Vec<_> =
            (first..).map(ReplicaId).zip(&seats.nodes).map(|(id, node)| Replica { id, node: *node }).collect();
        let preferred = replicas.iter().find(|r| r.node == seats.preferred).expect("a shard's leader has a seat").id;
        Shard { id, incarnation: Incarnation(1), replicas, preferred, former: Some(preferred) }
    }

    fn join(&mut self, node: NodeSpec) -> Result<Reply, Refused> {
        if let Some(known) = self.nodes.values().find(|known| known.nonce == node.nonce) {
            let id = known.id;
            return self.register_node(&NodeSpec { id, ..node }).map(|_| Reply::Joined(id));
        }
        if let Some((known, address)) = self.nodes.values().find_map(|known| Some((known.id, shared(known, &node)?))) {
            if Mutant::ReuseNodeId.is_planted() {
                self.nodes.insert(known, NodeSpec { id: known, ..node });
                return Ok(Reply::Joined(known));
            }
            return Err(Refused::AnotherDirectory { node: known, address: address.to_owned() });
        }
        let (id, given) = (node.id, self.counters.next_node);
        // Ids are used up long after the nodes are too many.
        let next = given.checked_add(1).filter(|_| self.nodes.len() < NODES_MAX as usize);
        self.counters.next_node = next.ok_or(Refused::NodeCount(given))?;
        let before = self.nodes.insert(id, node);
        assert!(before.is_none(), "{id} is given twice");
        self.change([Section::Nodes]);
        Ok(Reply::Joined(id))
    }

    fn register_node(&mut self, node: &NodeSpec) -> Result<Reply, Refused> {
        let known = self.nodes.get_mut(&node.id).ok_or(Refused::UnknownNode(node.id))?;
        if known.nonce != node.nonce {
            return Err(Refused::AnotherDirectory { node: known.id, address: known.addr_data.clone() });
        }
        if known.region != node.region {
            let (stored, given) = (known.region.clone(), node.region.clone());
            return Err(Refused::RegionChanged { node: node.id, stored, given });
        }
        // Two nodes may swap their addresses, one after the other: who is who is checked at every connection.
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

    fn replace_replica(&mut self, shard: ShardId, replica: ReplicaId) -> Result<Reply, Refused> {
        let id = ReplicaId(self.counters.next_replica);
        let known = self.shards.get_mut(&shard).ok_or(Refused::NoShard(shard))?;
        // One that is not there was replaced before: whoever asked has not heard of it yet.
        let Some(at) = known.replicas.iter().position(|known| known.id == replica) else { return Ok(Reply::Replaced) };
        if known.replicas.len() == 1 {
            return Err(Refused::LastReplica { shard, replica });
        }
        known.replicas[at].id = id;
        if known.preferred == replica {
            // The oldest has the most: it is no new one while one of the first is left.
            let others = known.replicas.iter().map(|replica| replica.id).filter(|other| *other != id);
            known.preferred = others.min().expect("a shard whose copy gives way has more than one");
        }
        known.former = known.former.filter(|former| *former != replica);
        self.counters.next_replica += 1;
        self.change([Section::Shards]);
        Ok(Reply::Replaced)
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

/// An address that two nodes have.
fn shared<'a>(one: &'a NodeSpec, other: &NodeSpec) -> Option<&'a str> {
    let addresses =
        [(&one.addr_data, &other.addr_data), (&one.addr_raft, &other.addr_raft), (&one.addr_http, &other.addr_http)];
    addresses.into_iter().find(|(one, other)| one == other).map(|(one, _)| one.as_str())
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
