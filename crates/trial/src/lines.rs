//! Writes over HTTP as line protocol: one connection a request, written by hand, so that nothing is sent again unasked.

use std::fmt::Write as _;

use meridian_env::{Env, deadline};
use meridian_types::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::call::ANSWER_MAX;
use crate::history::Told;
use crate::registers::Violation;
use crate::rows::{DATABASE, MEASUREMENTS, Row};

/// The part of an answer that is read.
const REPLY_BYTES_MAX: u64 = 64 << 10;

/// Lines that nobody can store, whatever was written before.
const BAD: [&str; 5] = [
    "cpu,host=h1",
    "cpu,host=h1 serial=",
    "cpu,host=h1,zone=z1 serial=12x 1760000000000000000",
    "cpu,host=h1 serial=1i tomorrow",
    "cpu,=h1 serial=1i 1760000000000000000",
];

/// What is posted: a line a row, and perhaps one that must be refused.
#[derive(Debug)]
pub(crate) struct Body {
    text: String,
    lines: usize,
    /// The number of the bad line, from 1.
    bad: Option<usize>,
}

impl Body {
    /// One of some rows; every eighth has a bad line among the good ones.
    pub(crate) fn of(rows: &[Row], env: &Env) -> Self {
        let bad = env.rng.chance(0.125).then(|| env.rng.below(rows.len() as u64 + 1) as usize);
        let mut text = String::new();
        for (at, row) in rows.iter().map(Some).chain([None]).enumerate() {
            if bad == Some(at) {
                text.push_str(BAD[env.rng.below(BAD.len() as u64) as usize]);
                text.push('\n');
            }
            row.into_iter().for_each(|row| line(&mut text, row));
        }
        Self { text, lines: rows.len() + usize::from(bad.is_some()), bad: bad.map(|at| at + 1) }
    }
}

/// A row as a line.
fn line(out: &mut String, row: &Row) {
    const TAKES_ALL: &str = "a String takes everything";
    out.push_str(MEASUREMENTS[row.series.measurement()]);
    for (name, value) in row.series.tags() {
        write!(out, ",{name}={value}").expect(TAKES_ALL);
    }
    for (i, (place, value)) in row.values().enumerate() {
        let before = if i == 0 { ' ' } else { ',' };
        write!(out, "{before}{}=", place.field.name()).expect(TAKES_ALL);
        match value {
            Value::F64(v) => write!(out, "{v}").expect(TAKES_ALL),
            Value::I64(v) => write!(out, "{v}i").expect(TAKES_ALL),
            Value::U64(v) => write!(out, "{v}u").expect(TAKES_ALL),
            Value::Bool(v) => write!(out, "{v}").expect(TAKES_ALL),
            Value::Str(v) => {
                let escaped = v.replace('\\', "\\\\").replace('"', "\\\"");
                write!(out, "\"{escaped}\"").expect(TAKES_ALL);
            }
        }
    }
    writeln!(out, " {}", row.time).expect(TAKES_ALL);
}

/// A fresh `Idempotency-Key`: a UUID of version 7.
pub(crate) fn key(env: &Env) -> String {
    let millis = env.clock.wall().nanos().unsigned_abs() / 1_000_000;
    let (fine, nonce) = (env.rng.below(1 << 12), env.rng.u64() >> 2 | 1 << 63);
    let high = millis << 16 | 7 << 12 | fine;
    let hex = format!("{high:016x}{nonce:016x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Posts lines once; what became of the good ones. An error if the bad one was taken for good.
pub(crate) async fn post(env: &Env, http: &str, body: &Body, key: Option<&str>) -> Result<Told, Violation> {
    let until = env.clock.now() + ANSWER_MAX;
    let connecting = env.net.connect(http);
    let Ok(Ok(mut conn)) = deadline(&*env.clock, until, connecting).await else { return Ok(Told::Refused) };
    let key = key.map_or_else(String::new, |key| format!("idempotency-key: {key}\r\n"));
    let head = format!(
        "POST /api/v2/write?bucket={DATABASE}&precision=ns HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\
         content-length: {}\r\n{key}\r\n",
        body.text.len()
    );
    let exchange = async {
        conn.write_all(head.as_bytes()).await?;
        conn.write_all(body.text.as_bytes()).await?;
        let mut reply = Vec::new();
        (&mut conn).take(REPLY_BYTES_MAX).read_to_end(&mut reply).await?;
        std::io::Result::Ok(reply)
    };
    match deadline(&*env.clock, until, exchange).await {
        Ok(Ok(reply)) => told(&reply, body),
        _ => Ok(Told::Unknown),
    }
}

/// By the status of an answer, and what a 400 says: that the bad line was refused, and all others are stored. Another 400 is
/// unexpected, and might have stored some.
fn told(reply: &[u8], body: &Body) -> Result<Told, Violation> {
    match (reply.get(..12).and_then(|line| line.strip_prefix(b"HTTP/1.1 ")), body.bad) {
        (Some(b"204"), None) => Ok(Told::Acked),
        (Some(b"204"), Some(bad)) => {
            Err(Violation::Other(format!("line {bad} of a body is no line, and all was acknowledged: {}", body.text)))
        }
        (Some(b"400"), Some(bad)) => {
            let says = |part: &str| reply.windows(part.len()).any(|window| window == part.as_bytes());
            let stored = format!("E0002: 1 of {} lines was refused and {} are stored", body.lines, body.lines - 1);
            let is_exact = says(&stored) && says(&format!("\"lines\":[{{\"line\":{bad},"));
            Ok(if is_exact { Told::Acked } else { Told::Unknown })
        }
        (Some(b"429" | b"503" | b"404" | b"413"), _) => Ok(Told::Refused),
        _ => Ok(Told::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Field, Series};

    #[test]
    fn a_row_is_one_line() {
        let mut out = String::new();
        line(&mut out, &Row::new(2, Series(4), 77, Field::ALL));
        let unsigned = u64::MAX - 2;
        let expected = format!(
            "cpu,host=h4,zone=z1 serial=2i,unsigned={unsigned}u,level=2.5,flag=true,text=\"of \\\"2\\\", \\\\ é ==\" 77\n"
        );
        assert_eq!(out, expected);
    }

    #[test]
    fn only_what_is_said_clearly_is_believed() {
        let body = |bad| Body { text: String::new(), lines: 3, bad };
        let good = |reply| told(reply, &body(None)).expect("it has no bad line");
        assert_eq!(good(b"HTTP/1.1 204 No Content\r\n\r\n"), Told::Acked);
        assert_eq!(good(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), Told::Refused);
        for unclear in [&b"HTTP/1.1 504 Gateway Timeout\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 2", b""] {
            assert_eq!(good(unclear), Told::Unknown);
        }
        let reply = b"HTTP/1.1 400 Bad Request\r\n\r\n{\"code\":\"invalid\",\"message\":\"E0002: 1 of 3 lines was refused and 2 are \
            stored; the first is line 2: why\",\"lines\":[{\"line\":2,\"reason\":\"why\"}]}";
        assert_eq!(told(reply, &body(Some(2))), Ok(Told::Acked));
        assert_eq!(told(reply, &body(Some(3))), Ok(Told::Unknown), "another line than the bad one");
        assert!(told(b"HTTP/1.1 204 No Content\r\n\r\n", &body(Some(1))).is_err(), "nothing of it was refused");
    }
}
