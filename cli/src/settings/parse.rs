//! Text of a setting into its value, or why not.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use meridian_types::parse_duration;

/// Any text but none.
pub(crate) fn text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it must not be empty".into()) } else { Ok(text.to_owned()) }
}

/// Where a file or a directory is.
pub(crate) fn path(path: &str) -> Result<PathBuf, String> {
    text(path).map(PathBuf::from)
}

/// `true` or `false`.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "use true or false".to_owned())
}

/// A span of time of more than nothing.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(span) if span.nanos() > 0 => Ok(Duration::from_nanos(span.nanos().unsigned_abs())),
        Ok(_) => Err("it must be above zero".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A number of bytes above zero: alone, or with one of the units that are powers of 1,024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err("use a whole number of bytes, or one with KiB, MiB, GiB or TiB, such as 64MiB".into()),
    };
    let number: u64 = number.parse().map_err(|_| "use a whole number, such as 64MiB".to_owned())?;
    let bytes = number.checked_mul(1 << shift).ok_or("it is beyond any machine")?;
    if bytes == 0 { Err("it must be above zero".into()) } else { Ok(bytes) }
}

/// `HOST:PORT`; port 0 is for listening only.
pub(crate) fn address(address: &str) -> Result<String, String> {
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return Err("use HOST:PORT with a port from 0 to 65535, as in 127.0.0.1:8086".into());
    }
    Ok(address.to_owned())
}

/// Any number of `HOST:PORT` with commas between them.
pub(crate) fn addresses(list: &str) -> Result<Vec<String>, String> {
    list.split(',').map(str::trim).filter(|one| !one.is_empty()).map(address).collect()
}

/// The host of `HOST:PORT`, out of its brackets.
pub(crate) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Why an address is not one to listen at, unless `anywhere` is allowed.
pub(crate) fn listens(address: &str, anywhere: bool) -> Result<(), String> {
    let host = host(address);
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_local || anywhere {
        return Ok(());
    }
    Err(format!(
        "{address} can be reached from other machines, and there is no TLS and no login yet: listen on 127.0.0.1, or say \
         --insecure-listen"
    ))
}
