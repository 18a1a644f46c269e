//! Writes over HTTP as line protocol: one connection a request, written by hand, so that nothing is sent again unasked.

use std::fmt::Write as _;

use meridian_env::{Env, deadline};
use meridian_types::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::call::ANSWER_MAX;
use crate::history::Told;
use crate::rows::{DATABASE, MEASUREMENTS, Row};

/// The part of an answer that is read.
const REPLY_BYTES_MAX: u64 = 64 << 10;

/// A row as a line.
pub(crate) fn line(out: &mut String, row: &Row) {
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

/// Posts lines once; what it came to.
pub(crate) async fn post(env: &Env, http: &str, body: &str, key: Option<&str>) -> Told {
    let until = env.clock.now() + ANSWER_MAX;
    let connecting = env.net.connect(http);
    let Ok(Ok(mut conn)) = deadline(&*env.clock, until, connecting).await else { return Told::Refused };
    let key = key.map_or_else(String::new, |key| format!("idempotency-key: {key}\r\n"));
    let head = format!(
        "POST /api/v2/write?bucket={DATABASE}&precision=ns HTTP/1.1\r\nhost: {http}\r\nconnection: close\r\n\
         content-length: {}\r\n{key}\r\n",
        body.len()
    );
    let exchange = async {
        conn.write_all(head.as_bytes()).await?;
        conn.write_all(body.as_bytes()).await?;
        let mut reply = Vec::new();
        (&mut conn).take(REPLY_BYTES_MAX).read_to_end(&mut reply).await?;
        std::io::Result::Ok(reply)
    };
    match deadline(&*env.clock, until, exchange).await {
        Ok(Ok(reply)) => told(&reply),
        _ => Told::Unknown,
    }
}

/// By the status line of an answer. All lines of a trial are good, so that a 400 is unexpected and might have stored some.
fn told(reply: &[u8]) -> Told {
    match reply.get(..12).and_then(|line| line.strip_prefix(b"HTTP/1.1 ")) {
        Some(b"204") => Told::Acked,
        Some(b"429" | b"503" | b"404" | b"413") => Told::Refused,
        _ => Told::Unknown,
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
        assert_eq!(told(b"HTTP/1.1 204 No Content\r\n\r\n"), Told::Acked);
        assert_eq!(told(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), Told::Refused);
        for unclear in [&b"HTTP/1.1 504 Gateway Timeout\r\n"[..], b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 2", b""] {
            assert_eq!(told(unclear), Told::Unknown);
        }
    }
}
