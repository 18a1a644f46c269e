//! The end of a trial: everything is read back through every front, and judged.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use meridian_client::connect;
use meridian_env::{Env, Instant};
use meridian_types::{Failure, Value};
use tonic::transport::Channel;

use crate::call;
use crate::registers::{Broken, Read, Registers, Scope, Violation};
use crate::rows::{Field, MEASUREMENTS, Place, Series};

/// Values of one question: answers stay far below the deadline of a query.
const VALUES: usize = 50_000;
const POLL: Duration = Duration::from_millis(200);

/// What was read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Values, through each front.
    pub values: u64,
    /// Questions, through each front.
    pub questions: usize,
}

type Seen = BTreeMap<Place, Value>;

/// Reads everything through each of `fronts` (`host:port` of their gRPC): all answers must be what was promised, and alike,
/// and their counts those of their rows. Call it when all clients have ended; `until` bounds the wait for a cluster that does
/// not answer, or where something is still under way. `keep` gets each answer before it is judged.
pub async fn verify(
    env: &Env,
    fronts: &[String],
    registers: &Registers,
    until: Instant,
    mut keep: impl FnMut(&Read) -> io::Result<()>,
) -> Result<Checked, Broken> {
    let channels: Vec<Channel> = fronts.iter().map(|front| connect(env, front)).collect();
    let mut checked = Checked { values: 0, questions: 0 };
    for range in registers.ranges(VALUES) {
        for measurement in 0..MEASUREMENTS.len() {
            let scope = Scope { measurement, series: None, range };
            let seen = settled(env, &channels, scope, until).await?;
            checked.values += seen.len() as u64;
            checked.questions += 1;
            let read = Read::at_the_end(scope, seen);
            keep(&read)?;
            registers.check(&read)?;
        }
    }
    Ok(checked)
}

/// What all fronts answer alike.
async fn settled(env: &Env, channels: &[Channel], scope: Scope, until: Instant) -> Result<Seen, Broken> {
    loop {
        let why = match round(env, channels, scope).await {
            Ok(Ok(seen)) => return Ok(seen),
            // A write of unknown outcome may come in between two answers; but not for ever.
            Ok(Err(unlike)) => Broken::Safety(unlike),
            Err(failure) => Broken::Liveness(format!("a query is not answered: {}: {failure}", failure.code)),
        };
        if env.clock.now() > until {
            return Err(why);
        }
        env.clock.sleep(POLL).await;
    }
}

/// One answer of each front, and its count. The outer failure is of a call.
async fn round(env: &Env, channels: &[Channel], scope: Scope) -> Result<Result<Seen, Violation>, Failure> {
    let mut first: Option<Seen> = None;
    for channel in channels {
        let counted = match call::count(env, channel.clone(), scope).await? {
            Ok(counted) => counted,
            Err(foreign) => return Ok(Err(foreign)),
        };
        let seen = match call::read(env, channel.clone(), scope).await? {
            Ok(seen) => seen,
            Err(foreign) => return Ok(Err(foreign)),
        };
        let unlike = miscount(&seen, &counted).or_else(|| difference(first.as_ref()?, &seen));
        if let Some(unlike) = unlike {
            return Ok(Err(unlike));
        }
        first.get_or_insert(seen);
    }
    Ok(Ok(first.unwrap_or_default()))
}

/// The first series and field whose count is not that of its rows.
fn miscount(seen: &Seen, counted: &BTreeMap<(Series, Field), u64>) -> Option<Violation> {
    let mut read: BTreeMap<(Series, Field), u64> = BTreeMap::new();
    for place in seen.keys() {
        *read.entry((place.series, place.field)).or_default() += 1;
    }
    let of = |counts: &BTreeMap<_, _>, key| counts.get(key).copied().unwrap_or(0);
    let keys = read.keys().chain(counted.keys());
    let key = keys.into_iter().find(|key| of(&read, key) != of(counted, key))?;
    let (series, field) = *key;
    Some(Violation::Miscounted { series, field, counted: of(counted, key), read: of(&read, key) })
}

/// The first place where two answers differ.
fn difference(one: &Seen, other: &Seen) -> Option<Violation> {
    let place = one.keys().chain(other.keys()).find(|place| one.get(place) != other.get(place))?;
    Some(Violation::Unlike(*place, one.get(place).cloned(), other.get(place).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(series: u32, field: Field) -> Place {
        Place { series: Series(series), time: 1, field }
    }

    #[test]
    fn a_count_that_is_not_that_of_the_rows_is_found() {
        let seen = Seen::from([(place(1, Field::Serial), Value::I64(1))]);
        let counted = |n| BTreeMap::from([((Series(1), Field::Serial), n)]);
        assert_eq!(miscount(&seen, &counted(1)), None);
        for n in [0, 2] {
            let found = miscount(&seen, &counted(n));
            assert!(matches!(found, Some(Violation::Miscounted { read: 1, counted, .. }) if counted == n));
        }
        assert!(miscount(&Seen::new(), &counted(1)).is_some());
        assert!(miscount(&seen, &BTreeMap::new()).is_some());
    }

    #[test]
    fn two_fronts_that_differ_are_found() {
        let seen = |value: i64| Seen::from([(place(1, Field::Serial), Value::I64(value))]);
        assert_eq!(difference(&seen(1), &seen(1)), None);
        assert!(difference(&seen(1), &seen(2)).is_some());
        assert!(difference(&seen(1), &Seen::new()).is_some());
        assert!(difference(&Seen::new(), &seen(1)).is_some());
    }
}
