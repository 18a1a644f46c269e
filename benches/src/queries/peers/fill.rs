//! How the rows get into the peers: as lines into servers, as a file into engines; both count what they hold.
//!
//! Never installs an engine: one that is not there is skipped, with the command that brings it.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use meridian_env::Env;
use meridian_types::{TimeRange, Timestamp};

use super::peer::Peer;
use super::python::Python;
use super::{PeersError, sql, values};
use crate::compare::figures::Skipped;
use crate::compare::install;
use crate::drive::{Way, drive};
use crate::feed::Round;
use crate::generate::{INTERVAL_NANOS, Shape, Walk};
use crate::load::{LoadError, Mode, line_batches};
use crate::servers::{Product, Server};
use crate::source::CPU;

/// Lines of one POST.
const LINES: u32 = 10_000;
const WAY: Way = Way { mode: Mode::Lines, concurrency: 8, rate: None };

/// The servers that are installed, filled with lines, which each has counted.
pub(crate) async fn servers(
    env: &Env,
    programs: &[(Product, PathBuf)],
    parent: &Path,
    shape: &Shape,
    range: TimeRange,
) -> Result<Vec<Peer>, PeersError> {
    if programs.is_empty() {
        return Ok(Vec::new());
    }
    let batches = line_batches(&Shape { rows_per_batch: LINES, ..shape.clone() }, range.start(), INTERVAL_NANOS)?;
    let round = Round { batches, range, points: shape.points };
    let mut peers = Vec::new();
    for (product, program) in programs {
        let mut server = Server::start(env, *product, program, parent).await?;
        drive(env, &server, WAY, shape, &round).await?;
        server.close().await?;
        let bytes = server.stored()?.data;
        peers.push(Peer::server(env, server, install::version(*product, program), bytes).await?);
    }
    Ok(peers)
}

/// The engines that this Python has, filled from a file of the rows, which each has counted. The others are skipped.
pub(crate) async fn engines(
    env: &Env,
    program: &Path,
    dir: &Path,
    shape: &Shape,
    start: Timestamp,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<Peer>, PeersError> {
    let mut started = Vec::new();
    for engine in sql::ENGINES {
        let name = engine.name();
        let python = Python::start(env, program, name, dir).await;
        match python.map_err(|why| PeersError::Engine(name, why))? {
            Some(python) => started.push((engine, python)),
            None => skipped.push(Skipped { name, remedy: engine.remedy().to_owned() }),
        }
    }
    if started.is_empty() {
        return Ok(Vec::new());
    }
    let tags = write_rows(&dir.join(sql::CSV), shape, start)?;
    let (mut peers, count) = (Vec::new(), format!("SELECT {} FROM {CPU}", values("count", 1)));
    for (engine, mut python) in started {
        let name = engine.name();
        let failed = |why| PeersError::Engine(name, why);
        for statement in engine.load(&tags) {
            python.run(env, &statement).await.map_err(failed)?;
        }
        let (_, counted) = python.ask(env, &count, false).await.map_err(failed)?;
        if counted.sum != shape.rows() as f64 {
            return Err(PeersError::Miscounted { name, sent: shape.rows(), found: counted.sum });
        }
        let mut bytes = None;
        if let Some((make, ask, remove)) = engine.small(&tags) {
            for statement in make {
                python.run(env, &statement).await.map_err(failed)?;
            }
            bytes = Some(python.ask(env, &ask, false).await.map_err(failed)?.1.sum as u64);
            python.run(env, &remove).await.map_err(failed)?;
        }
        peers.push(Peer::sql(engine, python, bytes));
    }
    Ok(peers)
}

/// Writes all rows as CSV, and gives the names of their tags. On this thread: nothing is under way that waits for it.
fn write_rows(path: &Path, shape: &Shape, start: Timestamp) -> Result<Vec<&'static str>, PeersError> {
    let walk = || Walk::new(shape, start, INTERVAL_NANOS).map_err(LoadError::from);
    let (mut first, rows) = (walk()?, walk()?);
    let (host, _) = first.next_row().expect("a shape has a row");
    let tags = host.tags.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let head = format!("time,{},{}", tags.join(","), shape.field_names().join(","));
    write_csv(path, &head, rows).map_err(|why| PeersError::Files { path: path.to_owned(), why })?;
    Ok(tags)
}

fn write_csv(path: &Path, head: &str, mut rows: Walk) -> std::io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a file for other programs, not one of the database")]
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    writeln!(out, "{head}")?;
    while let Some((host, time)) = rows.next_row() {
        write!(out, "{}", time.nanos() / 1_000_000_000)?;
        host.tags.iter().try_for_each(|(_, value)| write!(out, ",{value}"))?;
        host.values.iter().try_for_each(|value| write!(out, ",{value}"))?;
        writeln!(out)?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::kinds::HOUR_NANOS;
    use crate::source::Source;

    #[test]
    fn engines_read_the_rows_from_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(sql::CSV);
        let shape = Shape { source: Source::Cpu, series: 2, fields: 10, rows_per_batch: 1, points: 60, seed: 1 };
        let start = Timestamp::new(HOUR_NANOS).expect("in range");
        let tags = write_rows(&path, &shape, start).expect("a disk");
        assert_eq!((tags[0], tags[9]), ("hostname", "service_environment"));
        #[expect(clippy::disallowed_methods, reason = "looks at a file for other programs")]
        let text = std::fs::read_to_string(&path).expect("it is there");
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("time,hostname,region,") && lines[0].ends_with(",usage_guest,usage_guest_nice"));
        assert_eq!(lines.len(), 7);
        assert!(lines[1].starts_with("3600,host_0,") && lines[4].starts_with("3610,host_1,"));
        assert!(lines.iter().all(|line| line.split(',').count() == 21));
    }
}
