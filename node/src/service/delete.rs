//! Deletes from routers into the log of their shard: checked fully before they are proposed, so that no poison enters a log.

use meridian_proto::v1;
use meridian_query::{SELECTION_BYTES_MAX, Selection};
use meridian_types::{Code, Failure};

use super::Node;
use super::proposal::{Asked, Refused, admit, answered_as_another};
use crate::shard::{KIND_DELETE, Reply};

/// Proposes a delete and answers when it is applied.
pub(super) async fn serve(node: &Node, request: v1::ShardDelete) -> Result<v1::ShardDeleteReply, Refused> {
    let asked = Asked {
        shard: request.shard,
        incarnation: request.incarnation,
        map_version: request.map_version,
        database: request.database,
        request: request.request.as_ref(),
        pending_from: request.pending_from,
        bytes: request.selection.len(),
        deadline_ms: request.deadline_ms,
        traceparent: &request.traceparent,
    };
    let admitted = admit(node, KIND_DELETE, asked)?;
    check(&request.selection).map_err(|failure| (failure, None))?;
    match admitted.propose(request.selection).await? {
        Reply::Deleted { witness } => Ok(v1::ShardDeleteReply { witness: Some(witness.into()) }),
        _ => Err(answered_as_another("a delete")),
    }
}

/// Whether the bytes are a selection that `apply` can follow.
fn check(bytes: &[u8]) -> Result<(), Failure> {
    if bytes.len() > SELECTION_BYTES_MAX {
        let message = format!("the selection has {} bytes, over the limit of {SELECTION_BYTES_MAX}", bytes.len());
        return Err(Failure::new(Code::OverLimit, message));
    }
    Selection::decode(bytes).map(drop).map_err(|error| Failure::new(error.code(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use meridian_query::{MatchOp, Matcher};
    use meridian_types::TimeRange;

    use super::*;

    #[test]
    fn only_what_apply_can_read_enters_a_log() {
        let matcher = Matcher::new("host", MatchOp::Eq, "a").expect("valid");
        let selection = Selection::builder(TimeRange::ALL).matchers([matcher]).build().expect("valid");
        assert_eq!(check(&selection.encode()), Ok(()));
        let code = |bytes: &[u8]| check(bytes).map_err(|failure| failure.code);
        assert_eq!(code(b"poison"), Err(Code::WrongVersion));
        assert_eq!(code(&selection.encode()[..9]), Err(Code::Internal));
        assert_eq!(code(&vec![1; SELECTION_BYTES_MAX + 1]), Err(Code::OverLimit));
    }
}
