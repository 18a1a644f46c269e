//! What a failure is on each protocol: the only place that turns a `Kind` into gRPC, HTTP and exit codes, and a gRPC status
//! back into a `Failure`.

use meridian_types::{Code, Failure, Kind, NodeId};
use prost::Message;
use tonic::metadata::MetadataValue;

use crate::v1;

/// Metadata key under which a status carries the whole failure.
const FAILURE_KEY: &str = "meridian-error-bin";

/// Bytes of a failure's text that a status carries.
const TEXT_BYTES_MAX: usize = 1_024;

/// The gRPC status of a failure; it carries the failure itself, and the retry hint as `retry-after-ms`.
pub fn status_of(failure: &Failure) -> tonic::Status {
    status_naming_leader(failure, None)
}

/// The same, naming the node that leads for a caller that should ask there.
pub fn status_naming_leader(failure: &Failure, leader: Option<NodeId>) -> tonic::Status {
    // A status travels in headers, whose size is limited: a longer text would break the stream instead of ending it.
    let text = &failure.message[..failure.message.floor_char_boundary(TEXT_BYTES_MAX)];
    let mut status = tonic::Status::new(grpc_code(failure.kind()), format!("{}: {text}", failure.code));
    let mut error = v1::Error::from(Failure { message: text.to_owned(), ..failure.clone() });
    error.leader = leader.map(|node| node.0);
    let bytes = error.encode_to_vec();
    status.metadata_mut().insert_bin(FAILURE_KEY, MetadataValue::from_bytes(&bytes));
    if let Some(ms) = failure.retry_after_ms {
        status.metadata_mut().insert("retry-after-ms", ms.into());
    }
    status
}

/// The failure that a status stands for. One that does not come from Meridian is judged by its gRPC code, and by whether
/// the request may have been applied: `sent` says that it may have left this process.
pub fn failure_of(status: &tonic::Status, sent: bool) -> Failure {
    if let Some(error) = error_of(status) {
        return Failure::from(error);
    }
    let code = match status.code() {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::BadRequest,
        tonic::Code::Unimplemented => Code::NoSuchPath,
        _ if sent => Code::Unknown,
        _ => Code::Unreachable,
    };
    Failure::new(code, format!("{}: {}", status.code(), status.message()))
}

/// The node that a status names as the leader.
pub fn leader_of(status: &tonic::Status) -> Option<NodeId> {
    error_of(status)?.leader.map(NodeId)
}

fn error_of(status: &tonic::Status) -> Option<v1::Error> {
    let bytes = status.metadata().get_bin(FAILURE_KEY)?.to_bytes().ok()?;
    v1::Error::decode(bytes).ok()
}

fn grpc_code(kind: Kind) -> tonic::Code {
    match kind {
        Kind::Fix => tonic::Code::InvalidArgument,
        Kind::NotFound => tonic::Code::NotFound,
        Kind::Exists => tonic::Code::AlreadyExists,
        Kind::NotAllowed => tonic::Code::PermissionDenied,
        Kind::Retry => tonic::Code::Unavailable,
        Kind::Overloaded => tonic::Code::ResourceExhausted,
        Kind::Unknown => tonic::Code::DeadlineExceeded,
        Kind::Broken => tonic::Code::Internal,
    }
}

/// The HTTP status of a failure.
pub fn http_status(code: Code) -> u16 {
    match (code, code.kind()) {
        (Code::OverLimit, _) => 413,
        (_, Kind::Fix) => 400,
        (_, Kind::NotFound) => 404,
        (_, Kind::Exists) => 409,
        (_, Kind::NotAllowed) => 403,
        (_, Kind::Retry) => 503,
        (_, Kind::Overloaded) => 429,
        (_, Kind::Unknown) => 504,
        (_, Kind::Broken) => 500,
    }
}

/// The exit code of the `meridian` command for a failure. Usage errors exit with 2, ctrl-C with 130.
pub fn exit_code(code: Code) -> u8 {
    match (code, code.kind()) {
        (Code::PartlyRefused, _) => 9,
        (_, Kind::Fix) => 3,
        (_, Kind::NotFound | Kind::Exists) => 4,
        (_, Kind::NotAllowed) => 5,
        (_, Kind::Retry) => 6,
        (_, Kind::Overloaded) => 7,
        (_, Kind::Unknown) => 8,
        (_, Kind::Broken) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_survives_the_wire() {
        for code in Code::ALL {
            let failure = Failure::new(*code, "what happened").retry_after_ms(250);
            assert_eq!(failure_of(&status_of(&failure), true), failure);
        }
    }

    #[test]
    fn a_foreign_status_is_unknown_once_sent() {
        let broken = tonic::Status::new(tonic::Code::Unavailable, "connection reset");
        assert_eq!(failure_of(&broken, true).kind(), Kind::Unknown);
        assert_eq!(failure_of(&broken, false).kind(), Kind::Retry);
    }
}
