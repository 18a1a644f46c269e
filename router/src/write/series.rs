//! The series that this router has met, by the text that names them in line protocol: their tags are parsed, sorted, checked
//! and hashed once, and from the first answer of their shard on they travel as a number.
//!
//! A cache and nothing more: a series that falls out is met anew, and what is believed of a shard's numbers that shard checks,
//! so that a wrong belief is refused and never stored. Never holds more than it is allowed to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_client::Database;
use meridian_dialect::line_protocol::{self, Heads};
use meridian_env::Rng;
use meridian_frame::series_check;
use meridian_types::{DatabaseId, Map, MapHasher, SeriesKey, SeriesNumber, ShardId, Slot, slot_of};
use parking_lot::{RwLock, RwLockReadGuard};

/// Memory of all that was met: those met longest ago are forgotten before it is exceeded.
const BYTES_MAX: usize = 512 << 20;
/// What one takes beside its text: itself, its counts, and its place in a map that is half full.
const OVERHEAD_BYTES: usize = 160;

/// One series of one database, as one text names it.
#[derive(Debug)]
pub(crate) struct Met {
    /// Differs from that of all others that this router has met.
    pub(crate) id: u64,
    pub(crate) measurement: Arc<str>,
    pub(crate) slot: Slot,
    /// [`series_check`] of its key.
    pub(crate) check: u32,
    head: Arc<str>,
    /// Shard and number in it, a half each; 0 while no shard has said it: shards are counted from 1.
    number: AtomicU64,
}

impl Met {
    /// Its key, from its text again.
    pub(crate) fn key(&self) -> SeriesKey {
        line_protocol::series(&self.head).expect("only good heads are learnt").key
    }

    /// Its number in a shard, as far as this router knows.
    pub(crate) fn number_in(&self, shard: ShardId) -> Option<SeriesNumber> {
        let both = self.number.load(Ordering::Relaxed);
        (both >> 32 == u64::from(shard.0)).then_some(SeriesNumber(both as u32))
    }

    /// What a shard has said.
    pub(crate) fn learn(&self, shard: ShardId, number: SeriesNumber) {
        self.number.store(u64::from(shard.0) << 32 | u64::from(number.0), Ordering::Relaxed);
    }

    /// The number was wrong.
    pub(crate) fn forget(&self) {
        self.number.store(0, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        self.head.len() + OVERHEAD_BYTES
    }
}

type ByHead = Map<Arc<str>, Arc<Met>>;

/// All series that were met, in two generations: what was asked for since the younger one began is in it.
#[derive(Debug)]
pub(crate) struct AllMet {
    hasher: MapHasher,
    bytes_max: usize,
    next_id: AtomicU64,
    generations: RwLock<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: BTreeMap<DatabaseId, ByHead>,
    young_bytes: usize,
    old: BTreeMap<DatabaseId, ByHead>,
}

impl AllMet {
    /// Nothing yet. What clients send is hashed under a seed of `rng`.
    pub(crate) fn new(rng: &Rng) -> Self {
        Self::bounded(rng, BYTES_MAX)
    }

    fn bounded(rng: &Rng, bytes_max: usize) -> Self {
        Self {
            hasher: MapHasher::seeded(rng.child("series").u64()),
            bytes_max,
            next_id: AtomicU64::new(0),
            generations: RwLock::default(),
        }
    }

    /// For the lines of one body, which are of this database.
    pub(crate) fn of<'a>(&'a self, database: &'a Database) -> Meeting<'a> {
        let known = Some(self.generations.read());
        Meeting { all: self, database, known, new: ByHead::with_hasher(self.hasher), measurement: None }
    }

    fn take_in(&self, database: DatabaseId, new: ByHead) {
        let mut generations = self.generations.write();
        let Generations { young, young_bytes, old } = &mut *generations;
        let by_head = young.entry(database).or_insert_with(|| ByHead::with_hasher(self.hasher));
        for (head, met) in new {
            *young_bytes += met.bytes();
            if let Some(twice) = by_head.insert(head, met) {
                *young_bytes -= twice.bytes();
            }
        }
        if *young_bytes > self.bytes_max / 2 {
            *old = std::mem::take(young);
            *young_bytes = 0;
        }
    }
}

/// What the lines of one body need to know of series. New ones are remembered for other bodies when it ends.
#[derive(Debug)]
pub(crate) struct Meeting<'a> {
    all: &'a AllMet,
    database: &'a Database,
    /// Until the end.
    known: Option<RwLockReadGuard<'a, Generations>>,
    new: ByHead,
    /// That of the last new series: mostly also that of the next.
    measurement: Option<Arc<str>>,
}

