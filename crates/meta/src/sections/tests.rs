//! A store that follows the changes has what the catalogue has, and no bytes bring a reader down.

use proptest::prelude::*;

use super::*;
use crate::apply::tests::any_command;
use crate::{ClusterId, Command};

fn formed() -> Catalogue {
    let (addr_data, addr_raft, addr_http) = (String::new(), String::new(), String::new());
    let mut catalogue = Catalogue::default();
    catalogue.apply(&Command::Init { cluster: ClusterId(1), nodes: 1, shards: 2, replication: 1 });
    catalogue.apply(&Command::Join { nonce: 1, region: "r".into(), addr_data, addr_raft, addr_http });
    catalogue.apply(&Command::Form);
    catalogue
}

fn with_fields() -> Catalogue {
    let mut catalogue = formed();
    let zero = meridian_types::Duration::default();
    let name = "a".to_owned();
    let create = Command::CreateDatabase { name, shard_by: None, retention: zero, future: zero, if_absent: false };
    catalogue.apply(&create);
    let fields = ["f", "g"].map(|f| ("m".to_owned(), f.to_owned(), meridian_types::FieldType::F64)).into();
    catalogue.apply(&Command::RegisterFields { database: DatabaseId(1), fields });
    catalogue
}

#[test]
fn a_command_rewrites_only_what_it_changed() {
    let mut catalogue = with_fields();
    let keys = |changes: Vec<Change>| {
        changes.into_iter().map(|(key, value)| (String::from_utf8(key).unwrap(), value.is_some())).collect::<Vec<_>>()
    };
    assert_eq!(catalogue.take_changes().len(), Section::FIXED.len() + 2);
    assert!(catalogue.take_changes().is_empty());
    catalogue.apply(&Command::DropDatabase { name: "a".into() });
    let expected = [
        ("counters", true),
        ("databases", true),
        ("dropped", true),
        ("field/0000000000000000", false),
        ("field/0000000000000001", false),
    ];
    assert_eq!(keys(catalogue.take_changes()), expected.map(|(key, some)| (key.to_owned(), some)));
}

#[test]
fn a_store_without_anything_is_a_catalogue_before_its_cluster() {
    let empty = Catalogue::from_sections([]).unwrap();
    assert_eq!(empty.encode(), Catalogue::default().encode());
    assert_eq!(empty.cluster(), None);
}

#[test]
fn a_store_that_lost_or_mixed_something_is_refused() {
    let all = with_fields().sections();
    for (lost, (key, _)) in all.iter().enumerate() {
        let mut rest = all.clone();
        rest.remove(lost);
        assert!(Catalogue::from_sections(rest).is_err(), "without {}", String::from_utf8_lossy(key));
    }
    let older: BTreeMap<_, _> = formed().sections().into_iter().collect();
    for (key, value) in &all {
        let mut mixed = all.clone();
        let stale = older.get(key).filter(|old| *old != value).cloned();
        if let Some(stale) = stale {
            mixed.retain(|(k, _)| k != key);
            mixed.push((key.clone(), stale));
            assert!(Catalogue::from_sections(mixed).is_err(), "with an old {}", String::from_utf8_lossy(key));
        }
    }
    let mut newer = all.clone();
    newer.push((b"users".to_vec(), vec![1, 0]));
    let unknown = Catalogue::from_sections(newer).unwrap_err();
    assert_eq!(unknown, DecodeError::UnknownSection("users".into()));
    let mut version = with_fields().encode();
    version[0] = 1;
    assert_eq!(Catalogue::decode(&version).unwrap_err(), DecodeError::Version(1));
    version[0] = codec::VERSION;
    version.push(0);
    assert_eq!(Catalogue::decode(&version).unwrap_err(), DecodeError::Trailing(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_store_that_follows_the_changes_has_everything(
        commands in prop::collection::vec((any_command(), any::<bool>()), 0..40),
    ) {
        let mut catalogue = Catalogue::default();
        let mut store = BTreeMap::new();
        for (command, commit) in &commands {
            catalogue.apply(command);
            if *commit {
                for (key, value) in catalogue.take_changes() {
                    match value {
                        Some(value) => store.insert(key, value),
                        None => store.remove(&key),
                    };
                }
                let read = Catalogue::from_sections(store.clone()).unwrap();
                prop_assert_eq!(&read.sections(), &catalogue.sections());
                prop_assert_eq!(Catalogue::decode(&catalogue.encode()).unwrap().encode(), read.encode());
            }
        }
    }

    #[test]
    fn any_bytes_are_a_catalogue_or_an_error(mut bytes: Vec<u8>, key in "[a-z/0-9]{0,9}") {
        let _ = Catalogue::decode(&bytes);
        if let Some(first) = bytes.first_mut() {
            *first = codec::VERSION;
        }
        let _ = Catalogue::decode(&bytes);
        let _ = Catalogue::from_sections([(key.into_bytes(), bytes)]);
    }

    #[test]
    fn a_damaged_section_is_read_or_refused_and_never_panics(
        section: prop::sample::Index, at: prop::sample::Index, byte: u8, commands in prop::collection::vec(any_command(), 0..8),
    ) {
        let mut sections = with_fields().sections();
        let section = section.index(sections.len());
        let bytes = &mut sections[section].1;
        let at = at.index(bytes.len().min(64));
        bytes[at] = byte;
        if let Ok(mut catalogue) = Catalogue::from_sections(sections) {
            for command in &commands {
                catalogue.apply(command);
            }
        }
    }
}
