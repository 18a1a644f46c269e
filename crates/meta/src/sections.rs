//! How the catalogue is stored: as sections, each a key and a value of its own, so that a command rewrites only what it
//! changed; or whole, for snapshots. Reading is total, and what contradicts itself is refused rather than served.

use std::collections::{BTreeMap, BTreeSet};

use meridian_types::{DatabaseId, Epoch, ShardId};
use serde::de::DeserializeOwned;

use crate::catalogue::{Catalogue, Counters, Database, Dropped, Placement, Shard};
use crate::codec::{self, DecodeError, decode};
use crate::command::NodeSpec;
use crate::fields::{FieldRecord, Fields};

/// A key of the store and its new value, or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// One part of the catalogue that is stored under one key. Each field record has its own, because they only ever grow and
/// may be many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Section {
    Counters,
    Formation,
    Nodes,
    Placements,
    Databases,
    Dropped,
    Shards,
    Epochs,
    Field(u64),
}

impl Section {
    /// All that a stored catalogue always has.
    pub(crate) const FIXED: [Self; 8] = [
        Self::Counters,
        Self::Formation,
        Self::Nodes,
        Self::Placements,
        Self::Databases,
        Self::Dropped,
        Self::Shards,
        Self::Epochs,
    ];

    /// Stored: never rename.
    fn key(self) -> Vec<u8> {
        match self {
            Self::Counters => b"counters".to_vec(),
            Self::Formation => b"formation".to_vec(),
            Self::Nodes => b"nodes".to_vec(),
            Self::Placements => b"placements".to_vec(),
            Self::Databases => b"databases".to_vec(),
            Self::Dropped => b"dropped".to_vec(),
            Self::Shards => b"shards".to_vec(),
            Self::Epochs => b"epochs".to_vec(),
            Self::Field(seq) => format!("field/{seq:016x}").into_bytes(),
        }
    }
}

