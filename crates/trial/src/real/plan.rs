//! What is done to real processes, and when: drawn from a seed, each kind in turn. Pure.

use std::time::Duration;

use meridian_env::Rng;

use crate::faults::{Deck, Victim};

/// A kind of fault that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// SIGKILL, and a start on the same directory.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Pause,
    /// Packets that do not arrive: from some or all, in one direction or both, or by chance.
    Partition,
    /// Packets that arrive late.
    Delay,
    /// What was not synced is gone, on one node or on all at once.
    PowerCut,
    /// A disk without space.
    FullDisk,
    /// A disk that takes writes and fails to sync them.
    FailingSync,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::Kill, Self::Pause, Self::Partition, Self::Delay, Self::PowerCut, Self::FullDisk, Self::FailingSync];

    /// How it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Partition => "partition",
            Self::Delay => "delay",
            Self::PowerCut => "powercut",
            Self::FullDisk => "enospc",
            Self::FailingSync => "fsync-error",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it takes namespaces and file systems of the trial's own, which need privileges.
    pub fn needs_privileges(self) -> bool {
        !matches!(self, Self::Kill | Self::Pause)
    }
}

/// Whose packets do not arrive at whom. Who is cut is a node; the others are its peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cut {
    /// None between it and its peers; routers reach all.
    Apart,
    /// None between it and anybody.
    Alone,
    /// None from its peers to it.
    Deaf,
    /// None from it to its peers.
    Mute,
    /// None between it and the next node; both reach the third.
    Bridge,
    /// One in five of those that are sent to it.
    Lossy,
}

/// What is done to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Kill(Victim),
    Pause(Victim),
    Cut(Cut, Victim),
    /// Whatever it sends or gets takes so many milliseconds longer.
    Delay(u64, Victim),
    PowerCut(Victim),
    FillDisk(Victim),
    FailSyncs(Victim),
}

impl Deed {
    pub(crate) fn victim(self) -> Victim {
        match self {
            Self::Kill(who)
            | Self::Pause(who)
            | Self::Cut(_, who)
            | Self::Delay(_, who)
            | Self::PowerCut(who)
            | Self::FillDisk(who)
            | Self::FailSyncs(who) => who,
        }
    }

    /// What it is called where faults are counted.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Kill(Victim::All) => "kill of all".to_owned(),
            Self::PowerCut(Victim::All) => "power cut of all".to_owned(),
            Self::Kill(_) => "kill".to_owned(),
            Self::Pause(_) => "pause".to_owned(),
            Self::Cut(cut, _) => format!("{cut:?} network").to_lowercase(),
            Self::Delay(ms, _) => format!("link {ms} ms late"),
            Self::PowerCut(_) => "power cut".to_owned(),
            Self::FillDisk(_) => "full disk".to_owned(),
            Self::FailSyncs(_) => "failing sync".to_owned(),
        }
    }
}

/// One deed, the time to wait before it, and how long it lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) wait: Duration,
    pub(crate) deed: Deed,
    pub(crate) lasts: Duration,
}

/// Who is drawn to be hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hit {
    Node,
    Leader,
    All,
}

type Card = (fn(Victim) -> Deed, Hit);

/// An endless list of steps.
#[derive(Debug)]
pub(crate) struct Plan {
    rng: Rng,
    nodes: u64,
    deck: Deck<Card>,
}

impl Plan {
    /// Steps of these kinds for `nodes` nodes. What hits leaders and all comes first, so that no run is too short for it; then
    /// all come once a round, in a drawn order.
    pub(crate) fn new(rng: Rng, nodes: usize, kinds: &[Kind]) -> Self {
        let (others, first) = kinds.iter().flat_map(|kind| cards(*kind)).partition(|(_, hit)| *hit == Hit::Node);
        Self { deck: Deck::new(&rng, others, first), nodes: nodes as u64, rng }
    }

