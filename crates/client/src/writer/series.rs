//! Series as their writer knows them: from the first answer of their shard on they travel as a number.
//!
//! A belief and nothing more: the shard checks every number, so that a wrong one is refused and never stored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_env::Rng;
use meridian_frame::series_check;
use meridian_types::{Map, MapHasher, SeriesKey, SeriesNumber, ShardId};

/// One series of one measurement, and its number once its shard has told it.
#[derive(Debug)]
pub struct Series {
    measurement: Arc<str>,
    key: Arc<SeriesKey>,
    check: u32,
    /// Shard and number in it, a half each; 0 while no shard has told: shards are counted from 1.
    number: AtomicU64,
}

impl Series {
    /// A series of which no shard has told anything.
    pub fn new(measurement: Arc<str>, key: SeriesKey) -> Self {
        Self { measurement, check: series_check(&key), key: Arc::new(key), number: AtomicU64::new(0) }
    }

    /// Its shard and its number there.
    pub fn number(&self) -> Option<(ShardId, SeriesNumber)> {
        let both = self.number.load(Ordering::Relaxed);
        (both != 0).then_some((ShardId((both >> 32) as u32), SeriesNumber(both as u32)))
    }

    /// What a shard has told.
    pub fn learn(&self, shard: ShardId, number: SeriesNumber) {
        self.number.store(halves(shard, number), Ordering::Relaxed);
    }

    /// The number was wrong; one that was told since stays.
    pub(super) fn forget(&self, shard: ShardId, number: SeriesNumber) {
        let wrong = |both| (both == halves(shard, number)).then_some(0);
        // It fails where it was told anew.
        self.number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, wrong).unwrap_or_default();
    }

    pub(super) fn measurement(&self) -> &str {
        &self.measurement
    }

    pub(super) fn key(&self) -> &SeriesKey {
        &self.key
    }

    /// [`series_check`] of its key.
    pub(super) fn check(&self) -> u32 {
        self.check
    }
}

fn halves(shard: ShardId, number: SeriesNumber) -> u64 {
    u64::from(shard.0) << 32 | u64::from(number.0)
}

/// The series that a writer has met. Never more than it is allowed to hold: it begins anew then, and what it meets again
/// goes by key once more.
#[derive(Debug)]
pub(super) struct Known {
    hasher: MapHasher,
    measurements: BTreeMap<Arc<str>, Map<Arc<SeriesKey>, Arc<Series>>>,
    count: usize,
    count_max: usize,
}

impl Known {
    pub(super) fn new(rng: &Rng, count_max: usize) -> Self {
        let hasher = MapHasher::seeded(rng.child("series").u64());
        Self { hasher, measurements: BTreeMap::new(), count: 0, count_max }
    }

    /// The series of this name, as it was met first.
    pub(super) fn meet(&mut self, measurement: &str, key: &SeriesKey) -> Arc<Series> {
        if let Some(known) = self.measurements.get(measurement).and_then(|series| series.get(key)) {
            return Arc::clone(known);
        }
        if self.count >= self.count_max {
            self.measurements.clear();
            self.count = 0;
        }
        let name = self.measurements.get_key_value(measurement).map(|(name, _)| Arc::clone(name));
        let name = name.unwrap_or_else(|| measurement.into());
        let series = Arc::new(Series::new(Arc::clone(&name), key.clone()));
        let of_measurement = self.measurements.entry(name).or_insert_with(|| Map::with_hasher(self.hasher));
        of_measurement.insert(Arc::clone(&series.key), Arc::clone(&series));
        self.count += 1;
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str) -> SeriesKey {
        SeriesKey::from_tags(&mut [("host", host)]).expect("valid")
    }

    #[test]
    fn a_series_is_met_once_in_each_measurement() {
        let mut known = Known::new(&Rng::from_seed(7), 10);
        let first = known.meet("cpu", &key("a"));
        assert!(Arc::ptr_eq(&first, &known.meet("cpu", &key("a"))));
        for (measurement, host) in [("cpu", "b"), ("mem", "a")] {
            assert!(!Arc::ptr_eq(&first, &known.meet(measurement, &key(host))));
        }
        assert_eq!((first.measurement(), first.key()), ("cpu", &key("a")));
    }

    #[test]
    fn past_its_bound_it_begins_anew() {
        let mut known = Known::new(&Rng::from_seed(7), 3);
        let first = known.meet("cpu", &key("a"));
        for host in ["b", "c", "d"] {
            known.meet("cpu", &key(host));
            assert!(known.count <= 3);
        }
        assert!(!Arc::ptr_eq(&first, &known.meet("cpu", &key("a"))));
    }

    #[test]
    fn a_number_is_forgotten_unless_it_was_told_anew() {
        let series = Series::new("cpu".into(), key("a"));
        assert_eq!(series.number(), None);
        let (old, new) = ((ShardId(3), SeriesNumber(0)), (ShardId(3), SeriesNumber(9)));
        series.learn(old.0, old.1);
        assert_eq!(series.number(), Some(old));
        series.learn(new.0, new.1);
        series.forget(old.0, old.1);
        assert_eq!(series.number(), Some(new));
        series.forget(new.0, new.1);
        assert_eq!(series.number(), None);
    }
}
