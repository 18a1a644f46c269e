//! What a run was, for people and for the ledger: what was done to it, what clients were told, who led.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use meridian_env::sim::START_NANOS;
use meridian_trial::{Answer, Broken, Told};
use meridian_types::{NodeId, ShardId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::report::{Breach, Fault, Reign, Run, Second, Shard, Target};
use crate::workload::{Clients, Sighting};

/// A leader that was not seen for so long reigns no more.
const UNSEEN_MAX: Duration = Duration::from_millis(700);

/// See the module.
pub(crate) struct Record {
    page: Run,
    /// How often each kind of fault came, however much it hit.
    hits: BTreeMap<String, u64>,
    acked_rows: usize,
    kind: &'static str,
}

/// One run in the ledger.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) seed: u64,
    /// Simulated seconds of writes.
    pub(crate) seconds: u64,
    /// `held`, or what kind of promise was broken: `safety`, `liveness`, `crash`; `harness` if the run itself failed.
    pub(crate) outcome: String,
    /// What was broken, or nothing.
    pub(crate) why: String,
    pub(crate) simulated_seconds: f64,
    pub(crate) cpu_seconds: f64,
    /// Requests that were acknowledged.
    pub(crate) acked_batches: u64,
    pub(crate) acked_rows: u64,
    /// How often each kind of fault came.
    pub(crate) faults: BTreeMap<String, u64>,
}

impl Record {
    /// The record of a run that begins; `again` is the command that repeats it.
    pub(crate) fn new(seed: u64, writes_end: Duration, shape: String, again: &str) -> Self {
        let writes = Duration::ZERO..writes_end;
        let page = Run { seed, verdict: shape, command: again.to_owned(), writes, ..Run::default() };
        Self { page, hits: BTreeMap::new(), acked_rows: 0, kind: "held" }
    }

    /// One fault, with all that it hits and for how long.
    pub(crate) fn hit(&mut self, kind: &str, targets: Vec<Target>, lasts: Range<Duration>, detail: &str) {
        *self.hits.entry(kind.to_owned()).or_default() += 1;
        let Range { start, end } = lasts;
        let fault = |target| Fault { kind: kind.into(), target, start, end, detail: detail.into() };
        self.page.faults.extend(targets.into_iter().map(fault));
    }

    /// The run has ended.
    pub(crate) fn end(&mut self, elapsed: Duration, cpu: Duration, clients: &Clients, broken: Option<&Broken>) {
        let answers = clients.load.answers();
        let page = &mut self.page;
        (page.length, page.cpu) = (elapsed, cpu);
        page.seconds = seconds(&answers);
        page.shards = shards(&answers, &clients.sightings.lock());
        self.acked_rows = clients.load.acked();
        self.kind = broken.map_or("held", |broken| match broken {
            Broken::Safety(_) => "safety",
            Broken::Liveness(_) => "liveness",
            Broken::Crash(_) => "crash",
            Broken::Harness(_) => "harness",
        });
        page.breaches = broken.map(|broken| Breach { at: elapsed, text: broken.to_string() }).into_iter().collect();
        let told = |told| answers.iter().filter(|answer| answer.told == told).count() as u64;
        page.figures = vec![
            ("acknowledged requests".into(), told(Told::Acked)),
            ("refused".into(), told(Told::Refused)),
            ("unknown".into(), told(Told::Unknown)),
            ("acknowledged rows".into(), self.acked_rows as u64),
        ];
        let word = if broken.is_none() { "every promise held" } else { "a promise was broken" };
        page.verdict = format!("{word}: {}", page.verdict);
    }

    /// What was seen, in words.
    pub(crate) fn summary(&self, load: &str, values: u64) -> String {
        let kinds: Vec<_> = self.hits.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let (length, cpu) = (self.page.length.as_secs_f64(), self.page.cpu.as_secs_f64());
        let speed = length / cpu.max(1e-9);
        let world = &self.page.verdict;
        let kinds = kinds.join(", ");
        format!("{world}; {load}; {kinds}; {values} values read back; {length:.1} simulated s, {speed:.1} a CPU s")
    }

