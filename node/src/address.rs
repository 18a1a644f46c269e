//! Whether an address is one under which other machines can find a node. What is wrong with it is said before it is told to
//! anybody.

use std::io;
use std::net::IpAddr;

use meridian_env::{Env, deadline};
use meridian_proto::v1;
use meridian_types::{Code, Failure};

use crate::config::{Addresses, Config};

/// Longest wait for a name to be resolved.
const RESOLVE_MAX: std::time::Duration = std::time::Duration::from_secs(5);
/// A host name of 253 bytes and a port.
const ADDRESS_BYTES_MAX: usize = 260;
const REGION_BYTES_MAX: usize = 64;

/// What is wrong with an address, or with a region.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("{0:?} is no HOST:PORT with a port from 1 to 65535")]
    Malformed(String),
    #[error("{0:?} names no host: others would not know where to find this node; advertise its name or IP address")]
    NoHost(String),
    #[error(
        "{0:?} is every address of a machine, and so none that others can call: advertise this node's name or IP address"
    )]
    Unspecified(String),
    #[error("{address:?} cannot be resolved: {error}; advertise a name that the others resolve, or an IP address")]
    Unresolved { address: String, error: io::Error },
    #[error("a region of {} bytes: use 1 to {REGION_BYTES_MAX}, no control characters", .0.len())]
    Region(String),
}

impl From<AddressError> for Failure {
    fn from(error: AddressError) -> Self {
        Self::new(Code::BadRequest, error.to_string())
    }
}

/// Refuses what cannot be anybody's address, whatever the network.
pub(crate) fn check(address: &str) -> Result<(), AddressError> {
    let malformed = || AddressError::Malformed(address.chars().take(ADDRESS_BYTES_MAX).collect());
    let (host, port) = address.rsplit_once(':').filter(|_| address.len() <= ADDRESS_BYTES_MAX).ok_or_else(malformed)?;
    if port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(malformed());
    }
    if host.is_empty() {
        return Err(AddressError::NoHost(address.to_owned()));
    }
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if plain.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(AddressError::Unspecified(address.to_owned()));
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    // An IPv6 address stands in brackets, or nobody could tell its last part from the port.
    let is_v6 = plain.len() < host.len() && plain.parse::<std::net::Ipv6Addr>().is_ok();
    if is_v6 || host.chars().all(is_host) { Ok(()) } else { Err(malformed()) }
}

/// Refuses a region that could not be printed in one line.
pub(crate) fn check_region(region: &str) -> Result<(), AddressError> {
    let fits = (1..=REGION_BYTES_MAX).contains(&region.len()) && !region.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(AddressError::Region(region.to_owned())) }
}

/// This node as it tells others of itself, without an id: its region, and addresses that were checked.
pub(crate) async fn own(env: &Env, config: &Config, listening: &Addresses) -> Result<v1::Node, Failure> {
    check_region(&config.region)?;
    let advertise = &config.advertise;
    let node = v1::Node {
        id: 0,
        region: config.region.clone(),
        data_address: with_port(&advertise.data, &listening.data),
        raft_address: with_port(&advertise.raft, &listening.raft),
        http_address: with_port(&advertise.http, &listening.http),
    };
    for address in [&node.data_address, &node.raft_address, &node.http_address] {
        check(address)?;
        let end = env.clock.now() + RESOLVE_MAX;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer");
        let resolved = deadline(&*env.clock, end, env.net.resolve(address)).await.map_err(late);
        resolved
            .and_then(|found| found)
            .map_err(|error| AddressError::Unresolved { address: address.clone(), error })?;
    }
    Ok(node)
}

/// `advertise`, with the port of `listening` where it has port 0.
fn with_port(advertise: &str, listening: &str) -> String {
    match (advertise.strip_suffix(":0"), listening.rsplit_once(':')) {
        (Some(host), Some((_, port))) => format!("{host}:{port}"),
        _ => advertise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_call_is_refused() {
        for good in ["n1:7172", "10.0.0.1:1", "[::1]:7172", "db-1.example.org:65535", "127.0.0.1:7172", "a_b:1"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let says = |address: &str| check(address).expect_err(address).to_string();
        assert!(says(":7172").starts_with("\":7172\" names no host"));
        for address in ["0.0.0.0:7172", "[::]:7172"] {
            assert!(says(address).contains("is every address of a machine"), "{}", says(address));
        }
        for address in ["", "n1", "n1:", "n1:0", "n1:70000", "n1:x", "::1:7172", "a b:1", "http://n1:7172", "n1/x:1"] {
            assert!(says(address).contains("is no HOST:PORT"), "{}", says(address));
        }
        assert!(says(&format!("{}:1", "a".repeat(300))).contains("is no HOST:PORT"));
        for region in ["", "a\n", &"x".repeat(65)] {
            assert!(check_region(region).is_err());
        }
    }

    #[test]
    fn port_0_is_the_port_that_was_taken() {
        assert_eq!(with_port("n1:0", "0.0.0.0:4711"), "n1:4711");
        assert_eq!(with_port("n1:7172", "0.0.0.0:4711"), "n1:7172");
    }
}
