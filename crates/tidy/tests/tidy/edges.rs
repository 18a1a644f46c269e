//! The crate graph is what ARCHITECTURE.md says it is: edges go down, and each library has its doors.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::{assert_none, tree};

/// What one row of the table allows.
struct Row {
    uses: Vec<String>,
    tests: Vec<String>,
}

/// The packages of the workspace with their declared dependencies; resolves nothing.
pub(crate) fn members() -> Vec<Package> {
    let mut command = MetadataCommand::new();
    command.manifest_path(tree::root().join("Cargo.toml")).no_deps().other_options(["--offline".to_owned()]);
    command.exec().expect("cargo metadata of the workspace").packages
}

fn short(package: &str) -> &str {
    package.strip_prefix("meridian-").unwrap_or(package)
}

fn allowed(page: &str) -> BTreeMap<String, Row> {
    let row = |cells: Vec<String>| {
        let name = tree::quoted(&cells[0]).remove(0);
        (name, Row { uses: tree::quoted(&cells[1]), tests: tree::quoted(&cells[2]) })
    };
    tree::table(page, "Allowed edges").into_iter().map(row).collect()
}

/// Rows that use a crate which does not stand above them.
fn upwards(page: &str) -> Vec<String> {
    let (mut above, mut found) = (BTreeSet::new(), Vec::new());
    for cells in tree::table(page, "Allowed edges") {
        let name = tree::quoted(&cells[0]).remove(0);
        let uses = tree::quoted(&cells[1]);
        found.extend(uses.iter().filter(|to| !above.contains(*to)).map(|to| format!("{name} -> {to} goes up")));
        above.insert(name);
    }
    found
}

#[test]
fn an_upward_row_is_found() {
    let page = "\n## Allowed edges\n| crate | uses | tests |\n|---|---|---|\n| `a` | `b` | |\n| `b` | | |\n";
    assert_eq!(upwards(page), ["a -> b goes up"]);
}

#[test]
fn crates_depend_only_downwards() {
    let page = tree::read("ARCHITECTURE.md");
    let mut found = upwards(&page);
    let allowed = allowed(&page);
    for package in members() {
        let from = short(&package.name);
        let Some(row) = allowed.get(from) else {
            found.push(format!("{from} has no row"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| d.name.starts_with("meridian-")) {
            let to = short(&dependency.name).to_owned();
            let in_tests = dependency.kind == DependencyKind::Development && row.tests.contains(&to);
            if !row.uses.contains(&to) && !in_tests {
                found.push(format!("{from} -> {to} ({:?})", dependency.kind));
            }
        }
    }
    assert_none("edges that the table in ARCHITECTURE.md does not allow", &found);
}

#[test]
fn each_library_is_used_through_its_door() {
    let doors = tree::table(&tree::read("ARCHITECTURE.md"), "Doors");
    assert!(!doors.is_empty(), "ARCHITECTURE.md has lost its table of doors");
    let mut found = Vec::new();
    for package in members() {
        let from = short(&package.name).to_owned();
        for cells in &doors {
            let libraries = tree::quoted(&cells[0]);
            let [ships, tests] = [&cells[1], &cells[2]].map(|cell| tree::quoted(cell).contains(&from));
            for dependency in package.dependencies.iter().filter(|d| libraries.contains(&d.name)) {
                let is_allowed = ships || (tests && dependency.kind == DependencyKind::Development);
                if !is_allowed {
                    found.push(format!("{from} -> {} ({:?}): only {}", dependency.name, dependency.kind, cells[1]));
                }
            }
        }
    }
    assert_none("libraries taken in by a crate that ARCHITECTURE.md gives no door", &found);
}

/// The simulated world, and the faults that it can plant, must not be reachable from what ships.
#[test]
fn only_tests_and_chaos_simulate() {
    let mut found = Vec::new();
    let simulates = |feature: &String| feature.contains("sim") || feature.contains("mutants");
    for package in members() {
        let from = short(&package.name);
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if dependency.features.iter().any(simulates) && from != "chaos" {
                found.push(format!("{from} turns on {:?} of {}", dependency.features, dependency.name));
            }
        }
        if package.features.get("default").is_some_and(|list| list.iter().any(simulates)) {
            found.push(format!("{from} simulates by default"));
        }
    }
    assert_none("the features `sim` and `mutants` outside tests and chaos", &found);
}

#[test]
fn each_crate_is_in_the_codemap() {
    let page = tree::read("ARCHITECTURE.md");
    let root = std::path::absolute(tree::root()).expect("the root is a path");
    let mut found = Vec::new();
    for package in members() {
        let folder = package.manifest_path.parent().expect("a manifest has a folder");
        let name = folder.file_name().unwrap_or_default();
        if *package.name != format!("meridian-{name}") {
            found.push(format!("{folder}: the package is called {}, not meridian-{name}", package.name));
        }
        let is_top = folder.parent().is_some_and(|up| up.as_std_path().join("Cargo.lock").exists());
        let shown = if is_top { name.to_owned() } else { format!("crates/{name}") };
        if !page.contains(&format!("\n### `{shown}`")) {
            found.push(format!("{shown} has no heading in the codemap (root {})", root.display()));
        }
    }
    assert_none("crates that ARCHITECTURE.md does not explain", &found);
}
