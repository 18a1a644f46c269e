//! What can be started and how: the words for each product, and none of its figures.
//!
//! Never starts anything itself, and never names a port that somebody may use: addresses are handed in.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A database that takes line protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Product {
    /// A whole cluster: `meridian dev`.
    #[value(skip)]
    Meridian,
    /// One server of VictoriaMetrics.
    VictoriaMetrics,
    /// One server of InfluxDB 1.x.
    #[value(name = "influxdb")]
    InfluxDb,
}

/// What Meridian is compared with.
pub(crate) const PEERS: [Product; 2] = [Product::VictoriaMetrics, Product::InfluxDb];

/// Where a server is to live.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// All that it writes.
    pub(crate) data: PathBuf,
    /// Where it speaks HTTP.
    pub(crate) http: String,
    /// Where it speaks its other protocol, if it has one that cannot be left out.
    pub(crate) other: String,
}

impl Product {
    /// As its makers write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meridian => "Meridian",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::InfluxDb => "InfluxDB",
        }
    }

    /// What its promise costs, for the reader of a comparison.
    pub(crate) fn acknowledges(self) -> &'static str {
        match self {
            Self::Meridian => "three copies, acknowledged after fsync on a majority",
            Self::VictoriaMetrics => "one copy, acknowledged from memory",
            Self::InfluxDb => "one copy, acknowledged after fsync of its log",
        }
    }

    /// How many times it keeps each point.
    pub(crate) fn copies(self) -> u64 {
        if self == Self::Meridian { 3 } else { 1 }
    }

    /// Debian's package of it.
    pub(crate) fn package(self) -> Option<&'static str> {
        match self {
            Self::Meridian => None,
            Self::VictoriaMetrics => Some("victoria-metrics"),
            Self::InfluxDb => Some("influxdb"),
        }
    }

    /// The program, if it is among `folders`.
    pub(crate) fn find(self, folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
        folders.map(|folder| folder.join(self.program())).find(|path| path.is_file())
    }

    /// The file name of its program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Meridian => "meridian",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::InfluxDb => "influxd",
        }
    }

    /// The command that says which version it is.
    pub(crate) fn asks_version(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(match self {
            Self::Meridian => "--version",
            Self::VictoriaMetrics => "-version",
            Self::InfluxDb => "version",
        });
        command
    }

    /// The command that serves at `place` until it is ended.
    pub(crate) fn serves(self, program: &Path, place: &Place) -> Command {
        let mut command = Command::new(program);
        // What is set for other servers must not reach this one.
        for (name, _) in std::env::vars_os() {
            if ["MERIDIAN_", "INFLUXDB_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        let data = place.data.display();
        match self {
            Self::Meridian => {
                command.arg("dev").arg(format!("--data={data}"));
                command.arg(format!("--http={}", place.http)).arg(format!("--grpc={}", place.other));
            }
            Self::VictoriaMetrics => {
                command.arg(format!("-storageDataPath={data}")).arg(format!("-httpListenAddr={}", place.http));
                // A month, its default, would drop the older rows of a long walk. The longest count covers all points of
                // a run.
                command.args(["-retentionPeriod=100y", "-search.maxQueryDuration=10m"]);
                command.args(["-search.maxUniqueTimeseries=20000000", "-search.latencyOffset=1ms"]);
            }
            Self::InfluxDb => influx(&mut command, place),
        }
        command
    }

    /// What answers with 200 or 204 once it takes writes.
    pub(crate) fn ready_path(self) -> &'static str {
        match self {
            Self::Meridian => "/ready",
            Self::VictoriaMetrics => "/health",
            Self::InfluxDb => "/ping",
        }
    }

    /// Whether a file of its data, by its path within it, belongs to a log that goes once all is in its place.
    pub(crate) fn is_log(self, path: &Path) -> bool {
        let folder = match self {
            Self::Meridian => "log",
            Self::VictoriaMetrics => return false,
            Self::InfluxDb => "wal",
        };
        path.parent().is_some_and(|parents| parents.iter().any(|part| part == folder))
    }
}

fn influx(command: &mut Command, place: &Place) {
    // Defaults, and not what an installation has in /etc.
    command.args(["run", "-config", "/dev/null"]);
    command.env("INFLUXDB_REPORTING_DISABLED", "true").env("INFLUXDB_HTTP_LOG_ENABLED", "false");
    command.env("INFLUXDB_HTTP_BIND_ADDRESS", &place.http).env("INFLUXDB_BIND_ADDRESS", &place.other);
    for (variable, folder) in [("META_DIR", "meta"), ("DATA_DIR", "data"), ("DATA_WAL_DIR", "wal")] {
        command.env(format!("INFLUXDB_{variable}"), place.data.join(folder));
    }
    // It has no call that flushes or merges. A shard that is not written to does both by itself, after ten minutes and
    // four hours: both are brought near, so that a settle sees them.
    command.env("INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION", "1s");
    command.env("INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION", "2s");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_from_the_data() {
        assert!(Product::Meridian.is_log(Path::new("n1/log/00000001.seg")));
        assert!(!Product::Meridian.is_log(Path::new("n1/shards/s2/blocks/1.block")));
        assert!(Product::InfluxDb.is_log(Path::new("wal/bench/autogen/2/_00001.wal")));
        assert!(!Product::InfluxDb.is_log(Path::new("data/bench/autogen/2/1.tsm")));
        assert!(!Product::VictoriaMetrics.is_log(Path::new("data/small/2026_11/log")));
    }

    #[test]
    fn every_address_of_a_server_is_the_one_that_was_handed_in() {
        let place = Place { data: "/d".into(), http: "127.0.0.1:1".into(), other: "127.0.0.1:2".into() };
        for product in [Product::Meridian, Product::VictoriaMetrics, Product::InfluxDb] {
            let command = format!("{:?}", product.serves(Path::new("/p"), &place));
            assert!(command.contains("127.0.0.1:1"), "{command}");
            assert!(product == Product::VictoriaMetrics || command.contains("127.0.0.1:2"), "{command}");
        }
    }
}
