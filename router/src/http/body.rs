//! A body off the wire: read within its limits, and undone from gzip with every limit checked while bytes come out, never
//! after. Of the size that a client claims, a few megabytes are set aside once the body has begun, and no more.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use http_body_util::BodyExt;
use meridian_env::{Class, Context, deadline, run};
use meridian_types::{Code, Failure, limits};

use crate::front::{Front, clip};
use crate::write::Held;

/// How much comes out at a time before the limits are looked at again.
const STEP_BYTES: usize = 64 << 10;
/// What is set aside for a body of which its sender says that it will be as long, at most: copies of what grows would cost more
/// than all else that is done with it here.
const ASIDE_BYTES_MAX: usize = 4 << 20;
/// Below this size, a ratio over the limit is no bomb but a few lines that look alike.
const RATIO_FROM_BYTES: usize = 64 << 10;
/// Parts of one body: each costs a fresh decoder, however little is in it.
const MEMBERS_MAX: usize = 8_192;

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

/// What is wrong with a body.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// An encoding that is not served.
    #[error("Content-Encoding {0:?} is not served: use gzip or identity")]
    Encoding(String),
    /// More than one request may have.
    #[error("the body has over {max} bytes: send less at a time", max = limits::REQUEST_BYTES_MAX)]
    TooLarge,
    /// More than one request may have, once undone.
    #[error("the body has over {max} bytes once it is decompressed: send less at a time", max = limits::REQUEST_DECODED_BYTES_MAX)]
    DecodedTooLarge,
    /// A bomb.
    #[error("the body grows to over {max} times its size once it is decompressed: send it without compression", max = limits::COMPRESSION_RATIO_MAX)]
    Ratio,
    /// A bomb of another kind.
    #[error("the body has over {MEMBERS_MAX} gzip members: compress it as a whole")]
    Members,
    /// No gzip.
    #[error("the body is no whole gzip: {0}; check Content-Encoding, and that nothing cut it")]
    Gzip(std::io::Error),
    /// The connection broke, or was too slow.
    #[error("the body did not arrive, and nothing of it is stored: {0}; send it again")]
    Cut(String),
    /// No room in this router.
    #[error("{0}")]
    Busy(Failure),
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        let code = match error {
            BodyError::Busy(failure) => return failure,
            BodyError::TooLarge | BodyError::DecodedTooLarge | BodyError::Ratio | BodyError::Members => Code::OverLimit,
            BodyError::Encoding(_) | BodyError::Gzip(_) => Code::BadRequest,
            // The request may be fine: foreign clients drop what a 400 answers, and send again what a 503 does.
            BodyError::Cut(_) => Code::Unreachable,
        };
        Self::new(code, error.to_string())
    }
}

/// How the headers say that the body is written.
pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    match value.as_bytes().trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(Encoding::Identity),
        b"gzip" | b"x-gzip" => Ok(Encoding::Gzip),
        other => Err(BodyError::Encoding(clip(&String::from_utf8_lossy(other), 64).to_owned())),
    }
}

/// The whole body, undone, and the hold on the router's budget that goes with it.
pub(super) async fn read(
    front: &Front,
    context: &Context,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Held), BodyError> {
    let encoding = encoding(headers)?;
    let mut held = front.budget.hold();
    let arriving = collect(announced(headers), body, &mut held);
    let late = |_| BodyError::Cut("the time for the request was over before its end".into());
    let bytes = deadline(&*front.env.clock, context.deadline, arriving).await.map_err(late)??;
    front.metrics.body_bytes.inc_by(bytes.len() as u64);
    match encoding {
        Encoding::Identity => Ok((bytes, held)),
        Encoding::Gzip => {
            run(&*front.env.work, Class::Scan, move || undo(&bytes, &mut held).map(|bytes| (bytes, held))).await
        }
    }
}

/// How long the body will be, if its sender says so.
fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(announced: Option<usize>, mut body: Body, held: &mut Held) -> Result<Bytes, BodyError> {
    if announced.is_some_and(|bytes| bytes > limits::REQUEST_BYTES_MAX) {
        return Err(BodyError::TooLarge);
    }
    // The hold is on what has arrived: on what is announced, a few silent clients could hold everything.
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Cut(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limits::REQUEST_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        held.grow_to(bytes.len() + data.len()).map_err(BodyError::Busy)?;
        if bytes.is_empty() {
            bytes.reserve(announced.unwrap_or(0).min(ASIDE_BYTES_MAX));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// Undoes gzip while the hold counts both forms, which are here at the same time. What is more than the whole budget holds
/// all of it: the largest body that is allowed must fit when nothing else is under way.
fn undo(gzip: &[u8], held: &mut Held) -> Result<Bytes, BodyError> {
    inflate(gzip, |decoded| held.grow_to((gzip.len() + decoded).min(limits::NODE_PROPOSAL_BYTES_MAX)))
}

/// Undoes gzip of one or more members. `grow` is told the size so far before it is reached, and may refuse it.
fn inflate(gzip: &[u8], mut grow: impl FnMut(usize) -> Result<(), Failure>) -> Result<Bytes, BodyError> {
    let mut out = Vec::new();
    let mut step = vec![0; STEP_BYTES];
    let mut rest = gzip;
    for _ in 0..MEMBERS_MAX {
        let mut member = GzDecoder::new(rest);
        loop {
            let got = member.read(&mut step).map_err(BodyError::Gzip)?;
            if got == 0 {
                break;
            }
            let size = out.len() + got;
            if size > limits::REQUEST_DECODED_BYTES_MAX {
                return Err(BodyError::DecodedTooLarge);
            }
            if size > RATIO_FROM_BYTES && size / limits::COMPRESSION_RATIO_MAX > gzip.len() {
                return Err(BodyError::Ratio);
            }
            grow(size).map_err(BodyError::Busy)?;
            out.extend_from_slice(&step[..got]);
        }
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(out.into());
        }
    }
    Err(BodyError::Members)
}

#[cfg(test)]
mod tests;
