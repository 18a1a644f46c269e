//! Commands in, replies and state out.

use meridian_types::Code;
use meridian_types::limits::FIELDS_MAX;
use proptest::prelude::*;

use super::*;
use crate::ClusterId;

fn node(id: u32, port: u16) -> NodeSpec {
    let addr = |n: u16| format!("n{id}:{}", port + n);
    let region = format!("r{}", id % 3);
    NodeSpec { id: NodeId(id), region, addr_data: addr(0), addr_raft: addr(1), addr_http: addr(2), nonce: id.into() }
}

fn init(cluster: u128, shards: u32) -> Command {
    Command::Init { cluster: ClusterId(cluster), nodes: 3, shards, replication: 3 }
}

fn join(node: NodeSpec) -> Command {
    let NodeSpec { region, addr_data, addr_raft, addr_http, nonce, .. } = node;
    Command::Join { nonce, region, addr_data, addr_raft, addr_http }
}

fn span(nanos: i64) -> Duration {
    Duration::from_nanos(nanos).unwrap()
}

fn create(name: &str, if_absent: bool) -> Command {
    Command::CreateDatabase { name: name.into(), shard_by: None, retention: span(0), future: span(5), if_absent }
}

fn drop_(name: &str) -> Command {
    Command::DropDatabase { name: name.into() }
}

fn register(database: u32, fields: &[(&str, &str, FieldType)]) -> Command {
    let fields = fields.iter().map(|(m, f, t)| ((*m).into(), (*f).into(), *t)).collect();
    Command::RegisterFields { database: DatabaseId(database), fields }
}

fn confirm(database: u32, shard: u32) -> Command {
    Command::ConfirmDropped { database: DatabaseId(database), shard: ShardId(shard) }
}

fn formed(shards: u32) -> Catalogue {
    let mut catalogue = Catalogue::default();
    assert_eq!(catalogue.apply(&init(7, shards)), Reply::Initialised);
    for id in 1..=3 {
        assert_eq!(catalogue.apply(&join(node(id, 7_172))), Reply::Joined(NodeId(id)));
    }
    assert_eq!(catalogue.apply(&Command::Form), Reply::Formed);
    catalogue
}

fn created(reply: Reply) -> DatabaseId {
    let Reply::Database(database) = reply else { panic!("{reply:?}") };
    database.id
}

fn refused(reply: Reply) -> (Code, String) {
    let Reply::Refused(refused) = reply else { panic!("{reply:?}") };
    (refused.code(), refused.to_string())
}

#[test]
fn forming_places_every_shard_and_gives_every_slot() {
    let catalogue = formed(6);
    assert_eq!(catalogue.cluster(), Some(ClusterId(7)));
    assert_eq!(catalogue.shards().len(), 6);
    let ids: Vec<_> = catalogue.shards().values().flat_map(|s| &s.replicas).map(|r| r.id.0).collect();
    assert_eq!(ids, (1..=18).collect::<Vec<_>>(), "replica ids are fresh");
    for node in catalogue.nodes().keys() {
        let leads = |s: &&Shard| s.replicas.iter().any(|r| r.id == s.preferred && r.node == *node);
        assert_eq!(catalogue.shards().values().filter(leads).count(), 2);
    }
    let epoch = &catalogue.epochs()[&EpochId(0)];
    assert_eq!(epoch.range, TimeRange::ALL);
    assert!(epoch.table.shards().iter().all(|s| catalogue.shards().contains_key(s)));
    assert_eq!(catalogue.placements()[PLACEMENT_DEFAULT].replication, 3);
}

