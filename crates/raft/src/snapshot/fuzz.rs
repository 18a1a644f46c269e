//! Any bytes as an offer: what a peer may send, for tests that throw bytes at the reading side.
//!
//! Never panics, whatever the bytes are: that is all it is for.

use bytes::Bytes;
use meridian_proto::v1;

use super::offer::offer_in;

/// Reads `bytes` as the parts of an offer: first the term and the replica of its vote, then the mark, then files, each named and
/// hashed by what is left.
#[doc(hidden)]
pub fn fuzz_offer(bytes: &[u8]) {
    let Some(([term, replica, flags, mark_bytes, files], rest)) = bytes.split_first_chunk() else { return };
    let bytes = Bytes::copy_from_slice(rest);
    let mut left = bytes.clone();
    let mut take = |count: u8| left.split_to(left.len().min(usize::from(count)));
    let applied = take(*mark_bytes);
    let file = |_| {
        let (head, hash) = (take(9), take(16));
        let size = head.first_chunk().map_or(u64::MAX, |size| u64::from_le_bytes(*size));
        v1::SnapshotFile { name: String::from_utf8_lossy(&take(8)).into_owned(), bytes: size, hash }
    };
    let files = (0..files % 8).map(file).collect();
    // The highest numbers overflow.
    let number = |low: u8| if flags & 2 == 0 { u64::from(low) } else { u64::MAX - u64::from(low) };
    let vote = v1::Vote { term: number(*term), replica: number(*replica), committed: flags & 1 == 0 };
    let vote = (flags & 4 == 0).then_some(vote);
    drop(offer_in(v1::SnapshotOffer { group: None, vote, applied, files }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_an_offer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::fuzz_offer(&bytes);
        }
    }
}
