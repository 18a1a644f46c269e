//! What placement promises, for any nodes.

use proptest::prelude::*;

use super::*;

/// Nodes `n1` on; `sizes[i]` of them in region `ri`, dealt out in turns so that ids and regions do not go together.
fn nodes(sizes: &[usize]) -> BTreeMap<NodeId, NodeSpec> {
    let mut left = sizes.to_vec();
    let mut nodes = BTreeMap::new();
    while left.iter().any(|n| *n > 0) {
        for (i, n) in left.iter_mut().enumerate().filter(|(_, n)| **n > 0) {
            *n -= 1;
            let id = NodeId(nodes.len() as u32 + 1);
            let addr = String::new();
            let region = format!("r{i}");
            let (addr_data, addr_raft, addr_http) = (addr.clone(), addr.clone(), addr);
            nodes.insert(id, NodeSpec { id, region, addr_data, addr_raft, addr_http, nonce: id.0.into() });
        }
    }
    nodes
}

/// The least and the most of how often `chosen` names each of `of`.
fn spread<'a>(of: impl Iterator<Item = &'a NodeId>, chosen: impl Iterator<Item = &'a NodeId>) -> (u32, u32) {
    let mut counts: BTreeMap<_, u32> = of.map(|n| (*n, 0)).collect();
    for node in chosen.filter(|n| counts.contains_key(*n)).copied().collect::<Vec<_>>() {
        *counts.entry(node).or_default() += 1;
    }
    (*counts.values().min().unwrap(), *counts.values().max().unwrap())
}

#[test]
fn three_regions_three_copies() {
    let seats = place(&nodes(&[1, 1, 1]), 3, 3).unwrap();
    let text: Vec<_> = seats.iter().map(|s| format!("{:?} led by {}", s.nodes, s.preferred)).collect();
    assert_eq!(text, ["[n1, n2, n3] led by n1", "[n1, n2, n3] led by n2", "[n1, n2, n3] led by n3"]);
}

#[test]
fn one_three_or_five_vote_one_of_each_region_first() {
    let text = |sizes: &[usize]| format!("{:?}", voters(&nodes(sizes)));
    assert_eq!(text(&[]), "{}");
    assert_eq!(text(&[1, 1]), "{n1}");
    assert_eq!(text(&[1, 1, 1]), "{n1, n2, n3}");
    assert_eq!(text(&[2, 1, 1]), "{n1, n2, n3}", "n4 is the second of its region");
    assert_eq!(text(&[4]), "{n1, n2, n3}");
    assert_eq!(text(&[5, 1]), "{n1, n2, n3, n4, n5}");
    assert_eq!(text(&[6, 1, 1]), "{n1, n2, n3, n4, n5}");
    let mut last = nodes(&[4]);
    last.get_mut(&NodeId(4)).unwrap().region = "far".into();
    assert_eq!(format!("{:?}", voters(&last)), "{n1, n2, n4}", "the only one of its region");
}

#[test]
fn copies_without_nodes_are_refused() {
    assert_eq!(place(&nodes(&[1, 1]), 1, 3), None);
    assert_eq!(place(&nodes(&[1, 1]), 1, 0), None);
    assert_eq!(place(&nodes(&[]), 1, 0), None);
}

proptest! {
    #[test]
    fn seats_are_spread_over_regions_then_nodes(
        sizes in prop::collection::vec(1_usize..6, 1..5), shards in 1_u32..80, replication in 1_u8..6,
    ) {
        let nodes = nodes(&sizes);
        prop_assume!(usize::from(replication) <= nodes.len());
        let seats = place(&nodes, shards, replication).unwrap();
        prop_assert_eq!(seats.len(), shards as usize);
        for seats in &seats {
            let mut unique = seats.nodes.clone();
            unique.sort();
            unique.dedup();
            prop_assert_eq!(unique.len(), usize::from(replication), "two copies on one node");
            prop_assert!(seats.nodes.contains(&seats.preferred));
            let copies: Vec<_> = (0..sizes.len())
                .map(|i| seats.nodes.iter().filter(|n| nodes[n].region == format!("r{i}")).count()).collect();
            let most = *copies.iter().max().unwrap();
            for (copies, size) in copies.iter().zip(&sizes) {
                prop_assert!(copies + 1 >= most || copies == size, "copies of a shard crowd in a region");
            }
        }
        for i in 0..sizes.len() {
            let here = nodes.values().filter(|n| n.region == format!("r{i}")).map(|n| &n.id);
            let (least, most) = spread(here, seats.iter().flat_map(|s| &s.nodes));
            prop_assert!(most - least <= 1, "nodes of r{i} have {least} to {most} copies");
        }
    }

    #[test]
    fn equal_regions_make_equal_nodes(
        regions in 1_usize..5, size in 1_usize..5, shards in 1_u32..80, replication in 1_u8..6,
    ) {
        let nodes = nodes(&vec![size; regions]);
        prop_assume!(usize::from(replication) <= nodes.len());
        let seats = place(&nodes, shards, replication).unwrap();
        let (least, most) = spread(nodes.keys(), seats.iter().flat_map(|s| &s.nodes));
        prop_assert!(most - least <= 1, "nodes have {least} to {most} copies");
        let (least, most) = spread(nodes.keys(), seats.iter().map(|s| &s.preferred));
        prop_assert!(most - least <= 1, "nodes lead {least} to {most} shards");
    }

    #[test]
    fn one_copy_is_even_over_all_nodes(sizes in prop::collection::vec(1_usize..6, 1..5), shards in 1_u32..80) {
        let nodes = nodes(&sizes);
        let seats = place(&nodes, shards, 1).unwrap();
        let (least, most) = spread(nodes.keys(), seats.iter().flat_map(|s| &s.nodes));
        prop_assert!(most - least <= 1, "nodes have {least} to {most} copies");
    }
}
