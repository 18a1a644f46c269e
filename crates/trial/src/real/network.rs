//! A network namespace for each node, all on one bridge, in which packets can be dropped and delayed. Never touches the machine's
//! own network: the trial itself is in a namespace of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::link::Link;
use super::plan::Cut;
use super::tool;

/// Where routers and clients are.
pub(super) const HERE: &str = "192.0.2.1";

#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
    /// Of each node to the bridge.
    links: Vec<Link>,
}

impl Network {
    /// Refuses to in the machine's own network.
    pub(super) fn make(nodes: usize) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the kernel's list of this namespace's interfaces")]
        let interfaces = std::fs::read_to_string("/proc/self/net/dev")?;
        // Two lines of titles, and the loopback that a new namespace has.
        if interfaces.lines().count() > 3 {
            return Err(io::Error::other("this network has interfaces already: start it in a namespace of its own"));
        }
        for words in [
            "ip link set lo up",
            "mount -t tmpfs tmpfs /run",
            "mkdir -p /run/netns",
            "ip link add bridge type bridge",
            &format!("ip addr add {HERE}/24 dev bridge"),
            "ip link set bridge up",
        ] {
            tool::run(words)?;
        }
        let mut links = Vec::new();
        for (node, (name, address)) in (0..nodes).map(|node| (node, (name(node), address(node)))) {
            tool::run(&format!("ip netns add {name}"))?;
            links.push(Link::make(&format!("to-{name}"), "eth0", &namespace(node))?);
            for words in [
                format!("ip link set to-{name} master bridge up"),
                format!("ip -n {name} addr add {address}/24 dev eth0"),
                format!("ip -n {name} link set eth0 up"),
                format!("ip -n {name} link set lo up"),
            ] {
                tool::run(&words)?;
            }
            nft(node, "add table ip cut")?;
            for chain in ["input", "output"] {
                nft(node, &format!("add chain ip cut {chain} {{ type filter hook {chain} priority 0; }}"))?;
            }
        }
        Ok(Self { nodes, links })
    }

    /// `program` as a command in the namespace of `node`: of the same pid.
    pub(super) fn command(node: usize, program: &Path) -> Command {
        // Not by `ip netns exec`: that makes a mount namespace too, which holds on to the file systems of all nodes.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace(node).display())).arg(program);
        command
    }

    pub(super) fn cut(&self, cut: Cut, node: usize) -> io::Result<()> {
        let peers = (0..self.nodes).filter(|peer| *peer != node);
        match cut {
            Cut::Apart => peers.clone().try_for_each(|peer| drop_all(peer, node).and_then(|()| drop_all(node, peer))),
            Cut::Alone => nft(node, "add rule ip cut input iifname eth0 drop")
                .and_then(|()| nft(node, "add rule ip cut output oifname eth0 drop")),
            Cut::Deaf => peers.clone().try_for_each(|peer| drop_all(peer, node)),
            Cut::Mute => peers.clone().try_for_each(|peer| drop_all(node, peer)),
            Cut::Bridge => {
                let next = (node + 1) % self.nodes;
                drop_all(next, node).and_then(|()| drop_all(node, next))
            }
            Cut::Lossy => nft(node, "add rule ip cut input numgen random mod 5 == 0 drop"),
        }
    }

    /// Whatever a node sends or gets takes so much longer.
    pub(super) fn delay(&self, node: usize, by: Duration) {
        self.links[node].delay(by);
    }

    /// All packets arrive again, and at once.
    pub(super) fn heal(&self) -> io::Result<()> {
        self.links.iter().for_each(|link| link.delay(Duration::ZERO));
        (0..self.nodes).try_for_each(|node| nft(node, "flush table ip cut"))
    }
}

/// The address of a node.
pub(super) fn address(node: usize) -> String {
    format!("192.0.2.{}", 11 + node)
}

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// The file that stands for a node's namespace.
fn namespace(node: usize) -> PathBuf {
    Path::new("/run/netns").join(name(node))
}

/// Nothing that `from` sends arrives at `to`.
fn drop_all(from: usize, to: usize) -> io::Result<()> {
    nft(to, &format!("add rule ip cut input ip saddr {} drop", address(from)))
}

fn nft(node: usize, words: &str) -> io::Result<()> {
    tool::run(&format!("ip netns exec {} nft {words}", name(node)))
}
