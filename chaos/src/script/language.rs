//! The statements, as a table: one line says what a statement is, how it is read, how it is written and what the help
//! below a mistake shows, so that none of these can differ from another.
//!
//! Words stand between quotation marks; what stands behind them has a name and a type. Of the lines of one type the
//! first that fits is taken: where one begins like another, the longer one is first. What follows `=>` must hold too.

use std::fmt;

use super::pieces::*;
use super::words::Words;

/// Makes a type of each table.
macro_rules! language {
    ($($(#[$type_doc:meta])* $type:ident is $name:literal {
        $($(#[$doc:meta])* $variant:ident:
            $($words:literal $($field:ident: $piece:ty)?),+ $(=> $must:expr, $or:literal)?;)+
    })+) => { $(
        $(#[$type_doc])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub(crate) enum $type { $($(#[$doc])* $variant { $($($field: $piece,)?)+ },)+ }

        impl Piece for $type {
            const NAME: &str = $name;

            fn forms() -> Vec<String> {
                vec![$(joined(&[$($words.to_owned(), $(<$piece>::NAME.to_owned(),)?)+]),)+]
            }

            fn read(words: &mut Words<'_>) -> Option<Self> {
                $(if let Some(read) = words.attempt(|words| {
                    $(words.phrase($words)?; $(let $field = <$piece>::read(words)?;)?)+
                    $(if $must { Some(()) } else { words.refuse($or) }?;)?
                    Some(Self::$variant { $($($field,)?)+ })
                }) {
                    return Some(read);
                })+
                None
            }

            fn show(&self) -> String {
                match self {
                    $(Self::$variant { $($($field,)?)+ } => joined(&[$($words.to_owned(), $($field.show(),)?)+]),)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.show())
            }
        }
    )+ };
}

language! {
    /// What a statement does. The next one begins when it is done.
    Action is "STATEMENT" {
        /// Rows that are older go. The database is made with the first change, which must stand below.
        KeepRows: "keep rows for" retention: Span;
        /// Sends a change and waits for its outcome, or goes on and leaves that to `Await`.
        Change: "" change: Change, "via" via: Numbered<'r'>, "" then: Then;
        Await: "await" name: Name, "->" outcomes: OneOf<Outcome>, "" within: Within;
        /// Sends a change again under the request id that it had.
        Repeat: "repeat" which: Earlier, "via" via: Numbered<'r'>, "->" outcomes: OneOf<Outcome>, "" within: Within;
        /// Writes one row after the other, each a request of its own, with the values 1, 2, 3 and so on, until `Stop`.
        KeepWriting: "keep writing" series: Series, "from" from: DataTime, "via" via: Numbered<'r'>, "as" name: Name;
        /// Ends what keeps writing, waits for what is under way, and demands so many acknowledged rows.
        Stop: "stop" name: Name, "-> at least" acked: Count, "acked";
        /// Reads all rows and judges them by what clients were told: all that is acknowledged, nothing that is refused.
        ReadEverything: "read everything via" via: Numbered<'r'>, "-> as told" within: Within;
        /// Asks and demands one of the answers. With a time, it asks again while that fails: the first answer counts.
        Read: "read" question: Question, "via" via: Numbered<'r'>, "->" answers: OneOf<Answer>, "" within: Within;
        /// Takes a node's power within a millisecond of the end of its next fsync. The statement itself is done at once.
        CrashAfterFsync: "crash" node: Node, "after its next fsync";
        /// Takes the power: what was not synced is lost, kept or torn, as the seed draws.
        Crash: "crash" of: Processes;
        /// Starts those that are down or halted, on what their disks have.
        Restart: "restart" of: Processes;
        /// Stops processes where they are: they neither run nor see time pass, and what is sent to them arrives later.
        Pause: "pause" of: Processes;
        Resume: "resume" of: Processes;
        /// Nothing passes, in either direction.
        Cut: "cut" here: Processes, "from" there: Far;
        /// Nothing passes from here to there; from there to here all does.
        CutOneWay: "cut" here: Processes, "to" there: Far;
        /// Nothing passes, and nothing is lost: it arrives after `Heal`.
        Hold: "hold" here: Processes, "from" there: Far;
        /// Requests reach a router, and what it answers reaches no client.
        LoseAnswers: "lose the answers of" router: Numbered<'r'>;
        /// Ends all that the four above did.
        Heal: "heal";
        /// No byte fits any more.
        FillDisk: "fill the disk of" of: Nodes;
        FreeDisk: "free the disk of" of: Nodes;
        /// What is synced from here on is gone after a `Crash`.
        Lie: "lie about the fsyncs of" of: Nodes;
        /// All is gone. The node must be down.
        WipeDisk: "wipe the disk of" of: Nodes;
        /// A bit in a file of rows is wrong.
        DamageBlock: "damage a block of" of: Nodes;
        /// A bit of the log is wrong, in what a later sync vouches for. The node must be down.
        DamageLog: "damage the log of" of: Nodes;
        /// One fsync fails, and what it should have made durable is not.
        FailFsync: "fail the next fsync of" of: Nodes;
        /// Sets wall clocks, and them alone, against the true time.
        SetClockAhead: "set the clock of" of: Processes, "ahead by" by: Span;
        SetClockBehind: "set the clock of" of: Processes, "behind by" by: Span;
        SetClockRight: "set the clock of" of: Processes, "right";
        /// Asks a node to lead. Whether it comes to, a condition says.
        Hand: "hand the lead of" shard: Numbered<'s'>, "to" to: Node;
        /// Waits until nodes have written what they have in memory into files, as they do by themselves.
        Flush: "flush" of: Nodes;
        /// Waits as long as a healed cluster may take to settle.
        WaitUntil: "wait until" condition: Condition;
        Wait: "wait" span: Span;
        /// Demands something at once, or within a time.
        Expect: "expect" condition: Condition, "" within: Within;
    }

    /// What alters rows: one request.
    Change is "CHANGE" {
        /// Rows a second apart with the values 1, 2, 3 and so on: in one series, or in several where no tags are named.
        WriteRows: "write" rows: Rows, "rows of" series: Series, "from" from: DataTime;
        /// One row with the integer field `value`.
        Write: "write" series: Series, "" value: Value, "at" at: DataTime;
        /// All rows in the range of all series that have these tags.
        Delete: "delete" series: Series, "" range: Range;
    }

    /// Half-open, never empty.
    Range is "from TIME to TIME" {
        Between: "from" from: DataTime, "to" to: DataTime => from < to, "a later time";
    }

    /// A measurement and tags.
    Series is "SERIES" {
        Of: "" measurement: Measurement, "" tags: List<Tag, 0, false>;
    }

    Then is "(-> OUTCOME [or OUTCOME] [within SPAN] | as NAME)" {
        /// With a time, the change is sent again under its request id until it has one of the outcomes.
        Expect: "->" outcomes: OneOf<Outcome>, "" within: Within;
        /// It is sent once, and nobody waits.
        Later: "as" name: Name;
    }

    Earlier is "(NAME | the last write)" {
        LastWrite: "the last write";
        Named: "" name: Name;
    }

    /// What a client is told. A timeout is unknown, never refused.
    Outcome is "OUTCOME [or OUTCOME]" {
        Acked: "acked";
        /// Certainly not applied.
        Refused: "refused" why: Why;
        Unknown: "unknown";
    }

    /// A code or a kind of `docs/errors.md`.
    Why is "[CODE | KIND]" {
        Fix: "Fix";
        NotFound: "NotFound";
        Exists: "Exists";
        NotAllowed: "NotAllowed";
        Retry: "Retry";
        Overloaded: "Overloaded";
        Code: "" code: RefusalCode;
        Whatever: "";
    }

    Question is "(SERIES at TIME | (count | sum) of SERIES [from TIME to TIME])" {
        /// How many rows all series with these tags have.
        Count: "count of" series: Series, "" when: When;
        Sum: "sum of" series: Series, "" when: When;
        Value: "" series: Series, "at" at: DataTime;
    }

    When is "[from TIME to TIME]" {
        Within: "" range: Range;
        Always: "";
    }

    Answer is "ANSWER [or ANSWER]" {
        None: "none";
        /// The question fails, by a refusal or a timeout.
        Error: "error";
        Number: "" number: Number;
    }

    Within is "[within SPAN]" {
        Span: "within" span: Span;
        AtOnce: "";
    }

    /// A storage node.
    Node is "NODE" {
        Number: "" number: Numbered<'n'>;
        /// The one that leads; the statement begins once there is one.
        Leader: "the leader of" place: Place;
        /// Of the running nodes that hold the place and do not lead it, the one with the lowest number.
        Follower: "a follower of" place: Place;
        /// The node that the nearest line above calls leader or follower.
        LastCalled: "that node";
    }

    Nodes is "NODES" {
        EveryNode: "every node";
        These: "" these: List<Node, 1, false>;
    }

    Process is "PROCESS" {
        Node: "" node: Node;
        Router: "" router: Numbered<'r'>;
    }

    Processes is "PROCESSES" {
        EveryNode: "every node";
        These: "" these: List<Process, 1, false>;
    }

    /// The other side of a fault.
    Far is "(PROCESSES | the rest)" {
        /// All nodes and routers that the line does not name.
        TheRest: "the rest";
        These: "" these: Processes;
    }

    /// What has a leader.
    Place is "PLACE" {
        Shard: "" shard: Numbered<'s'>;
        Catalogue: "the catalogue";
        /// The shard that owns the series.
        Owner: "" series: Series;
    }

    /// What can be seen from outside.
    Condition is "CONDITION" {
        /// The replicas of each shard hash alike at one entry, and none is missing.
        ReplicasAlike: "all replicas are alike";
        /// A metric without labels, as the process serves it.
        Metric: "metric" name: Name, "of" process: Process, "=" number: Count;
        Leads: "" node: Node, "leads" place: Place;
        Is: "" process: Process, "is" state: State;
        HasLeader: "" place: Place, "has a leader";
    }

    State is "(running | down | halted)" {
        Running: "running";
        /// The story crashed it.
        Down: "down";
        /// It ended by itself, because of its own disk.
        Halted: "halted";
    }
}
