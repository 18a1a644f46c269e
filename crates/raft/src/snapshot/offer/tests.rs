//! What offers are taken, and what forged ones get.

use std::collections::{BTreeMap, BTreeSet};

use meridian_types::NodeId;
use proptest::prelude::*;

use super::*;
use crate::entry;
use crate::machine::{Content, ViewFile, encode_mark};
use crate::types::{Member, Membership, StoredMembership};

fn view() -> View {
    let nodes: BTreeMap<u64, Member> = [11, 12].map(|id| (id, Member { node: NodeId(id as u32 - 10) })).into();
    let membership = Membership::new(vec![BTreeSet::from([11, 12])], nodes).expect("voters with nodes");
    let membership = StoredMembership::new(Some(entry::log_id(1, 11, 0)), membership);
    let content = Content::Memory(Bytes::from_static(b"abc"));
    let file = |name: &str| ViewFile { name: name.into(), bytes: 3, hash: 5 << 100, content: content.clone() };
    let applied = encode_mark(Some(&entry::log_id(2, 12, 7)), &membership);
    View { applied, files: vec![file("MANIFEST"), file("b-1.blk")] }
}

fn offered() -> v1::SnapshotOffer {
    let leader_id = openraft::impls::leader_id_adv::LeaderId { term: 3, node_id: 11 };
    offer_out(v1::GroupRef::default(), &Vote { leader_id, committed: true }, &view())
}

#[test]
fn an_offer_is_read_as_it_was_made() {
    let offer = offer_in(offered()).expect("it is one");
    assert_eq!((offer.vote.leader_id.term, offer.last), (3, entry::log_id(2, 12, 7)));
    assert_eq!(offer.applied, view().applied);
    assert_eq!(offer.meta.last_log_id, Some(offer.last));
    assert_eq!(offer.meta.last_membership.membership().voter_ids().collect::<Vec<_>>(), [11, 12]);
    let files: Vec<_> = offer.files.iter().map(|file| (&*file.name, file.bytes, file.hash)).collect();
    assert_eq!(files, [("MANIFEST", 3, 5 << 100), ("b-1.blk", 3, 5 << 100)]);
}

/// The message as it crosses the wire: docs/formats/snapshot.md.
#[test]
fn an_offer_has_the_bytes_of_the_document() {
    let mut offer = offered();
    offer.group = Some(v1::GroupRef { group: 4, incarnation: 1, from: 11, to: 12 });
    let hex: String = prost::Message::encode_to_vec(&offer).iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = hex.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("digits"));
    assert_eq!(lines.collect::<Vec<_>>().join("\n") + "\n", include_str!("../../../testdata/offer.hex"));
}

proptest! {
    /// What comes of any bytes is checked: an entry of this leader's past, a membership of its entries, files in one place.
    #[test]
    fn any_offer_gives_a_checked_one_or_a_refusal(
        at in 0..80_usize,
        byte: u8,
        cut in 0..100_usize,
        name in "[a-z./\\\\\u{0}-]{0,6}",
        bytes: u64,
        hash in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut offer = offered();
        let mut mark = offer.applied.to_vec();
        mark.truncate(mark.len().saturating_sub(cut.saturating_sub(50)));
        if let Some(there) = mark.get_mut(at) {
            *there = byte;
        }
        offer.applied = mark.into();
        offer.files.push(v1::SnapshotFile { name, bytes, hash: hash.into() });
        if let Ok(offer) = offer_in(offer) {
            prop_assert!(offer.last.leader_id <= offer.vote.leader_id && offer.last.index < u64::MAX);
            prop_assert!(*offer.meta.last_membership.log_id() <= Some(offer.last));
            prop_assert_eq!(&encode_mark(Some(&offer.last), &offer.meta.last_membership), &offer.applied);
            for file in &offer.files {
                prop_assert!(!file.name.contains(['/', '\\', '\0']) && !file.name.starts_with('.') && !file.name.is_empty());
            }
        }
    }
}