#[test]
fn a_cluster_is_begun_once() {
    let mut catalogue = Catalogue::default();
    for command in [create("a", false), join(node(1, 1)), Command::Form] {
        assert_eq!(refused(catalogue.apply(&command)).0, Code::NotReady, "{command:?}");
    }
    let with = |nodes, shards, replication| Command::Init { cluster: ClusterId(7), nodes, shards, replication };
    for (command, code, says) in [
        (with(0, 1, 1), Code::OverLimit, "0 nodes are outside 1 to 256"),
        (with(257, 1, 1), Code::OverLimit, "257 nodes"),
        (with(3, 0, 1), Code::OverLimit, "0 shards"),
        (with(3, 1_025, 1), Code::OverLimit, "1025 shards"),
        (with(1, 1, 3), Code::BadRequest, "3 copies of each shard need as many nodes"),
        (with(3, 1, 0), Code::BadRequest, "0 copies"),
    ] {
        let (found, message) = refused(catalogue.apply(&command));
        assert!(found == code && message.starts_with(says), "{found} {message}");
    }
    assert_eq!(catalogue.encode(), Catalogue::default().encode(), "a refusal changes nothing");

    assert_eq!(catalogue.apply(&init(7, 2)), Reply::Initialised);
    assert_eq!(catalogue.apply(&init(7, 2)), Reply::Initialised, "the same again");
    for other in [init(7, 3), init(8, 2)] {
        let (code, message) = refused(catalogue.apply(&other));
        assert_eq!(code, Code::ClusterExists);
        assert!(message.ends_with(
            "7 is begun already: `meridian cluster init` is sent once, to one node; the others join by themselves"
        ));
    }
    assert_eq!(catalogue.version(), 1);
}

#[test]
fn shards_wait_for_their_nodes() {
    let mut catalogue = Catalogue::default();
    catalogue.apply(&init(7, 2));
    catalogue.apply(&join(node(1, 1)));
    catalogue.apply(&join(node(2, 1)));
    for command in [Command::Form, create("a", false)] {
        let (code, message) = refused(catalogue.apply(&command));
        assert_eq!(code, Code::NotReady);
        assert!(message.contains("2 of 3 nodes have joined"), "{message}");
    }
    assert!(!catalogue.is_formed());
    catalogue.apply(&join(node(3, 1)));
    assert_eq!(catalogue.apply(&Command::Form), Reply::Formed);
    let version = catalogue.version();
    assert_eq!(catalogue.apply(&Command::Form), Reply::Formed);
    assert_eq!(catalogue.apply(&join(node(4, 1))), Reply::Joined(NodeId(4)), "a formed cluster takes nodes, too");
    assert_eq!((catalogue.version(), catalogue.shards().len()), (version + 1, 2));
}

#[test]
fn a_directory_joins_once_and_an_address_is_one_directory() {
    let mut catalogue = formed(1);
    let version = catalogue.version();
    assert_eq!(catalogue.apply(&join(node(2, 7_172))), Reply::Joined(NodeId(2)), "asked again, the same id");
    assert_eq!(catalogue.version(), version);
    assert_eq!(catalogue.apply(&join(node(2, 9_000))), Reply::Joined(NodeId(2)), "and its new addresses");
    assert_eq!(catalogue.nodes()[&NodeId(2)].addr_raft, "n2:9001");

    let wiped = NodeSpec { nonce: 77, ..node(2, 9_000) };
    let (code, message) = refused(catalogue.apply(&join(wiped.clone())));
    assert_eq!(code, Code::LostDisk);
    assert!(message.starts_with("n2 of this cluster is registered at n2:9000"), "{message}");
    let one_port = NodeSpec { addr_data: "x:1".into(), addr_http: "x:2".into(), ..wiped.clone() };
    assert!(refused(catalogue.apply(&join(one_port))).1.contains("registered at n2:9001"));
    let (code, _) = refused(catalogue.apply(&Command::RegisterNode(wiped)));
    assert_eq!(code, Code::LostDisk, "its id does not help it");
    let elsewhere = NodeSpec { region: "far".into(), ..node(2, 9_000) };
    assert_eq!(refused(catalogue.apply(&join(elsewhere))).0, Code::WrongCluster);
    assert_eq!(catalogue.nodes().len(), 3);
    let fourth = catalogue.apply(&join(NodeSpec { nonce: 78, ..node(2, 7_172) }));
    assert_eq!(fourth, Reply::Joined(NodeId(4)), "an address that nobody has any more");
}