impl Heads for Meeting<'_> {
    type Series = Arc<Met>;

    fn known(&mut self, head: &str) -> Option<Arc<Met>> {
        let Generations { young, old, .. } = &**self.known.as_ref()?;
        let id = &self.database.id;
        if let Some(met) = young.get(id).and_then(|by_head| by_head.get(head)).or_else(|| self.new.get(head)) {
            return Some(Arc::clone(met));
        }
        let met = Arc::clone(old.get(id)?.get(head)?);
        self.new.insert(Arc::clone(&met.head), Arc::clone(&met));
        Some(met)
    }

    fn learn(&mut self, head: &str, measurement: &str, key: SeriesKey) -> Arc<Met> {
        let measurement = match &self.measurement {
            Some(same) if &**same == measurement => Arc::clone(same),
            _ => Arc::clone(self.measurement.insert(measurement.into())),
        };
        let head: Arc<str> = head.into();
        let met = Arc::new(Met {
            id: self.all.next_id.fetch_add(1, Ordering::Relaxed),
            slot: slot_of(self.database.id, &measurement, &key, self.database.shard_by.as_deref()),
            check: series_check(&key),
            number: AtomicU64::new(0),
            measurement,
            head: Arc::clone(&head),
        });
        self.new.insert(head, Arc::clone(&met));
        met
    }
}

impl Drop for Meeting<'_> {
    fn drop(&mut self) {
        self.known = None;
        if !self.new.is_empty() {
            let new = std::mem::replace(&mut self.new, ByHead::with_hasher(self.all.hasher));
            self.all.take_in(self.database.id, new);
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_proto::v1;

    use super::*;

    fn database(id: u32) -> Database {
        Database::try_from(v1::Database { id, name: "d".into(), ..v1::Database::default() }).expect("valid")
    }

    fn meet(all: &AllMet, database: &Database, heads: &[&str]) -> Vec<Arc<Met>> {
        let mut meeting = all.of(database);
        let meet = |head: &&str| {
            meeting.known(head).unwrap_or_else(|| {
                let line_protocol::Series { measurement, key } = line_protocol::series(head).expect("a good head");
                meeting.learn(head, &measurement, key)
            })
        };
        heads.iter().map(meet).collect()
    }

    #[test]
    fn a_series_is_met_once_in_each_database() {
        let all = AllMet::new(&Rng::from_seed(7));
        let (one, two) = (database(1), database(2));
        let first = meet(&all, &one, &["cpu,host=a", "cpu,host=b", "cpu,host=a"]);
        assert!(Arc::ptr_eq(&first[0], &first[2]) && first[0].id != first[1].id);
        let again = meet(&all, &one, &["cpu,host=b", "mem,host=b"]);
        assert!(Arc::ptr_eq(&again[0], &first[1]));
        assert_eq!((&*again[1].measurement, again[1].key().tag("host")), ("mem", "b"));
        assert!(!Arc::ptr_eq(&meet(&all, &two, &["cpu,host=a"])[0], &first[0]));
    }

    #[test]
    fn a_number_is_good_in_its_shard_until_it_is_forgotten() {
        let all = AllMet::new(&Rng::from_seed(7));
        let met = meet(&all, &database(1), &["cpu,host=a"]).remove(0);
        assert_eq!(met.number_in(ShardId(3)), None);
        met.learn(ShardId(3), SeriesNumber(0));
        assert_eq!((met.number_in(ShardId(3)), met.number_in(ShardId(4))), (Some(SeriesNumber(0)), None));
        met.forget();
        assert_eq!(met.number_in(ShardId(3)), None);
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let all = AllMet::bounded(&Rng::from_seed(7), 20 * (OVERHEAD_BYTES + 20));
        let database = database(1);
        let kept = meet(&all, &database, &["cpu,host=kept"]).remove(0);
        let gone = meet(&all, &database, &["cpu,host=gone"]).remove(0);
        for n in 0..200 {
            meet(&all, &database, &[&format!("cpu,host=h{n}")]);
            assert!(Arc::ptr_eq(&meet(&all, &database, &["cpu,host=kept"])[0], &kept));
            let generations = all.generations.read();
            let held = |by_head: &BTreeMap<DatabaseId, ByHead>| by_head.values().map(|m| m.len()).sum::<usize>();
            assert!(held(&generations.young) + held(&generations.old) <= 22, "after {n}");
        }
        assert!(!Arc::ptr_eq(&meet(&all, &database, &["cpu,host=gone"])[0], &gone));
    }
}
