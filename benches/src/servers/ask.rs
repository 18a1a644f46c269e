//! HTTP questions to a server, and the answers that are counts.
//!
//! Never takes an answer for a count that is not one whole number for sure: a figure stands on it.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use meridian_env::{Env, deadline};
use serde_json::Value;

/// A count reads every point of a run.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// Rows as JSON take hundreds of bytes each.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct AskError {
    what: String,
    why: String,
}

/// A connection for one question after the other.
#[derive(Debug)]
pub(crate) struct Talk {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Talk {
    /// Connects to the server at `address`.
    pub(crate) async fn open(env: &Env, address: &str) -> Result<Self, AskError> {
        let failed = |why: String| AskError { what: format!("http://{address}"), why };
        let conn = env.net.connect(address).await.map_err(|error| failed(error.to_string()))?;
        let (sender, driver) = handshake(TokioIo::new(conn)).await.map_err(|error| failed(error.to_string()))?;
        tokio::spawn(async move { drop(driver.await) });
        Ok(Self { address: address.to_owned(), sender })
    }

    /// Connects again if the server has closed it, as some do after a while.
    pub(crate) async fn ready(&mut self, env: &Env) -> Result<(), AskError> {
        if self.sender.ready().await.is_err() {
            *self = Self::open(env, &self.address).await?;
        }
        Ok(())
    }

    /// What the server answers, whatever its status.
    pub(crate) async fn ask(&mut self, env: &Env, method: Method, path: &str) -> Result<(StatusCode, Bytes), AskError> {
        let (address, sender) = (&*self.address, &mut self.sender);
        let failed = |why: String| AskError { what: format!("{method} http://{address}{path}"), why };
        let asking = async {
            let request = Request::builder().method(method.clone()).uri(path).header("host", address);
            let request = request.body(Full::new(Bytes::new())).map_err(|error| failed(error.to_string()))?;
            let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| failed(error.to_string()))?.to_bytes()))
        };
        let end = env.clock.now() + ANSWER_MAX;
        deadline(&*env.clock, end, asking).await.map_err(|_| failed("no answer".into()))?
    }
}

/// What the server at `address` answers, whatever its status.
pub(crate) async fn ask(
    env: &Env,
    address: &str,
    method: Method,
    path: &str,
) -> Result<(StatusCode, String), AskError> {
    let (status, body) = Talk::open(env, address).await?.ask(env, method, path).await?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The same, where anything but 200 and 204 is a failure.
pub(crate) async fn demand(env: &Env, address: &str, method: Method, path: &str) -> Result<String, AskError> {
    match ask(env, address, method, path).await? {
        (StatusCode::OK | StatusCode::NO_CONTENT, text) => Ok(text),
        (status, text) => Err(AskError { what: format!("http://{address}{path}"), why: format!("{status}: {text}") }),
    }
}

/// A path with its parameters, escaped.
pub(crate) fn path(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut out = path.to_owned();
    for (i, (name, value)) in parameters.iter().enumerate() {
        out.push_str(if i == 0 { "?" } else { "&" });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                write!(out, "%{byte:02X}").expect("a String takes everything");
            }
        }
    }
    out
}

/// The count in Prometheus' answer to an instant query of one sum; no series is none.
pub(crate) fn prometheus_count(answer: &str) -> Result<u64, AskError> {
    let wrong = || AskError { what: "a count was asked for".into(), why: format!("this came: {}", head(answer)) };
    let answer: Value = serde_json::from_str(answer).map_err(|_| wrong())?;
    match answer["data"]["result"].as_array().map(Vec::as_slice) {
        Some([]) if answer["status"] == "success" => Ok(0),
        Some([one]) => whole(one["value"][1].as_str().and_then(|text| text.parse().ok())).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// The sum of the counts in InfluxDB's answer to `SELECT count(*)`; no series is none.
pub(crate) fn influx_count(answer: &str) -> Result<u64, AskError> {
    let wrong = || AskError { what: "a count was asked for".into(), why: format!("this came: {}", head(answer)) };
    let answer: Value = serde_json::from_str(answer).map_err(|_| wrong())?;
    let [result] = answer["results"].as_array().map(Vec::as_slice).unwrap_or_default() else { return Err(wrong()) };
    if result.get("error").is_some() {
        return Err(wrong());
    }
    let Some(series) = result.get("series") else { return Ok(0) };
    let [row] = series[0]["values"].as_array().map(Vec::as_slice).unwrap_or_default() else { return Err(wrong()) };
    let counts = row.as_array().map(|row| row.iter().skip(1)).into_iter().flatten();
    counts.map(Value::as_u64).sum::<Option<u64>>().ok_or_else(wrong)
}

fn whole(number: Option<f64>) -> Option<u64> {
    // Every whole number up to here is a float of its own.
    number.filter(|n| (0.0..9e15).contains(n) && n.fract() == 0.0).map(|n| n as u64)
}

fn head(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_escaped() {
        let path = path("/query", &[("db", "a_b"), ("q", "count(*) > \"x\"")]);
        assert_eq!(path, "/query?db=a_b&q=count%28%2A%29%20%3E%20%22x%22");
    }

    #[test]
    fn counts_of_prometheus() {
        let answer =
            |result: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":{result}}}}}"#);
        let one = |value: &str| answer(&format!(r#"[{{"metric":{{}},"value":[1,"{value}"]}}]"#));
        assert_eq!(prometheus_count(&one("4000000")).ok(), Some(4_000_000));
        assert_eq!(prometheus_count(&one("1.5e3")).ok(), Some(1_500));
        assert_eq!(prometheus_count(&answer("[]")).ok(), Some(0));
        for bad in [one("1.5"), one("NaN"), one("-1"), "".into(), r#"{"status":"error"}"#.into()] {
            assert!(prometheus_count(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_of_influx() {
        let answer = |inner: &str| format!(r#"{{"results":[{{"statement_id":0{inner}}}]}}"#);
        let series =
            |values: &str| answer(&format!(r#","series":[{{"name":"cpu","columns":["time"],"values":{values}}}]"#));
        assert_eq!(influx_count(&series(r#"[["t",20,22]]"#)).ok(), Some(42));
        assert_eq!(influx_count(&answer("")).ok(), Some(0));
        for bad in
            [answer(r#","error":"timeout""#), series(r#"[["t",1],["t",2]]"#), series(r#"[["t",1.5]]"#), "x".into()]
        {
            assert!(influx_count(&bad).is_err(), "{bad}");
        }
    }
}