#[test]
fn a_node_may_change_its_addresses_and_nothing_else() {
    let mut catalogue = formed(1);
    let version = catalogue.version();
    let moved = node(2, 9_000);
    assert_eq!(catalogue.apply(&Command::RegisterNode(moved.clone())), Reply::NodeRegistered);
    assert_eq!((&catalogue.nodes()[&NodeId(2)], catalogue.version()), (&moved, version + 1));
    assert_eq!(catalogue.apply(&Command::RegisterNode(moved.clone())), Reply::NodeRegistered);
    assert_eq!(catalogue.version(), version + 1, "nothing changed");
    let elsewhere = NodeSpec { region: "far".into(), ..moved };
    assert_eq!(refused(catalogue.apply(&Command::RegisterNode(elsewhere))).0, Code::WrongCluster);
    assert_eq!(refused(catalogue.apply(&Command::RegisterNode(node(4, 1)))).0, Code::NoGroup);
}

#[test]
fn a_name_gets_a_new_id_each_time() {
    let mut catalogue = formed(2);
    let first = created(catalogue.apply(&create("a", false)));
    assert_eq!(refused(catalogue.apply(&create("a", false))).0, Code::DatabaseExists);
    assert_eq!(created(catalogue.apply(&create("a", true))), first);
    catalogue.apply(&register(first.0, &[("m", "f", FieldType::I64)]));

    assert_eq!(catalogue.apply(&drop_("a")), Reply::Dropped(first));
    assert_eq!(refused(catalogue.apply(&drop_("a"))).0, Code::NoDatabase);
    assert_eq!(refused(catalogue.apply(&register(first.0, &[]))).0, Code::NoDatabase);
    let second = created(catalogue.apply(&create("a", true)));
    assert!(second > first);
    assert_eq!(catalogue.database("a").map(|d| d.id), Some(second));
    assert_eq!(catalogue.field_type(second, "m", "f"), None, "types go with the id, not with the name");
    assert_eq!(catalogue.field_type(first, "m", "f"), None);
}

#[test]
fn a_drop_is_remembered_until_every_shard_has_confirmed() {
    let mut catalogue = formed(2);
    let id = created(catalogue.apply(&create("a", false)));
    assert_eq!(refused(catalogue.apply(&confirm(id.0, 1))).1, "database d1 is not dropped");
    assert_eq!(refused(catalogue.apply(&confirm(9, 1))).0, Code::NoDatabase);
    catalogue.apply(&drop_("a"));
    for (shard, left) in [(2, 1), (2, 1), (77, 1), (1, 0), (1, 0)] {
        assert_eq!(catalogue.apply(&confirm(id.0, shard)), Reply::Confirmed);
        assert_eq!(catalogue.dropped().get(&id).map_or(0, |d| d.waiting.len()), left);
    }
    assert!(catalogue.dropped().is_empty());
    assert_eq!(catalogue.version(), 9, "init, three joins, form, create, drop, two confirmations");
}

#[test]
fn bad_settings_are_refused() {
    let mut catalogue = formed(1);
    let with = |shard_by: Option<Vec<String>>, retention| Command::CreateDatabase {
        name: "a".into(),
        shard_by,
        retention,
        future: span(0),
        if_absent: false,
    };
    let negative = negative_duration();
    for (command, says) in [
        (create("1a", true), "is no database name"),
        (with(Some(vec![]), span(0)), "`shard_by` needs"),
        (with(Some(vec!["a\0".into()]), span(0)), "`shard_by` needs"),
        (with(None, negative), "retention is -1 ns"),
    ] {
        let (code, message) = refused(catalogue.apply(&command));
        assert_eq!(code, Code::BadRequest);
        assert!(message.contains(says), "{message}");
    }
    let unsorted = with(Some(["b", "a", "b"].map(String::from).into()), span(0));
    catalogue.apply(&unsorted);
    assert_eq!(catalogue.database("a").unwrap().shard_by, Some(vec!["a".to_owned(), "b".to_owned()]));
}

/// A duration as hostile bytes can make it.
fn negative_duration() -> Duration {
    postcard::from_bytes(&postcard::to_allocvec(&-1_i64).unwrap()).unwrap()
}

