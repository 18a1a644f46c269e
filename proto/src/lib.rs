//! The wire: generated messages and services, conversions to the words of the domain, and the one table that maps a
//! failure's kind to gRPC, HTTP and exit codes. Knows no openraft, opens no connection.

mod answer;
mod convert;
mod status;

/// Generated from `meridian/v1/*.proto`, whose comments document them.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::clone_on_ref_ptr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("meridian.v1");
}

pub use answer::ResultRow;
pub use convert::{ConvertError, request_id};
pub use status::{exit_code, failure_of, http_status, leader_of, status_naming_leader, status_of};

/// All descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Version of the Peer and Shards services. Another one is refused.
pub const PROTOCOL_VERSION: u32 = 4;