    fn ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.rng.below(to - from))
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        let wait = self.ms(500, 2_500);
        let node = Victim::Node(self.rng.below(self.nodes) as usize);
        let (deed, hit) = self.deck.draw(&self.rng);
        let deed = deed(match hit {
            Hit::Node => node,
            Hit::Leader => Victim::Leader,
            Hit::All => Victim::All,
        });
        let lasts = match deed {
            Deed::Kill(_) | Deed::PowerCut(_) => self.ms(100, 1_500),
            Deed::Pause(_) => self.ms(200, 3_000),
            Deed::Cut(..) | Deed::Delay(..) => self.ms(500, 4_000),
            // Until what waits to be flushed fills the log or the memory.
            Deed::FillDisk(_) => self.ms(5_000, 25_000),
            Deed::FailSyncs(_) => self.ms(3_000, 5_000),
        };
        Some(Step { wait, deed, lasts })
    }
}

fn cards(kind: Kind) -> Vec<Card> {
    use Hit::{All, Leader, Node};
    match kind {
        Kind::Kill => vec![(Deed::Kill, Node), (Deed::Kill, Leader), (Deed::Kill, All)],
        Kind::Pause => vec![(Deed::Pause, Node), (Deed::Pause, Leader)],
        Kind::Partition => vec![
            (|who| Deed::Cut(Cut::Apart, who), Leader),
            (|who| Deed::Cut(Cut::Alone, who), Leader),
            (|who| Deed::Cut(Cut::Deaf, who), Leader),
            (|who| Deed::Cut(Cut::Mute, who), Leader),
            (|who| Deed::Cut(Cut::Apart, who), Node),
            (|who| Deed::Cut(Cut::Bridge, who), Node),
            (|who| Deed::Cut(Cut::Lossy, who), Node),
        ],
        // As far as another continent, a satellite, and a network that is ill: longer than elections are waited for.
        Kind::Delay => vec![
            (|who| Deed::Delay(50, who), Leader),
            (|who| Deed::Delay(250, who), Leader),
            (|who| Deed::Delay(1_000, who), Leader),
            (|who| Deed::Delay(250, who), Node),
        ],
        Kind::PowerCut => vec![(Deed::PowerCut, Node), (Deed::PowerCut, Leader), (Deed::PowerCut, All)],
        Kind::FullDisk => vec![(Deed::FillDisk, Node), (Deed::FillDisk, Leader), (Deed::FillDisk, All)],
        Kind::FailingSync => vec![(Deed::FailSyncs, Node), (Deed::FailSyncs, Leader)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_hits_leaders_and_all_and_every_round_has_each_card() {
        for seed in 0..20 {
            let plan = |kinds: &[Kind]| Plan::new(Rng::from_seed(seed), 3, kinds);
            let steps: Vec<_> = plan(&[Kind::Kill, Kind::Pause]).take(10).collect();
            for round in steps.chunks(5) {
                assert_eq!(round.iter().filter(|step| matches!(step.deed, Deed::Pause(_))).count(), 2);
                assert!(round.iter().any(|step| step.deed == Deed::Kill(Victim::All)), "{round:?}");
            }
            assert!(steps[..3].iter().all(|step| !matches!(step.deed, Deed::Kill(Victim::Node(_)))), "{steps:?}");
            assert_eq!(steps, plan(&[Kind::Kill, Kind::Pause]).take(10).collect::<Vec<_>>());
            let all = Kind::ALL.iter().map(|kind| cards(*kind).len()).sum();
            let round: Vec<_> = plan(&Kind::ALL).take(all).collect();
            for cut in [Cut::Apart, Cut::Alone, Cut::Deaf, Cut::Mute, Cut::Bridge, Cut::Lossy] {
                assert!(round.iter().any(|step| matches!(step.deed, Deed::Cut(drawn, _) if drawn == cut)), "{cut:?}");
            }
        }
    }

    #[test]
    fn kinds_are_known_by_their_names() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::named(kind.name()) == Some(kind)));
        assert_eq!(Kind::named("flood"), None);
    }
}
