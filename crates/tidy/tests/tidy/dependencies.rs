//! Every dependency came in for a written reason, at one version, and is still used.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{assert_none, edges, tree};

const PAGE: &str = "docs/decisions/dependencies.md";

fn parse(path: &str) -> Table {
    tree::read(path).parse().unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Name and version of what the workspace takes from outside.
fn declared(manifest: &Table) -> BTreeMap<String, String> {
    let table = manifest["workspace"]["dependencies"].as_table().expect("[workspace.dependencies] is a table");
    let version = |value: &Value| value.as_str().or_else(|| value.get("version")?.as_str()).map(str::to_owned);
    table.iter().filter_map(|(name, value)| Some((name.clone(), version(value)?))).collect()
}

#[test]
fn each_dependency_has_a_reason() {
    let declared = declared(&parse("Cargo.toml"));
    let mut found = Vec::new();
    let mut explained = BTreeSet::new();
    for cells in tree::table(&tree::read(PAGE), "Table") {
        let name = tree::quoted(&cells[0]).remove(0);
        match declared.get(&name) {
            None => found.push(format!("{name} is explained but not in Cargo.toml")),
            Some(version) if *version != cells[1] => {
                found.push(format!("{name}: {version} in Cargo.toml, {} in the table", cells[1]));
            }
            Some(_) if cells.len() != 4 || cells[2..].iter().any(String::is_empty) => {
                found.push(format!("{name} has no reason or no replacement"));
            }
            Some(_) => {}
        }
        explained.insert(name);
    }
    found.extend(declared.keys().filter(|name| !explained.contains(*name)).map(|name| format!("{name} has no row")));
    assert_none(PAGE, &found);
}

#[test]
fn each_dependency_is_used() {
    let used: BTreeSet<String> = edges::members().into_iter().flat_map(|p| p.dependencies).map(|d| d.name).collect();
    let declared = declared(&parse("Cargo.toml"));
    let unused: Vec<String> = declared.into_keys().filter(|name| !used.contains(name)).collect();
    assert_none("in [workspace.dependencies] and used by no crate", &unused);
}

/// Dependencies of one manifest that name a version of their own.
fn own_versions(path: &str, manifest: &Table) -> Vec<String> {
    let lists = ["dependencies", "dev-dependencies", "build-dependencies"];
    let entries = lists.iter().filter_map(|list| manifest.get(*list)?.as_table()).flatten();
    let own = entries.filter(|(_, value)| value.is_str() || value.get("version").is_some());
    own.map(|(name, _)| format!("{path}: {name}")).collect()
}

#[test]
fn versions_stand_in_one_place() {
    let bad: Table = "[dependencies]\na = \"1\"\nb.workspace = true\n".parse().expect("this is TOML");
    assert_eq!(own_versions("x", &bad), ["x: a"]);
    let mut found = Vec::new();
    for file in tree::files().into_iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        found.extend(own_versions(&file.path, &parse(&file.path)));
    }
    assert_none("versions outside [workspace.dependencies]", &found);
}