#[test]
fn a_field_keeps_its_first_type() {
    let mut catalogue = formed(1);
    catalogue.apply(&create("a", false));
    let reply = catalogue.apply(&register(
        1,
        &[
            ("m", "f", FieldType::F64),
            ("m", "f", FieldType::Str),
            ("m", "g", FieldType::Bool),
            ("m", "f", FieldType::F64),
        ],
    ));
    let Reply::Fields { conflicts, over_limit } = reply else { panic!("{reply:?}") };
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].to_string(), "field \"f\" of measurement \"m\" is float, not string");
    assert!(over_limit.is_empty());
    assert_eq!(catalogue.field_type(DatabaseId(1), "m", "f"), Some(FieldType::F64));
    assert_eq!(catalogue.field_type(DatabaseId(1), "m", "g"), Some(FieldType::Bool));
    assert_eq!(catalogue.fields(DatabaseId(1)).map(|m| m["m"].len()), Some(2));

    let version = catalogue.version();
    catalogue.apply(&register(1, &[("m", "g", FieldType::Bool), ("m", "g", FieldType::I64)]));
    assert_eq!(catalogue.version(), version, "nothing new");
    let (code, _) = refused(catalogue.apply(&register(1, &[("m", "h", FieldType::Bool), ("", "i", FieldType::Bool)])));
    assert_eq!(code, Code::BadRequest);
    assert_eq!(catalogue.field_type(DatabaseId(1), "m", "h"), None, "a refused command changes nothing");
}

#[test]
fn a_full_measurement_refuses_one_field_at_a_time() {
    let mut catalogue = formed(1);
    catalogue.apply(&create("a", false));
    let names: Vec<_> = (0..=FIELDS_MAX).map(|i| format!("f{i}")).collect();
    let mut fields: Vec<_> = names.iter().map(|f| ("m", f.as_str(), FieldType::U64)).collect();
    fields.push(("other", "f", FieldType::U64));
    let Reply::Fields { conflicts, over_limit } = catalogue.apply(&register(1, &fields)) else { panic!() };
    assert!(conflicts.is_empty());
    assert_eq!(over_limit.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(), ["f1024"]);
    assert_eq!(over_limit[0].code(), Code::OverLimit);
    assert_eq!(catalogue.fields(DatabaseId(1)).map(|m| (m["m"].len(), m["other"].len())), Some((FIELDS_MAX, 1)));
}

#[test]
fn watchers_follow_the_log_of_fields() {
    let mut catalogue = formed(1);
    for name in ["a", "b"] {
        catalogue.apply(&create(name, false));
    }
    catalogue.apply(&register(1, &[("m", "x", FieldType::I64)]));
    catalogue.apply(&register(2, &[("m", "y", FieldType::I64), ("m", "z", FieldType::I64)]));
    let names = |from: &Catalogue, cursor| {
        let (records, next) = from.fields_since(cursor);
        (records.iter().map(|r| r.field.clone()).collect::<Vec<_>>(), next)
    };
    assert_eq!(names(&catalogue, 0), (vec!["x".into(), "y".into(), "z".into()], 3));
    catalogue.apply(&drop_("a"));
    catalogue.apply(&register(2, &[("m", "w", FieldType::I64)]));
    assert_eq!(names(&catalogue, 3), (vec!["w".into()], 4));
    assert_eq!(names(&catalogue, 0), (vec!["y".into(), "z".into(), "w".into()], 4));
    assert_eq!(names(&catalogue, 99), (vec![], 4), "a watcher from further on is brought back");
    assert_eq!(names(&Catalogue::decode(&catalogue.encode()).unwrap(), 2), (vec!["z".into(), "w".into()], 4));
}

