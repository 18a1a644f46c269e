//! Every bound in one table, with the relations between them checked at compile time. A refusal names the bound, the value
//! seen and the remedy.

/// Body of one HTTP request as it arrives, compressed or not.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;
/// Body of one HTTP request after decompression.
pub const REQUEST_DECODED_BYTES_MAX: usize = 256 << 20;
/// Decompressed over compressed size.
pub const COMPRESSION_RATIO_MAX: usize = 100;
/// Points (field values) of one request.
pub const REQUEST_POINTS_MAX: usize = 1_000_000;
/// One line of line protocol.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Tags of one series.
pub const TAGS_MAX: usize = 64;
/// One tag value.
pub const TAG_VALUE_BYTES_MAX: usize = 4 << 10;
/// One series key in canonical bytes.
pub const SERIES_KEY_BYTES_MAX: usize = 64 << 10;
/// One measurement, tag or field name.
pub const NAME_BYTES_MAX: usize = 65_535;
/// Fields of one measurement.
pub const FIELDS_MAX: usize = 1_024;
/// One string value.
pub const STRING_VALUE_BYTES_MAX: usize = 64 << 10;
/// One frame as a client sends it.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// One frame as a router proposes it: larger ones are cut by rows. Bounds the size of a log entry.
pub const PROPOSAL_BYTES_MAX: usize = 1 << 20;
/// One log record.
pub const RECORD_BYTES_MAX: usize = 8 << 20;
/// One gRPC message between our processes.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Entries of one append request, in bytes; one entry always goes.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// Files of one snapshot.
pub const SNAPSHOT_FILES_MAX: usize = 65_536;
/// The name of one of them.
pub const SNAPSHOT_NAME_BYTES_MAX: usize = 200;
/// All of them together.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 << 40;
/// One part of one of them on its way to another node.
pub const SNAPSHOT_PART_BYTES_MAX: usize = 1 << 20;
/// Lines or rows that a refusal names one by one; the rest is counted.
pub const REJECTIONS_NAMED_MAX: usize = 100;
/// The outcome of a request that the request table keeps in full.
pub const OUTCOME_BYTES_MAX: usize = 1 << 10;
/// Sessions that a shard remembers.
pub const SESSIONS_MAX: usize = 10_000;
/// Outcomes that a shard remembers of one session.
pub const SESSION_OUTCOMES_MAX: usize = 4_096;
/// Bytes of all outcomes that a shard remembers: they stand in every manifest.
pub const SHARD_OUTCOMES_BYTES_MAX: usize = 64 << 20;
/// How far a session's birth may be ahead of the leader's stamp.
pub const SESSION_AHEAD_NANOS_MAX: i64 = 60 * 1_000_000_000;
/// Databases of one cluster: the catalogue is small, and every router holds all of it.
pub const DATABASES_MAX: usize = 1_000;
/// Bytes of the tag names that decide a database's shards.
pub const SHARD_BY_BYTES_MAX: usize = 4 << 10;
/// Bytes of proposals that a node holds between socket and fsync.
pub const NODE_PROPOSAL_BYTES_MAX: usize = 256 << 20;
/// Nodes of one cluster: each holds the catalogue.
pub const NODES_MAX: u32 = 256;
/// Shards of one cluster.
pub const SHARDS_MAX: u32 = 1_024;
/// Fields of one write request that its database does not know yet.
pub const UNSEEN_FIELDS_MAX: usize = 20_000;
/// Bytes of their names, the measurement's counted with each, as the catalogue gets them.
pub const UNSEEN_NAME_BYTES_MAX: usize = 4 << 20;
/// Cells that one shard holds for one raw query: rows times fields, and one more for each 16 bytes of text.
pub const QUERY_RAW_CELLS_MAX: usize = 20_000_000;
/// Windows of one aggregate query and group: a bound on what a query may ask a shard to keep.
pub const QUERY_GROUPS_MAX: usize = 1_000_000;
/// How far ahead of the router's clock a point may be when its database does not say.
pub const FUTURE_DEFAULT_NANOS: i64 = 24 * 3_600 * 1_000_000_000;

const _: () = assert!(LINE_BYTES_MAX <= REQUEST_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES_MAX <= REQUEST_DECODED_BYTES_MAX);
const _: () =
    assert!(SERIES_KEY_BYTES_MAX + STRING_VALUE_BYTES_MAX <= PROPOSAL_BYTES_MAX, "one row always fits a proposal");
const _: () = assert!(PROPOSAL_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(2 * FRAME_BYTES_MAX <= RECORD_BYTES_MAX, "a frame and its headers fit one record");
const _: () =
    assert!(RECORD_BYTES_MAX + APPEND_BYTES_MAX < MESSAGE_BYTES_MAX, "an append of one large entry fits a message");
const _: () =
    assert!(REQUEST_DECODED_BYTES_MAX <= NODE_PROPOSAL_BYTES_MAX, "one request alone is never over a node's budget");
const _: () = assert!(
    SNAPSHOT_FILES_MAX * (SNAPSHOT_NAME_BYTES_MAX + 48) < MESSAGE_BYTES_MAX,
    "the offer of a snapshot, with a name, a size and a hash for each file, fits a message"
);
const _: () = assert!(SNAPSHOT_PART_BYTES_MAX < MESSAGE_BYTES_MAX);
