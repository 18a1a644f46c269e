//! Faults planted on purpose, one at a time, so that the judge can prove that it finds them.
//!
//! Without the feature `mutants`, which nothing that ships turns on, none is ever planted, and the question costs nothing.

macro_rules! mutants {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// A fault that somebody could have made.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutant { $($(#[$doc])+ $variant,)+ }

        impl Mutant {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How it is called.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

mutants! {
    /// The log acknowledges what it has not synced.
    SkipSync = "skip-sync",
    /// A new segment's name is not made durable.
    SkipDirectorySync = "skip-directory-sync",
    /// A leader acknowledges what no follower has.
    AckBeforeMajority = "ack-before-majority",
    /// A leader counts followers that it cannot reach as having what it sent.
    SubQuorum = "sub-quorum",
    /// A node that has lost its disk is taken back under its old id.
    ReuseNodeId = "reuse-node-id",
    /// The request table is not in the files.
    DropRequests = "drop-requests",
    /// A leader that may be deposed answers reads.
    StaleRead = "stale-read",
    /// A flush loses the last series.
    LoseFlushTail = "lose-flush-tail",
    /// A delete takes only what is in memory.
    ForgetDelete = "forget-delete",
    /// Entries that are applied in one run are applied backwards.
    ApplyOutOfOrder = "apply-out-of-order",
    /// The log gives up segments whose entries are in no file yet.
    PurgeTooEarly = "purge-too-early",
    /// Records of the log are believed without their checksum.
    TrustTornRecord = "trust-torn-record",
    /// The first row of a window is counted twice.
    CountTwice = "count-twice",
    /// A row that is older than the newest of its series is dropped.
    IgnoreLatePoint = "ignore-late-point",
    /// Half of a snapshot's blocks are taken over.
    InstallHalfSnapshot = "install-half-snapshot",
    /// A replica whose files are damaged stays in service.
    ServeDamaged = "serve-damaged",
    /// A repeated request is applied again.
    ApplyTwice = "apply-twice",
    /// A router plans by the map that it has, new enough or not.
    StaleMap = "stale-map",
}

impl Mutant {
    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mutant| mutant.name() == name)
    }

    /// Whether this fault is planted in this process.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub fn is_planted(self) -> bool {
        false
    }

    /// Whether this fault is planted in this process.
    #[cfg(feature = "mutants")]
    pub fn is_planted(self) -> bool {
        PLANTED.load(std::sync::atomic::Ordering::Relaxed) == self as usize + 1
    }

    /// Plants this fault, and no other, in this process.
    #[cfg(feature = "mutants")]
    pub fn plant(self) {
        PLANTED.store(self as usize + 1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The planted fault's place in [`Mutant::ALL`] plus one; 0 if there is none.
#[cfg(feature = "mutants")]
static PLANTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
