//! A network namespace for each node, all on one bridge, in which packets can be dropped. Never touches the machine's own
//! network: the trial itself is in a namespace of its own.

use std::io;
use std::process::Command;

use super::plan::Cut;
use super::tool;

/// Where routers and clients are.
pub(super) const HERE: &str = "192.0.2.1";

#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
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
        for (node, (name, address)) in (0..nodes).map(|node| (node, (name(node), address(node)))) {
            for words in [
                format!("ip netns add {name}"),
                format!("ip link add to-{name} type veth peer name eth0 netns {name}"),
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
        Ok(Self { nodes })
    }

    /// `program` as a command in the namespace of `node`: of the same pid.
    pub(super) fn command(node: usize, program: &std::path::Path) -> Command {
        // Not by `ip netns exec`: that makes a mount namespace too, which holds on to the file systems of all nodes.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", name(node))).arg(program);
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

    /// All packets arrive again.
    pub(super) fn heal(&self) -> io::Result<()> {
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

/// Nothing that `from` sends arrives at `to`.
fn drop_all(from: usize, to: usize) -> io::Result<()> {
    nft(to, &format!("add rule ip cut input ip saddr {} drop", address(from)))
}

fn nft(node: usize, words: &str) -> io::Result<()> {
    tool::run(&format!("ip netns exec {} nft {words}", name(node)))
}
