//! What became of each request that a shard may be asked again: replicated state, changed in `apply` alone. Pure.
//!
//! A session's outcomes are kept from the lowest seq that it says is pending. Sessions beyond the limits are evicted, the
//! longest unused first, and each raises the floor to its birth: an unknown session born at or below the floor may have been
//! here before and is refused, one born above it is new. Source: Ongaro's dissertation, 6.3, with births for clocks.
//!
//! The table is written whole into every manifest, so its size is bounded in bytes: no client can make it too large to flush.

use std::collections::BTreeMap;

use meridian_types::{RequestId, SessionId, Stamp, Timestamp, limits};

/// What a request came to, and a check that a repetition is the same request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome<R> {
    pub(crate) check: u32,
    pub(crate) reply: R,
}

/// What is known of a request before it is applied.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Known<R> {
    /// Never seen: apply it.
    New,
    /// Applied before: answer the same.
    Done(R),
    /// The id was used for another request.
    Reused,
    /// Seen or not, nobody knows any more: it is not applied.
    Expired,
}

/// How much room something takes in the table, in bytes: the same on every replica.
pub(crate) trait Weight {
    fn weight(&self) -> usize;
}

/// How much a table may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    pub(crate) sessions: usize,
    /// Weight of all outcomes.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Session<R> {
    pending_from: u64,
    outcomes: BTreeMap<u64, Outcome<R>>,
    used: Stamp,
}

/// One session, as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SessionParts<R> {
    pub(crate) id: SessionId,
    pub(crate) pending_from: u64,
    pub(crate) used: Stamp,
    /// By seq.
    pub(crate) outcomes: Vec<(u64, Outcome<R>)>,
}

/// The request table of one shard.
#[derive(Debug)]
pub(crate) struct Requests<R> {
    sessions: BTreeMap<SessionId, Session<R>>,
    by_use: BTreeMap<(Stamp, SessionId), ()>,
    floor: Option<Timestamp>,
    /// Weight of all outcomes.
    bytes: usize,
    bounds: Bounds,
}

impl<R: Clone + Weight> Requests<R> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { sessions: BTreeMap::new(), by_use: BTreeMap::new(), floor: None, bytes: 0, bounds }
    }

    /// The table as parts that [`Requests::restore`] takes: the floor, and the sessions in order of their ids.
    pub(crate) fn parts(&self) -> (Option<Timestamp>, impl Iterator<Item = SessionParts<R>>) {
        let parts = self.sessions.iter().map(|(id, session)| SessionParts {
            id: *id,
            pending_from: session.pending_from,
            used: session.used,
            outcomes: session.outcomes.iter().map(|(seq, outcome)| (*seq, outcome.clone())).collect(),
        });
        (self.floor, parts)
    }

    /// The table that was taken apart by [`Requests::parts`].
    pub(crate) fn restore(bounds: Bounds, floor: Option<Timestamp>, all: Vec<SessionParts<R>>) -> Self {
        let mut table = Self { floor, ..Self::new(bounds) };
        for SessionParts { id, pending_from, used, outcomes } in all {
            table.bytes += outcomes.iter().map(|(_, outcome)| outcome.reply.weight()).sum::<usize>();
            table.by_use.insert((used, id), ());
            table.sessions.insert(id, Session { pending_from, outcomes: outcomes.into_iter().collect(), used });
        }
        table
    }

    /// Looks a request up. `check` tells different requests apart that carry one id.
    pub(crate) fn find(&self, request: RequestId, check: u32) -> Known<R> {
        let Some(session) = self.sessions.get(&request.session) else {
            let evicted = self.floor.is_some_and(|floor| request.session.birth <= floor);
            return if evicted { Known::Expired } else { Known::New };
        };
        match session.outcomes.get(&request.seq) {
            Some(outcome) if outcome.check == check => Known::Done(outcome.reply.clone()),
            Some(_) => Known::Reused,
            None if request.seq < session.pending_from => Known::Expired,
            None => Known::New,
        }
    }

    /// Keeps what a new request came to.
    pub(crate) fn record(&mut self, request: RequestId, pending_from: u64, stamp: Stamp, outcome: Outcome<R>) {
        let id = request.session;
        if let Some(session) = self.sessions.get(&id) {
            self.by_use.remove(&(session.used, id));
        }
        let new = || Session { pending_from: 0, outcomes: BTreeMap::new(), used: stamp };
        let session = self.sessions.entry(id).or_insert_with(new);
        session.used = stamp;
        self.bytes += outcome.reply.weight();
        session.outcomes.insert(request.seq, outcome);
        // A request that arrives says itself that it is pending.
        let pending_from = session.pending_from.max(pending_from.min(request.seq));
        self.bytes -= session.forget_below(pending_from);
        while session.outcomes.len() > limits::SESSION_OUTCOMES_MAX {
            self.bytes -= session.forget_first();
        }
        self.by_use.insert((stamp, id), ());
        while self.sessions.len() > self.bounds.sessions || self.bytes > self.bounds.bytes && self.sessions.len() > 1 {
            self.evict_longest_unused();
        }
        let session = self.sessions.get_mut(&id).expect("it was used last, so it is there");
        while self.bytes > self.bounds.bytes && session.outcomes.len() > 1 {
            self.bytes -= session.forget_first();
        }
    }

    fn evict_longest_unused(&mut self) {
        let ((_, id), ()) = self.by_use.pop_first().expect("each session is listed by its use");
        if let Some(evicted) = self.sessions.remove(&id) {
            self.bytes -= evicted.outcomes.values().map(|outcome| outcome.reply.weight()).sum::<usize>();
        }
        self.floor = self.floor.max(Some(id.birth));
    }
}