/// The bytes of log entries. They are in logs: a difference here needs a new version number.
#[test]
fn commands_are_written_as_they_were() {
    let node =
        NodeSpec { addr_raft: "b".into(), addr_http: "c".into(), addr_data: "a".into(), nonce: 300, ..node(1, 0) };
    let settings = Command::CreateDatabase {
        name: "x".into(),
        shard_by: Some(vec!["h".into()]),
        retention: span(1),
        future: span(2),
        if_absent: true,
    };
    let one_node = Command::Init { cluster: ClusterId(300), nodes: 1, shards: 8, replication: 1 };
    for (command, bytes) in [
        (Command::Form, "0300"),
        (Command::RegisterNode(node.clone()), "030101027231016101620163ac02"),
        (settings, "0302017801010168020401"),
        (drop_("x"), "03030178"),
        (confirm(1, 2), "03040102"),
        (register(1, &[("m", "f", FieldType::F64), ("m", "g", FieldType::Str)]), "03050102016d016600016d016704"),
        (one_node, "0306ac02010801"),
        (join(node), "0307ac02027231016101620163"),
    ] {
        let hex: String = command.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, bytes, "{command:?}");
    }
}

fn any_field_type() -> impl Strategy<Value = FieldType> {
    prop::sample::select(FieldType::ALL.to_vec())
}

/// Commands over few names, so that they meet each other.
pub(crate) fn any_command() -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "b", "c", "no name"]).prop_map(String::from);
    let field = ("[mn]?", "[fgh]", any_field_type());
    let shard_by = prop::option::of(prop::collection::vec("[xy]", 0..3));
    prop_oneof![
        1 => (0_u128..3, 1_u32..4).prop_map(|(cluster, shards)| init(cluster, shards)),
        1 => (0_u32..5, 1_u16..3).prop_map(|(id, port)| join(node(id, port))),
        1 => Just(Command::Form),
        1 => (0_u32..5, 1_u16..3).prop_map(|(id, port)| Command::RegisterNode(node(id, port))),
        4 => (name(), shard_by, -1_i64..9, any::<bool>()).prop_map(|(name, shard_by, future, if_absent)| {
            let future = Duration::from_nanos(future).unwrap_or_else(negative_duration);
            Command::CreateDatabase { name, shard_by, retention: span(0), future, if_absent }
        }),
        3 => name().prop_map(|name| Command::DropDatabase { name }),
        3 => (0_u32..6, 0_u32..4).prop_map(|(database, shard)| confirm(database, shard)),
        6 => (0_u32..6, prop::collection::vec(field, 0..6))
            .prop_map(|(database, fields)| Command::RegisterFields { database: DatabaseId(database), fields }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn replicas_agree_and_refusals_change_nothing(commands in prop::collection::vec(any_command(), 0..24)) {
        let (mut one, mut two) = (formed(2), formed(2));
        let mut types = std::collections::BTreeMap::new();
        let mut ids = BTreeSet::new();
        for command in &commands {
            let before = one.clone();
            let reply = one.apply(command);
            // The other replica restarts before each command, and reads the command from its log.
            two = Catalogue::decode(&two.encode()).unwrap();
            prop_assert_eq!(&reply, &two.apply(&Command::decode(&command.encode()).unwrap()));
            prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply.clone()));
            prop_assert_eq!(one.encode(), two.encode());
            prop_assert_eq!(one.version() == before.version(), one.encode() == before.encode());
            if let Reply::Refused(_) = &reply {
                prop_assert_eq!(one.version(), before.version());
            }
            if let Reply::Database(database) = &reply && !before.databases().contains_key(&database.id) {
                prop_assert!(ids.insert(database.id), "{} is given twice", database.id);
            }
            for record in one.fields_since(0).0 {
                let name = (record.database, record.measurement.clone(), record.field.clone());
                prop_assert_eq!(*types.entry(name).or_insert(record.field_type), record.field_type);
                let found = one.field_type(record.database, &record.measurement, &record.field);
                prop_assert_eq!(found, Some(record.field_type));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_command_or_an_error(mut bytes: Vec<u8>, version in prop::bool::weighted(0.9)) {
        if version && !bytes.is_empty() {
            bytes[0] = crate::codec::VERSION;
        }
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command.clone()));
            let _ = formed(1).apply(&command);
        }
    }

    #[test]
    fn a_damaged_command_is_a_command_or_an_error(command in any_command(), at: prop::sample::Index, byte: u8) {
        let mut bytes = command.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(command) = Command::decode(&bytes) {
            let _ = formed(1).apply(&command);
        }
        prop_assert!(Command::decode(&bytes[..at]).is_err(), "a part of a command is none");
    }
}

