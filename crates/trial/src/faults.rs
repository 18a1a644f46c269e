//! What is done to the nodes, and when: drawn from a seed, each kind in turn. Pure.

use std::time::Duration;

use meridian_env::Rng;

/// Who is hit. Nodes are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Victim {
    /// This node.
    Node(usize),
    /// The node that leads the most groups at that time.
    Leader,
    /// All nodes at once.
    All,
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process dies, and is started again on its directory after a while.
    Kill(Victim, Duration),
    /// The process stands still for a while.
    Pause(Victim, Duration),
    /// The node is down for so long that its peers no longer have the log it lacks.
    Away(usize, Duration),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    KillNode,
    KillLeader,
    KillAll,
    PauseNode,
    PauseLeader,
    Away,
}

/// An endless list of faults, each with the time to wait before it.
#[derive(Debug)]
pub struct Faults {
    rng: Rng,
    nodes: u64,
    deck: Deck<Kind>,
}

impl Faults {
    /// Faults for `nodes` nodes, drawn from `rng`. With `away`, nodes are also down for long.
    ///
    /// The first round begins with the busiest leader and all nodes, so that no run is too short for them; then every kind
    /// comes once a round, in a drawn order.
    pub fn new(rng: Rng, nodes: usize, away: bool) -> Self {
        let mut kinds = vec![Kind::KillNode, Kind::PauseNode, Kind::PauseLeader];
        kinds.extend(away.then_some(Kind::Away));
        let deck = Deck::new(&rng, kinds, vec![Kind::KillLeader, Kind::KillAll]);
        Self { rng, nodes: nodes as u64, deck }
    }

    fn ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.rng.below(to - from))
    }
}

impl Iterator for Faults {
    type Item = (Duration, Fault);

    fn next(&mut self) -> Option<Self::Item> {
        let wait = self.ms(500, 2_500);
        let node = self.rng.below(self.nodes) as usize;
        let fault = match self.deck.draw(&self.rng) {
            Kind::KillNode => Fault::Kill(Victim::Node(node), self.ms(100, 1_500)),
            Kind::KillLeader => Fault::Kill(Victim::Leader, self.ms(100, 1_500)),
            Kind::KillAll => Fault::Kill(Victim::All, self.ms(100, 1_500)),
            Kind::PauseNode => Fault::Pause(Victim::Node(node), self.ms(200, 3_000)),
            Kind::PauseLeader => Fault::Pause(Victim::Leader, self.ms(200, 3_000)),
            Kind::Away => Fault::Away(node, self.ms(6_000, 9_000)),
        };
        Some((wait, fault))
    }
}

/// Cards that are drawn each once a round, in a drawn order.
#[derive(Debug)]
pub(crate) struct Deck<T> {
    cards: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Deck<T> {
    /// In the first round those of `first` come before `others`. There must be a card.
    pub(crate) fn new(rng: &Rng, mut others: Vec<T>, mut first: Vec<T>) -> Self {
        shuffle(rng, &mut others);
        shuffle(rng, &mut first);
        others.append(&mut first);
        Self { left: others.clone(), cards: others }
    }

    pub(crate) fn draw(&mut self, rng: &Rng) -> T {
        if self.left.is_empty() {
            shuffle(rng, &mut self.cards);
            self.left.clone_from(&self.cards);
        }
        self.left.pop().expect("it was filled")
    }
}

fn shuffle<T>(rng: &Rng, cards: &mut [T]) {
    for last in (1..cards.len()).rev() {
        cards.swap(last, rng.below(last as u64 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_are_the_leader_and_all_and_every_round_has_each_kind() {
        for seed in 0..20 {
            let faults: Vec<_> = Faults::new(Rng::from_seed(seed), 3, true).take(12).collect();
            let first: Vec<_> = faults[..2].iter().map(|(_, fault)| *fault).collect();
            for victim in [Victim::Leader, Victim::All] {
                assert!(first.iter().any(|fault| matches!(fault, Fault::Kill(hit, _) if *hit == victim)), "{first:?}");
            }
            for round in faults.chunks(6) {
                assert_eq!(round.iter().filter(|(_, fault)| matches!(fault, Fault::Away(..))).count(), 1);
                assert_eq!(round.iter().filter(|(_, fault)| matches!(fault, Fault::Pause(..))).count(), 2);
            }
            let again: Vec<_> = Faults::new(Rng::from_seed(seed), 3, true).take(12).collect();
            assert_eq!(faults, again);
        }
    }
}