impl<R: Weight> Session<R> {
    /// Forgets what became of requests below a seq; the weight that this frees.
    fn forget_below(&mut self, pending_from: u64) -> usize {
        self.pending_from = pending_from;
        let kept = self.outcomes.split_off(&pending_from);
        let forgotten = std::mem::replace(&mut self.outcomes, kept);
        forgotten.values().map(|outcome| outcome.reply.weight()).sum()
    }

    /// Forgets what became of the lowest seq; the weight that this frees.
    fn forget_first(&mut self) -> usize {
        let (seq, outcome) = self.outcomes.pop_first().expect("whoever forgets has looked");
        self.pending_from = seq + 1;
        outcome.reply.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weight for u32 {
        fn weight(&self) -> usize {
            10
        }
    }

    fn table(sessions: usize) -> Requests<u32> {
        Requests::new(Bounds { sessions, bytes: 1_000 })
    }

    fn request(birth: i64, seq: u64) -> RequestId {
        RequestId { session: SessionId { birth: Timestamp::new(birth).expect("in range"), nonce: 0 }, seq }
    }

    fn done(reply: u32) -> Outcome<u32> {
        Outcome { check: reply, reply }
    }

    #[test]
    fn a_repetition_is_answered_and_another_request_refused() {
        let mut table = table(10);
        assert_eq!(table.find(request(1, 5), 7), Known::New);
        table.record(request(1, 5), 0, Stamp(1), done(7));
        assert_eq!(table.find(request(1, 5), 7), Known::Done(7));
        assert_eq!(table.find(request(1, 5), 8), Known::Reused);
    }

    #[test]
    fn outcomes_below_the_lowest_pending_are_forgotten_and_never_applied_again() {
        let mut table = table(10);
        for seq in 0..10 {
            table.record(request(1, seq), seq.saturating_sub(2), Stamp(seq as i64), done(seq as u32));
        }
        assert_eq!(table.find(request(1, 3), 3), Known::Expired);
        assert_eq!(table.find(request(1, 8), 8), Known::Done(8));
    }

    #[test]
    fn an_evicted_session_is_not_taken_for_a_new_one() {
        let mut table = table(2);
        for birth in 1..=3 {
            table.record(request(birth, 0), 0, Stamp(birth), done(0));
        }
        assert_eq!(table.find(request(1, 0), 0), Known::Expired);
        assert_eq!(table.find(request(2, 0), 0), Known::Done(0));
        assert_eq!(table.find(request(4, 0), 0), Known::New);
    }

    /// Clients that never say that nothing is pending must not make the table too large for a manifest.
    #[test]
    fn outcomes_are_bounded_in_bytes() {
        let mut table = table(1_000);
        for birth in 1..=3 {
            (0..90).for_each(|seq| table.record(request(birth, seq), 0, Stamp(birth), done(0)));
            assert!(table.bytes <= 1_000, "{} bytes", table.bytes);
        }
        assert_eq!(table.find(request(1, 89), 0), Known::Expired, "the longest unused sessions give way");
        (0..200).for_each(|seq| table.record(request(9, seq), 0, Stamp(9), done(0)));
        assert_eq!((table.bytes, table.sessions.len()), (1_000, 1));
        assert_eq!(table.find(request(9, 99), 0), Known::Expired, "then the oldest outcomes of the only one");
        assert_eq!(table.find(request(9, 100), 0), Known::Done(0));
        let (floor, parts) = table.parts();
        assert_eq!(Requests::restore(table.bounds, floor, parts.collect()).bytes, table.bytes);
    }

    proptest::proptest! {
        /// Whatever is asked in whatever order, nothing is applied twice, and the weight is that of what is there.
        #[test]
        fn nothing_is_applied_twice(asked in proptest::collection::vec((1_i64..6, 0_u64..8, 0_u64..8), 0..200)) {
            let mut table = Requests::new(Bounds { sessions: 3, bytes: 90 });
            let mut applied = std::collections::BTreeSet::new();
            for (at, (birth, seq, pending_from)) in asked.into_iter().enumerate() {
                let id = request(birth, seq);
                if table.find(id, 0) == Known::New {
                    proptest::prop_assert!(applied.insert((birth, seq)), "{birth} {seq} twice");
                    table.record(id, pending_from, Stamp(at as i64), done(0));
                }
                let held: usize = table.sessions.values().map(|session| session.outcomes.len() * 10).sum();
                proptest::prop_assert_eq!(table.bytes, held);
                proptest::prop_assert!(held <= 90);
            }
        }
    }
}
