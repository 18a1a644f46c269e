//! `Idempotency-Key`: a client's name for a request, as a session of its own. Pure.

use meridian_types::{Code, Failure, SessionId, Timestamp};
use uuid::Uuid;

use crate::front::clip;

/// The session that a key names: born at the key's milliseconds, plus the 12 bits beside its version as nanoseconds; the
/// nonce is the other half of the key. Different keys are different sessions.
pub(super) fn session(key: &[u8]) -> Result<SessionId, Failure> {
    let refused = || {
        let seen = String::from_utf8_lossy(key);
        let text = format!(
            "Idempotency-Key {:?} is no UUIDv7 of now: make a new one for each request, and send it again with its \
             repetitions, such as 01890a5d-ac96-774b-bcce-b302099a8057",
            clip(&seen, 64)
        );
        Failure::new(Code::BadRequest, text)
    };
    let uuid = Uuid::try_parse_ascii(key).map_err(|_| refused())?;
    if uuid.get_version_num() != 7 || uuid.get_variant() != uuid::Variant::RFC4122 {
        return Err(refused());
    }
    let (high, nonce) = uuid.as_u64_pair();
    let (millis, fine) = (high >> 16, high & 0xfff);
    let nanos = i64::try_from(millis).ok().and_then(|ms| ms.checked_mul(1_000_000)?.checked_add(fine as i64));
    let birth = nanos.and_then(|nanos| Timestamp::new(nanos).ok()).ok_or_else(refused)?;
    Ok(SessionId { birth, nonce })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_session() {
        let id = session(b"01890a5d-ac96-774b-bcce-b302099a8057").expect("a UUIDv7");
        assert_eq!(id.birth.nanos(), 0x0189_0a5d_ac96 * 1_000_000 + 0x74b);
        assert_eq!(id.nonce, 0xbcce_b302_099a_8057);
        assert_eq!(session(b"01890A5DAC96774BBCCEB302099A8057"), Ok(id), "however it is written");
    }

    #[test]
    fn every_bit_of_a_key_counts() {
        let key = 0x0189_0a5d_ac96_774b_bcce_b302_099a_8057_u128;
        let of = |key| session(Uuid::from_u128(key).to_string().as_bytes());
        // The version stands at bits 76 to 79 and the variant at 62 and 63.
        for bit in (0..62).chain(64..76).chain(80..128) {
            match of(key ^ (1 << bit)) {
                Ok(other) => assert_ne!(Ok(other), of(key), "bit {bit}"),
                Err(_) => assert!(bit > 120, "bit {bit}: only a birth after 2262 is refused"),
            }
        }
    }

    #[test]
    fn any_other_text_is_refused() {
        for key in [&b""[..], b"1", b"my-key", b"\xff\xfe", b"550e8400-e29b-41d4-a716-446655440000", &[b'a'; 10_000]] {
            let failure = session(key).expect_err("no UUIDv7");
            assert_eq!(failure.code, Code::BadRequest);
            assert!(failure.message.len() < 400, "{}", failure.message);
        }
        assert!(session(b"ffffffff-ffff-7fff-bfff-ffffffffffff").is_err(), "a birth that no time can be");
    }
}
