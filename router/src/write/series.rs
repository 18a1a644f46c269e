//! The series that this router has met, by the text that names them in line protocol: their tags are parsed, sorted, checked
//! and hashed once, and from the first answer of their shard on they travel as a number.
//!
//! A cache and nothing more: a series that falls out is met anew, and what is believed of a shard's numbers that shard checks,
//! so that a wrong belief is refused and never stored. Never holds more than it is allowed to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use meridian_client::{Database, Map as Cluster};
use meridian_dialect::line_protocol::{self, Heads};
use meridian_env::Rng;
use meridian_frame::series_check;
use meridian_types::{DatabaseId, Map, MapHasher, SeriesKey, SeriesNumber, ShardId, Slot, Timestamp, slot_of};
use parking_lot::RwLock;

/// Memory of all that was met: those met longest ago are forgotten before it is exceeded.
const BYTES_MAX: usize = 512 << 20;
/// What one takes beside its text: itself, its counts, and its places in a list and in a map that is half full.
const OVERHEAD_BYTES: usize = 180;
/// How many guesses of the next head may be wrong before a body is taken for one whose lines come in no order.
const WRONG_GUESSES_MAX: u32 = 16;

/// One series of one database, as one text names it.
#[derive(Debug)]
pub(crate) struct Met {
    /// Differs from that of all others that this router has met.
    pub(crate) id: u64,
    pub(crate) measurement: Arc<str>,
    slot: Slot,
    /// [`series_check`] of its key.
    pub(crate) check: u32,
    head: Arc<str>,
    /// Shard and number in it, a half each; 0 while no shard has said it: shards are counted from 1.
    number: AtomicU64,
    /// Version of the map and the shard that owns it by that map's only epoch, a half each; 0 until somebody asks.
    owner: AtomicU64,
    /// Which place among those known has the one whose line last followed a line of this one.
    next: AtomicU32,
}

impl Met {
    /// Its key, from its text again.
    pub(crate) fn key(&self) -> SeriesKey {
        line_protocol::series(&self.head).expect("only good heads are learnt").key
    }

    /// The shard that owns it at a time, if the cluster is formed.
    pub(crate) fn owner(&self, map: &Cluster, time: Timestamp) -> Option<ShardId> {
        let [epoch] = &map.epochs[..] else { return map.owner(self.slot, time) };
        let (version, known) = (map.version as u32, self.owner.load(Ordering::Relaxed));
        if known >> 32 == u64::from(version) && known != 0 && epoch.range.contains(time) {
            return Some(ShardId(known as u32));
        }
        let owner = map.owner(self.slot, time)?;
        self.owner.store(u64::from(version) << 32 | u64::from(owner.0), Ordering::Relaxed);
        Some(owner)
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

/// Some of those that were met, by their heads.
#[derive(Debug)]
struct Known {
    places: Map<Arc<str>, u32>,
    /// In the order in which they were met: senders mostly repeat it, so that the next one is found without a search.
    in_order: Vec<Arc<Met>>,
}

impl Known {
    fn new(hasher: MapHasher) -> Self {
        Self { places: Map::with_hasher(hasher), in_order: Vec::new() }
    }

    fn get(&self, head: &str) -> Option<&Arc<Met>> {
        self.in_order.get(*self.places.get(head)? as usize)
    }

    /// Takes in one more, unless its head is there already; says whether it did.
    fn insert(&mut self, met: Arc<Met>) -> bool {
        let place = self.in_order.len() as u32; // far fewer fit in BYTES_MAX
        if self.places.contains_key(&met.head) {
            return false;
        }
        self.places.insert(Arc::clone(&met.head), place);
        met.next.store(place + 1, Ordering::Relaxed);
        self.in_order.push(met);
        true
    }
}

/// Where the lines of a body are among those known.
#[derive(Default, Debug)]
struct Follower {
    last: Option<u32>,
    wrong: u32,
}

impl Follower {
    /// What stands for `head`: the one that came behind the last one before, or else the one that is found.
    fn find<'k>(&mut self, known: &'k Known, head: &str) -> Option<&'k Arc<Met>> {
        let guesses = self.wrong < WRONG_GUESSES_MAX;
        let last = self.last.filter(|_| guesses).and_then(|last| known.in_order.get(last as usize));
        let guess = last.map(|last| last.next.load(Ordering::Relaxed));
        if let Some(place) = guess
            && let Some(met) = known.in_order.get(place as usize)
            && *met.head == *head
        {
            self.last = Some(place);
            return Some(met);
        }
        let place = *known.places.get(head)?;
        if let Some(last) = last {
            last.next.store(place, Ordering::Relaxed);
            self.wrong += 1;
        }
        self.last = Some(place);
        known.in_order.get(place as usize)
    }
}

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
    young: BTreeMap<DatabaseId, Known>,
    young_bytes: usize,
    old: BTreeMap<DatabaseId, Known>,
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

    /// Gives `read`, which reads the lines of one body, what was met in their database. What is new is remembered for other
    /// bodies when it is done.
    pub(crate) fn meet<R>(&self, database: &Database, read: impl FnOnce(&mut Meeting<'_>) -> R) -> R {
        let generations = self.generations.read();
        let [young, old] = [&generations.young, &generations.old].map(|generation| generation.get(&database.id));
        let (new, follower) = (Known::new(self.hasher), Follower::default());
        let mut meeting = Meeting { all: self, database, young, old, follower, new, measurement: None };
        let done = read(&mut meeting);
        let new = meeting.new.in_order;
        drop(generations);
        if !new.is_empty() {
            self.take_in(database.id, new);
        }
        done
    }

    fn take_in(&self, database: DatabaseId, new: Vec<Arc<Met>>) {
        let mut generations = self.generations.write();
        let Generations { young, young_bytes, old } = &mut *generations;
        let known = young.entry(database).or_insert_with(|| Known::new(self.hasher));
        for met in new {
            let bytes = met.bytes();
            if known.insert(met) {
                *young_bytes += bytes;
            }
        }
        if *young_bytes > self.bytes_max / 2 {
            *old = std::mem::take(young);
            *young_bytes = 0;
        }
    }
}