#[test]
fn a_replaced_copy_keeps_its_place_and_never_its_id() {
    let mut catalogue = formed(1);
    let before = catalogue.shards()[&ShardId(1)].clone();
    let replace = |replica| Command::ReplaceReplica { shard: ShardId(1), replica };
    assert_eq!(catalogue.apply(&replace(before.preferred)), Reply::Replaced);
    let after = catalogue.shards()[&ShardId(1)].clone();
    let nodes = |shard: &Shard| shard.replicas.iter().map(|r| r.node).collect::<Vec<_>>();
    assert_eq!(nodes(&after), nodes(&before));
    let ids = |shard: &Shard| shard.replicas.iter().map(|r| r.id).collect::<BTreeSet<_>>();
    assert_eq!(ids(&after).difference(&ids(&before)).copied().collect::<Vec<_>>(), [ReplicaId(4)]);
    assert!(!ids(&after).contains(&before.preferred));
    assert!(ids(&before).contains(&after.preferred), "a new copy is not preferred");
    assert_eq!((before.former, after.former), (Some(before.preferred), None), "nobody forms the group once more");
    let version = catalogue.version();
    assert_eq!(catalogue.apply(&replace(before.preferred)), Reply::Replaced);
    assert_eq!((catalogue.version(), &catalogue.shards()[&ShardId(1)]), (version, &after), "again changes nothing");
    let unknown = Command::ReplaceReplica { shard: ShardId(9), replica: ReplicaId(1) };
    assert_eq!(catalogue.apply(&unknown), Reply::Refused(Refused::NoShard(ShardId(9))));
}

#[test]
fn one_of_the_first_copies_leads_for_as_long_as_one_is_left() {
    let mut catalogue = formed(1);
    let shard = |catalogue: &Catalogue| catalogue.shards()[&ShardId(1)].clone();
    let first: BTreeSet<_> = shard(&catalogue).replicas.iter().map(|replica| replica.id).collect();
    for left in (0..first.len()).rev() {
        let before = shard(&catalogue).preferred;
        assert_eq!(catalogue.apply(&Command::ReplaceReplica { shard: ShardId(1), replica: before }), Reply::Replaced);
        assert_eq!(shard(&catalogue).former, None);
        let after = shard(&catalogue);
        let old = after.replicas.iter().map(|replica| replica.id).filter(|id| first.contains(id)).collect::<Vec<_>>();
        assert_eq!(old.len(), left);
        assert_eq!(Some(&after.preferred), old.iter().min().or(after.replicas.iter().map(|r| &r.id).min()));
    }
}

#[test]
fn whoever_forms_a_group_does_so_still_when_another_copy_is_replaced() {
    let mut catalogue = formed(1);
    let before = catalogue.shards()[&ShardId(1)].clone();
    let other = before.replicas.iter().map(|replica| replica.id).find(|id| *id != before.preferred);
    let replica = other.expect("there are three");
    assert_eq!(catalogue.apply(&Command::ReplaceReplica { shard: ShardId(1), replica }), Reply::Replaced);
    assert_eq!(catalogue.shards()[&ShardId(1)].former, Some(before.preferred));
}

#[test]
fn the_only_copy_is_not_replaced() {
    let mut catalogue = Catalogue::default();
    catalogue.apply(&Command::Init { cluster: ClusterId(7), nodes: 1, shards: 1, replication: 1 });
    catalogue.apply(&join(node(1, 7_172)));
    assert_eq!(catalogue.apply(&Command::Form), Reply::Formed);
    let (shard, replica) = (ShardId(1), ReplicaId(1));
    let refused = catalogue.apply(&Command::ReplaceReplica { shard, replica });
    assert_eq!(refused, Reply::Refused(Refused::LastReplica { shard, replica }));
}