impl Catalogue {
    /// Everything, as one value for a snapshot.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.sections())
    }

    /// Reads what [`Catalogue::encode`] wrote. The store that the result is to be kept in gets all its
    /// [`Catalogue::sections`], and nothing of what it had.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_sections(decode::<Vec<(Vec<u8>, Vec<u8>)>>(bytes)?)
    }

    /// Everything, as keys and values for a store.
    pub fn sections(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let fields = self.fields.log().iter().map(|r| Section::Field(r.seq));
        let all = Section::FIXED.into_iter().chain(fields);
        all.filter_map(|section| Some((section.key(), self.section(section)?))).collect()
    }

    /// What a store needs to follow all commands applied since the last call, or since the catalogue was made or read.
    /// Not replicated: a replica that does not ask only remembers more.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|section| (section.key(), self.section(section))).collect()
    }

    /// Reads the sections of a store, in any order. None at all are a catalogue before its cluster is begun.
    pub fn from_sections(sections: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, DecodeError> {
        let mut rest: BTreeMap<_, _> = sections.into_iter().collect();
        if rest.is_empty() {
            return Ok(Self::default());
        }
        let mut catalogue = Self {
            counters: take(&mut rest, Section::Counters)?,
            formation: take(&mut rest, Section::Formation)?,
            nodes: take_keyed(&mut rest, Section::Nodes, |n: &NodeSpec| n.id)?,
            placements: take_keyed(&mut rest, Section::Placements, |p: &Placement| p.name.clone())?,
            databases: take_keyed(&mut rest, Section::Databases, |d: &Database| d.id)?,
            dropped: take_keyed(&mut rest, Section::Dropped, |d: &Dropped| d.id)?,
            shards: take_keyed(&mut rest, Section::Shards, |s: &Shard| s.id)?,
            epochs: take_keyed(&mut rest, Section::Epochs, |e: &Epoch| e.id)?,
            fields: Fields::default(),
            changed: BTreeSet::new(),
        };
        let mut records = Vec::new();
        for (key, value) in rest {
            if !key.starts_with(b"field/") {
                return Err(DecodeError::UnknownSection(String::from_utf8_lossy(&key).into_owned()));
            }
            let record: FieldRecord = decode(&value)?;
            ensure(key == Section::Field(record.seq).key(), "a field record has another number than its key")?;
            records.push(record);
        }
        catalogue.fields = Fields::from_records(records.into_iter())?;
        catalogue.check()?;
        Ok(catalogue)
    }

    fn section(&self, section: Section) -> Option<Vec<u8>> {
        Some(match section {
            Section::Counters => codec::encode(&self.counters),
            Section::Formation => codec::encode(&self.formation),
            Section::Nodes => encode_values(&self.nodes),
            Section::Placements => encode_values(&self.placements),
            Section::Databases => encode_values(&self.databases),
            Section::Dropped => encode_values(&self.dropped),
            Section::Shards => encode_values(&self.shards),
            Section::Epochs => encode_values(&self.epochs),
            Section::Field(seq) => codec::encode(self.fields.get(seq)?),
        })
    }

    /// What `apply` and the readers of the catalogue take for granted.
    fn check(&self) -> Result<(), DecodeError> {
        let Counters { next_node, next_database, next_field, fields, .. } = self.counters;
        let given = |id: &DatabaseId| (1..next_database).contains(&id.0);
        let names: BTreeSet<_> = self.databases.values().map(|d| &d.name).collect();
        let known = |shard: &ShardId| self.shards.contains_key(shard);

        let nonces: BTreeSet<_> = self.nodes.values().map(|n| n.nonce).collect();

        ensure(self.formation.is_some() || self.nodes.is_empty(), "nodes of no cluster")?;
        ensure(self.formation.is_some() || self.shards.is_empty(), "shards of no cluster")?;
        ensure(self.shards.is_empty() == self.epochs.is_empty(), "half a formation")?;
        ensure(self.formation.is_none_or(|f| (1..=f.nodes).contains(&f.replication.into())), "copies without nodes")?;
        ensure(self.nodes.keys().all(|id| (1..next_node).contains(&id.0)), "a node id was never given")?;
        ensure(nonces.len() == self.nodes.len(), "two nodes are one directory")?;
        ensure(self.databases.keys().chain(self.dropped.keys()).all(given), "a database id was never given")?;
        ensure(!self.dropped.keys().any(|id| self.databases.contains_key(id)), "a dropped database lives")?;
        ensure(names.len() == self.databases.len(), "two databases have one name")?;
        ensure(self.databases.values().all(|d| self.placements.contains_key(&d.placement)), "no such placement")?;
        ensure(
            self.databases.values().all(|d| d.retention.nanos() >= 0 && d.future.nanos() >= 0),
            "a duration is negative",
        )?;
        ensure(
            self.dropped.values().all(|d| !d.waiting.is_empty() && d.waiting.iter().all(known)),
            "a drop waits for no shard, or for an unknown one",
        )?;
        self.check_replicas()?;
        ensure(self.epochs.values().all(|e| e.range.start() < e.range.end()), "an epoch is empty")?;
        ensure(self.epochs.values().all(|e| e.table.shards().iter().all(known)), "a slot's owner is unknown")?;
        let log = self.fields.log();
        ensure(log.len() as u64 == fields, "field records are missing")?;
        ensure(log.last().is_none_or(|r| r.seq < next_field), "a field number was never given")?;
        ensure(log.iter().all(|r| self.databases.contains_key(&r.database)), "a field's database is unknown")
    }

    fn check_replicas(&self) -> Result<(), DecodeError> {
        let mut ids = BTreeSet::new();
        for shard in self.shards.values() {
            ensure(shard.id != ShardId(0), "s0 is no shard")?;
            let nodes: BTreeSet<_> = shard.replicas.iter().map(|r| r.node).collect();
            ensure(nodes.len() == shard.replicas.len(), "a node has two replicas of one shard")?;
            ensure(nodes.iter().all(|n| self.nodes.contains_key(n)), "a replica's node is unknown")?;
            ensure(shard.replicas.iter().any(|r| r.id == shard.preferred), "a preferred leader is no replica")?;
            let is_here = |id| shard.replicas.iter().any(|r| r.id == id);
            ensure(shard.former.is_none_or(is_here), "a group is formed by no replica of its")?;
            ensure(shard.replicas.iter().all(|r| ids.insert(r.id)), "two replicas have one id")?;
        }
        ensure(ids.last().is_none_or(|id| id.0 < self.counters.next_replica), "a replica id was never given")
    }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Inconsistent(otherwise)) }
}

type Stored = BTreeMap<Vec<u8>, Vec<u8>>;

fn take<T: DeserializeOwned>(stored: &mut Stored, section: Section) -> Result<T, DecodeError> {
    let key = section.key();
    let bytes = stored.remove(&key).ok_or_else(|| DecodeError::Missing(String::from_utf8_lossy(&key).into_owned()))?;
    decode(&bytes)
}

/// Values carry their own keys, so that the two cannot differ.
fn take_keyed<K: Ord, V: DeserializeOwned>(
    stored: &mut Stored,
    section: Section,
    key: impl Fn(&V) -> K,
) -> Result<BTreeMap<K, V>, DecodeError> {
    let values: Vec<V> = take(stored, section)?;
    let count = values.len();
    let map: BTreeMap<K, V> = values.into_iter().map(|v| (key(&v), v)).collect();
    ensure(map.len() == count, "two records have one id")?;
    Ok(map)
}

fn encode_values<K, V: serde::Serialize>(map: &BTreeMap<K, V>) -> Vec<u8> {
    codec::encode(&map.values().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