    /// The run as the ledger keeps it.
    pub(crate) fn entry(&self) -> Entry {
        let page = &self.page;
        Entry {
            seed: page.seed,
            seconds: page.writes.end.as_secs(),
            outcome: self.kind.into(),
            why: page.breaches.first().map_or_else(String::new, |breach| breach.text.clone()),
            simulated_seconds: page.length.as_secs_f64(),
            cpu_seconds: page.cpu.as_secs_f64(),
            acked_batches: page.seconds.iter().map(|second| second.acked).sum(),
            acked_rows: self.acked_rows as u64,
            faults: self.hits.clone(),
        }
    }

    /// The run as a page.
    pub(crate) fn page(&self) -> String {
        crate::report::render(&self.page)
    }
}

/// Since the start of the simulation, by a clock that is right.
fn since_start(at: Timestamp) -> Duration {
    Duration::from_nanos(u64::try_from(at.nanos() - START_NANOS).unwrap_or(0))
}

fn seconds(answers: &[Answer]) -> Vec<Second> {
    let mut seconds: Vec<Second> = Vec::new();
    for Answer { at, told, .. } in answers {
        let second = since_start(*at).as_secs() as usize;
        if seconds.len() <= second {
            seconds.resize(second + 1, Second::default());
        }
        match told {
            Told::Acked => seconds[second].acked += 1,
            Told::Refused => seconds[second].refused += 1,
            Told::Unknown => seconds[second].unknown += 1,
        }
    }
    seconds
}

fn shards(answers: &[Answer], sightings: &[Sighting]) -> Vec<Shard> {
    let mut shards: BTreeMap<u32, Shard> = BTreeMap::new();
    for sighting in sightings {
        let shard = shards.entry(sighting.shard).or_default();
        let node = NodeId(sighting.node).to_string();
        let same = shard.reigns.iter_mut().rev().find(|reign| reign.node == node && reign.term == sighting.term);
        match same.filter(|reign| sighting.at - reign.end <= UNSEEN_MAX) {
            Some(reign) => reign.end = sighting.at,
            None => shard.reigns.push(Reign { node, term: sighting.term, start: sighting.at, end: sighting.at }),
        }
    }
    for Answer { at, shards: told, .. } in answers.iter().filter(|answer| answer.told == Told::Acked) {
        told.iter().for_each(|shard| shards.entry(*shard).or_default().acks.push(since_start(*at)));
    }
    shards.into_iter().map(|(id, shard)| Shard { name: ShardId(id).to_string(), ..shard }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(millis: i64, told: Told, shards: &[u32]) -> Answer {
        let at = Timestamp::new(START_NANOS + millis * 1_000_000).expect("in range");
        Answer { at, told, shards: shards.to_vec() }
    }

    #[test]
    fn answers_are_counted_by_second_and_by_shard() {
        let answers =
            [answer(10, Told::Acked, &[1, 2]), answer(2_900, Told::Unknown, &[]), answer(2_950, Told::Acked, &[2])];
        let counts: Vec<_> = seconds(&answers).iter().map(|s| (s.acked, s.refused, s.unknown)).collect();
        assert_eq!(counts, [(1, 0, 0), (0, 0, 0), (1, 0, 1)]);
        let sighting = |at, node, term| Sighting { at: Duration::from_millis(at), shard: 2, node, term };
        let shards =
            shards(&answers, &[sighting(0, 1, 3), sighting(300, 1, 3), sighting(2_000, 1, 3), sighting(2_300, 3, 4)]);
        let found: Vec<_> = shards.iter().map(|shard| (&*shard.name, shard.reigns.len(), shard.acks.len())).collect();
        assert_eq!(found, [("s1", 0, 1), ("s2", 3, 2)]);
    }
}
