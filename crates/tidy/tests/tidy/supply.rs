//! Licences, sources, banned crates and minimum versions, over everything that is built. `deny.toml` is the data; it is
//! also what `cargo deny check` reads, for those who have it.

use cargo_metadata::semver::{Version, VersionReq};
use cargo_metadata::{MetadataCommand, Package};
use toml::{Table, Value};

use crate::{assert_none, tree};

/// All packages of the lock file that are built on this platform.
fn packages() -> Vec<Package> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--offline", "--locked", "--filter-platform", &platform].map(str::to_owned);
    let mut command = MetadataCommand::new();
    command.manifest_path(tree::root().join("Cargo.toml")).other_options(options);
    let metadata = command.exec().expect("cargo metadata of everything");
    let built: std::collections::BTreeSet<_> =
        metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| node.id.clone()).collect();
    metadata.packages.into_iter().filter(|package| built.contains(&package.id)).collect()
}

fn rules() -> Table {
    tree::read("deny.toml").parse().expect("deny.toml is TOML")
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|item| item.as_str().expect("a string")).collect()
}

/// Whether an SPDX expression can be met with the allowed licences. The old `/` means OR.
fn met(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    either(&tokens, &mut at, allowed) && at == tokens.len()
}

fn either(tokens: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = both(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(tokens, at, allowed);
    }
    met
}

fn both(tokens: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(tokens, at, allowed);
    }
    met
}

fn one(tokens: &[&str], at: &mut usize, allowed: &[&str]) -> bool {
    let token = tokens.get(*at).copied().unwrap_or_default();
    *at += 1;
    if token == "(" {
        let met = either(tokens, at, allowed);
        *at += 1;
        return met;
    }
    if tokens.get(*at) == Some(&"WITH") {
        let exception = tokens.get(*at + 1).copied().unwrap_or_default();
        *at += 2;
        return allowed.contains(&format!("{token} WITH {exception}").as_str());
    }
    allowed.contains(&token)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "BSD-3-Clause", "Apache-2.0 WITH LLVM-exception"];
    for good in ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR MIT) AND BSD-3-Clause"] {
        assert!(met(good, &allowed), "{good}");
    }
    assert!(met("Apache-2.0 WITH LLVM-exception OR GPL-3.0", &allowed));
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "MIT OR", "(MIT", "MIT MIT"] {
        assert!(!met(bad, &allowed), "{bad}");
    }
}

/// Whether a ban, `name` or `name:requirement`, is about this version.
fn banned(ban: &str, name: &str, version: &Version) -> bool {
    match ban.split_once(':') {
        None => ban == name,
        Some((of, range)) => {
            let range = VersionReq::parse(range).unwrap_or_else(|e| panic!("deny.toml: {ban}: {e}"));
            of == name && range.matches(version)
        }
    }
}

#[test]
fn bans_are_understood() {
    let version = |text: &str| Version::parse(text).expect("a version");
    assert!(banned("h2:<0.4.16", "h2", &version("0.4.15")));
    assert!(!banned("h2:<0.4.16", "h2", &version("0.4.16")));
    assert!(banned("openssl", "openssl", &version("1.0.0")) && !banned("openssl", "h2", &version("1.0.0")));
}

#[test]
fn what_is_built_is_allowed() {
    let rules = rules();
    let licences = strings(&rules["licenses"]["allow"]);
    let bans = rules["bans"]["deny"].as_array().expect("a list of bans");
    let mut found = Vec::new();
    for package in packages() {
        let name = format!("{} {}", package.name, package.version);
        if !package.license.as_deref().is_some_and(|expression| met(expression, &licences)) {
            found.push(format!("{name}: licence {:?}", package.license));
        }
        let is_ours = package.source.is_none() && package.name.starts_with("meridian-");
        if !is_ours && !package.source.as_ref().is_some_and(cargo_metadata::Source::is_crates_io) {
            found.push(format!("{name}: from {:?}, not from crates.io", package.source));
        }
        for ban in bans {
            let (of, reason) = (ban["crate"].as_str(), ban["reason"].as_str());
            let (of, reason) = (of.expect("a ban names a crate"), reason.expect("a ban has a reason"));
            if banned(of, &package.name, &package.version) {
                found.push(format!("{name}: {reason}"));
            }
        }
    }
    assert_none("deny.toml does not allow", &found);
}
