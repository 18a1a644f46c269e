//! Which peers are on this machine, which versions, and what the machine is; and how a peer that is missing comes here.
//!
//! Never installs anything without being told to.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::CompareError;
use super::figures::Skipped;
use crate::servers::Product;

/// What is there and what is not.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) there: Vec<(Product, PathBuf)>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Looks for `peers`, and installs what is missing if `install`.
pub(crate) fn find(peers: &[Product], install: bool) -> Result<Found, CompareError> {
    let mut found = Found { there: Vec::new(), skipped: Vec::new() };
    for &product in peers {
        let Some(package) = product.package() else { continue };
        if install && product.find(folders()).is_none() {
            apt_get(package)?;
        }
        match product.find(folders()) {
            Some(program) => found.there.push((product, program)),
            None => found.skipped.push(Skipped { name: product.name(), remedy: format!("apt-get install {package}") }),
        }
    }
    Ok(found)
}

/// What the program says of itself, or else what its package is.
pub(crate) fn version(product: Product, program: &Path) -> String {
    let own = said(product.asks_version(program));
    let packaged = || product.package().and_then(|package| said_of_package(package).map(|v| format!("package {v}")));
    own.or_else(packaged).unwrap_or_else(|| "of no version that it tells".to_owned())
}

fn said_of_package(package: &str) -> Option<String> {
    let mut command = Command::new("dpkg-query");
    command.args(["-W", "-f", "${Version}", package]);
    said(command)
}

/// The first line that a command prints, if it prints one and is content.
fn said(mut command: Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    said.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// The processor, and how much of it this process may use.
pub(crate) fn machine() -> String {
    #[expect(clippy::disallowed_methods, reason = "files of /proc have no size, so Env's disk cannot read them")]
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{cores} cores, {}", model(&text))
}

fn model(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    line.and_then(|line| line.split_once(':')).map_or("of a kind that is not told", |(_, model)| model.trim())
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's places of servers, which are not on every user's path.
    let more = ["/usr/bin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).collect::<Vec<_>>().into_iter()
}

fn apt_get(package: &'static str) -> Result<(), CompareError> {
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", package]] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        let output = command.output().map_err(|error| CompareError::Install(package, error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(CompareError::Install(package, said));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_missing_is_named_with_its_package() {
        let nowhere = Product::InfluxDb.find(std::iter::once(PathBuf::from("/nonexistent")));
        assert_eq!(nowhere, None);
        assert_eq!(Product::InfluxDb.package(), Some("influxdb"));
    }

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(model("processor: 0\nmodel name\t: Fast (R) 3\nflags: a\n"), "Fast (R) 3");
        assert_eq!(model(""), "of a kind that is not told");
    }
}
