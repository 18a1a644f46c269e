//! Plain numbers at the front of text, eight digits at a time. Reads what most numbers look like, exactly as `value` does,
//! and leaves the rest to it: it never judges a number bad, and never rounds one otherwise than std.

use meridian_types::{Timestamp, ValueRef};

use super::Precision;

/// As many digits as any `u64` can hold.
const DIGITS_MAX: usize = 19;

const POWERS: [u64; DIGITS_MAX + 1] = {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// Powers of ten that a float holds exactly, as many as a fraction here has digits.
const FLOAT_POWERS: [f64; DIGITS_MAX + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19];

/// Whole numbers up to here are floats.
const EXACT_MAX: u64 = 1 << f64::MANTISSA_DIGITS;

/// Reads `1`, `1.5`, `1i` or `1u` at `at`, and says how long it is. What follows is for the caller to judge: only with a
/// comma, a blank or the end behind it is this the whole number.
#[inline]
pub(super) fn value(text: &str, at: usize) -> Option<(ValueRef<'static>, usize)> {
    let bytes = &text.as_bytes()[at..];
    let is_negative = bytes.first() == Some(&b'-');
    let start = usize::from(is_negative);
    let (whole, digits) = leading_digits(&bytes[start..])?;
    let end = start + digits;
    match bytes.get(end) {
        Some(b'i') if digits > 0 => Some((ValueRef::I64(signed(whole, is_negative)?), end + 1)),
        Some(b'u') if digits > 0 && !is_negative => Some((ValueRef::U64(whole), end + 1)),
        Some(b'.') => {
            let (fraction, decimals) = leading_digits(&bytes[end + 1..])?;
            let end = end + 1 + decimals;
            let is_exact = digits + decimals <= DIGITS_MAX;
            let mantissa = if is_exact { whole * POWERS[decimals] + fraction } else { u64::MAX };
            if mantissa > EXACT_MAX || digits + decimals == 0 {
                let value = text[at..at + end].parse::<f64>().ok().filter(|v| v.is_finite())?;
                return Some((ValueRef::F64(value), end));
            }
            // Both are exact, and so the one division rounds right.
            let value = mantissa as f64 / FLOAT_POWERS[decimals];
            Some((ValueRef::F64(if is_negative { -value } else { value }), end))
        }
        _ if digits > 0 => {
            // A conversion rounds as std's parser does: to the nearest, ties to even.
            let value = whole as f64;
            Some((ValueRef::F64(if is_negative { -value } else { value }), end))
        }
        _ => None,
    }
}

/// Reads the timestamp at the front of `bytes`, and says where its digits end.
pub(super) fn time(bytes: &[u8], precision: Precision) -> Option<(Timestamp, usize)> {
    let is_negative = bytes.first() == Some(&b'-');
    let start = usize::from(is_negative);
    let (units, digits) = leading_digits(&bytes[start..])?;
    let nanos = signed(units, is_negative)?.checked_mul(precision.nanos())?;
    let time = Timestamp::new(nanos).ok().filter(|_| digits > 0)?;
    Some((time, start + digits))
}

fn signed(value: u64, is_negative: bool) -> Option<i64> {
    if is_negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The digits at the front of `bytes`: what they are worth, and how many they are; `None` if too many for a `u64`.
#[inline]
fn leading_digits(bytes: &[u8]) -> Option<(u64, usize)> {
    let (value, count) = up_to_eight_digits(bytes);
    if count < 8 { Some((value, count)) } else { more_digits(bytes, value) }
}

/// As [`leading_digits`], where eight are worth `value` and more may follow.
fn more_digits(bytes: &[u8], mut value: u64) -> Option<(u64, usize)> {
    let mut count = 8;
    loop {
        let (next, more) = up_to_eight_digits(&bytes[count..]);
        count += more;
        if count > DIGITS_MAX {
            return None;
        }
        value = value * POWERS[more] + next;
        if more < 8 {
            return Some((value, count));
        }
    }
}

/// The first digits of `bytes`, at most eight: what they are worth, and how many they are. Without a branch on their number,
/// which no processor can foresee.
#[inline]
fn up_to_eight_digits(bytes: &[u8]) -> (u64, usize) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let word = bytes.first_chunk().map_or_else(|| padded(bytes), |eight| u64::from_le_bytes(*eight));
    // A digit becomes its worth; any other byte has, or gets by the addition, its high bit set. Carries only reach bytes
    // behind the first of those.
    let worths = word ^ (EACH * 0x30);
    let others = (worths.wrapping_add(EACH * 0x76) | worths) & (EACH * 0x80);
    let count = others.trailing_zeros() / 8;
    // Leading zeros instead of what follows the digits; then pairs, fours and all eight are put together.
    let digits = worths.unbounded_shl(64 - 8 * count);
    let pairs = (digits.wrapping_mul((10 << 8) + 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul((100 << 16) + 1) >> 16) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul((10_000 << 32) + 1) >> 32, count as usize)
}

/// The end of a body is not always eight bytes away.
#[cold]
fn padded(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(eight)
}
