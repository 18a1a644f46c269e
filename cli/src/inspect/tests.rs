//! Reports as text and JSON, and refusals with what to type next.

use std::path::Path;

use meridian_node::{DatabaseReport, FileReport, NodeReport, ReplicaReport, SegmentReport, ShardReport};

use super::*;

fn whole() -> Report {
    let identity = [("version", "1"), ("cluster", "6f1c2d3e"), ("node", "2"), ("created", "2026-01-01T00:00:00Z")];
    let usage = [("LOCK", 1, 0), ("identity.toml", 1, 98), ("log", 2, 67_108_864), (".", 4, 67_108_962)];
    let node = |id: u32| NodeReport { id: format!("n{id}"), region: "eu".into(), address: format!("10.0.0.{id}:7172") };
    let replica = |id: u32| ReplicaReport { id: format!("r{}", id + 3), node: format!("n{id}") };
    let database = |id: &str, name: &str, retention: Option<&str>| DatabaseReport {
        id: id.into(),
        name: name.into(),
        retention: retention.map(str::to_owned),
    };
    Report {
        identity: Part::Read(identity.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
        usage: Part::Read(usage.map(|(path, files, bytes)| Usage { path: path.into(), files, bytes }).into()),
        catalogue: Part::Read(CatalogueReport {
            version: 12,
            cluster: Some("6f1c2d3e".into()),
            nodes: [1, 2].map(node).into(),
            databases: vec![database("d1", "metrics", None), database("d2", "logs", Some("30d"))],
            dropped: vec!["d3".into()],
            shards: vec![ShardReport {
                id: "s1".into(),
                incarnation: "i1".into(),
                preferred: "r4".into(),
                replicas: [1, 2].map(replica).into(),
            }],
            epochs: 1,
            fields: 7,
        }),
        log: Part::Read(vec![segment(3, true, None), segment(4, false, None)]),
        shards: Part::Read(vec![
            file("MANIFEST", None, None),
            file("0000000000000001-00000000deadbeef.block", Some(120), Some("byte 64 is damaged")),
        ]),
    }
}

fn segment(segment: u64, used: bool, damage: Option<&str>) -> SegmentReport {
    let groups = if used { vec!["g0 1..20".into(), "s1 5..900".into()] } else { Vec::new() };
    let damage = damage.map(str::to_owned);
    SegmentReport { segment, bytes: 33_554_432, used, commits: if used { 812 } else { 0 }, groups, damage }
}

fn file(name: &str, points: Option<u64>, damage: Option<&str>) -> FileReport {
    FileReport {
        shard: "s1".into(),
        file: name.into(),
        database: points.map(|_| "d1".into()),
        entries: Some("1..900".into()),
        times: points.map(|_| "2026-01-01T00:00:00Z to 2026-01-01T23:59:59Z".into()),
        points,
        bytes: points.map(|points| 2 * points),
        damage: damage.map(str::to_owned),
    }
}

fn damaged() -> Report {
    Report {
        identity: Part::Unreadable("TOML parse error at line 1".into()),
        catalogue: Part::Unreadable("the store does not open (sled's recovery panicked)".into()),
        log: Part::Read(vec![segment(3, true, Some("at byte 512: no whole commit"))]),
        shards: Part::Read(Vec::new()),
        ..whole()
    }
}

#[test]
fn reports_and_refusals() {
    let mut found = format!("{}---\n{}---\n{}---\n", plain(&whole()), json(&whole()), plain(&damaged()));
    let dir = || Path::new("meridian-data").to_owned();
    let refusals = [
        InspectError::NoNode { dir: dir(), nodes: vec!["n1".into(), "n2".into()] },
        InspectError::NoNode { dir: dir(), nodes: vec![] },
        InspectError::InUse { dir: dir() },
        InspectError::Io { dir: dir(), error: std::io::Error::other("no such directory") },
    ];
    for refusal in refusals {
        let error = refused(refusal);
        found += &format!("{}exit {}\n", error.render(), error.exit_code());
    }
    assert_eq!(found, include_str!("../../testdata/inspect.txt"));
}