/// What the lines of one body need to know of series.
#[derive(Debug)]
pub(crate) struct Meeting<'a> {
    all: &'a AllMet,
    database: &'a Database,
    young: Option<&'a Known>,
    old: Option<&'a Known>,
    follower: Follower,
    new: Known,
    /// That of the last new series: mostly also that of the next.
    measurement: Option<Arc<str>>,
}

impl<'a> Heads for Meeting<'a> {
    /// Those that all bodies share are not counted by who holds them: that count is a place in memory over which the threads
    /// that read bodies would wait for each other at every line.
    type Series = Cow<'a, Arc<Met>>;

    fn known(&mut self, head: &str) -> Option<Self::Series> {
        if let Some(met) = self.young.and_then(|young| self.follower.find(young, head)) {
            return Some(Cow::Borrowed(met));
        }
        if let Some(met) = self.new.get(head) {
            return Some(Cow::Owned(Arc::clone(met)));
        }
        let met = self.old?.get(head)?;
        self.new.insert(Arc::clone(met));
        Some(Cow::Borrowed(met))
    }

    fn learn(&mut self, head: &str, measurement: &str, key: SeriesKey) -> Self::Series {
        let measurement = match &self.measurement {
            Some(same) if &**same == measurement => Arc::clone(same),
            _ => Arc::clone(self.measurement.insert(measurement.into())),
        };
        let met = Arc::new(Met {
            id: self.all.next_id.fetch_add(1, Ordering::Relaxed),
            slot: slot_of(self.database.id, &measurement, &key, self.database.shard_by.as_deref()),
            check: series_check(&key),
            number: AtomicU64::new(0),
            owner: AtomicU64::new(0),
            next: AtomicU32::new(0),
            measurement,
            head: head.into(),
        });
        self.new.insert(Arc::clone(&met));
        Cow::Owned(met)
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
        all.meet(database, |meeting| {
            let meet = |head: &&str| {
                let met = meeting.known(head).unwrap_or_else(|| {
                    let line_protocol::Series { measurement, key } = line_protocol::series(head).expect("a good head");
                    meeting.learn(head, &measurement, key)
                });
                met.into_owned()
            };
            heads.iter().map(meet).collect()
        })
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
    fn in_any_order_each_head_finds_its_own_series() {
        let (all, database, rng) = (AllMet::new(&Rng::from_seed(7)), database(1), Rng::from_seed(11));
        let heads: Vec<String> = (0..50).map(|n| format!("cpu,host=h{n}")).collect();
        let mut met: BTreeMap<&str, u64> = BTreeMap::new();
        for body in 0..100 {
            let any = |_| rng.below(heads.len() as u64) as usize;
            // Every other one repeats an order, as most senders do.
            let order: Vec<usize> = if body % 2 == 0 { (0..40).map(any).collect() } else { (0..heads.len()).collect() };
            let order: Vec<&str> = order.into_iter().map(|n| heads[n].as_str()).collect();
            for (head, one) in order.iter().zip(meet(&all, &database, &order)) {
                assert_eq!(&*one.head, *head);
                assert_eq!(*met.entry(head).or_insert(one.id), one.id, "{head}");
            }
        }
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
            let held = |all: &BTreeMap<DatabaseId, Known>| all.values().map(|k| k.in_order.len()).sum::<usize>();
            assert!(held(&generations.young) + held(&generations.old) <= 22, "after {n}");
        }
        assert!(!Arc::ptr_eq(&meet(&all, &database, &["cpu,host=gone"])[0], &gone));
    }
}
