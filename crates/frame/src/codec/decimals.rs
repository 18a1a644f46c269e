//! Floats that are decimals with few digits, as whole numbers over one power of ten: most floats that people store.
//!
//! Layout: `exponent:u8 encoding:u8`, the whole numbers in that encoding of integers. With exceptions, in front of it:
//! `exceptions:u16`, their places as `u16`, `base:u64`, packed (bits − base).
//!
//! A value is kept as a decimal only if it comes back with the same bits, which NaN, infinities and -0.0 do not. A whole
//! number must never reach 2^51: whoever calculates with them relies on it.

use super::input::Input;
use super::integers::{decode_blocks, encode_words, put_framed, take_framed};
use super::pack::take_places;
use super::{CodecError, Encoding, VALUES_MAX};

/// The powers of ten by which a column may be scaled. All are exact, so that a division rounds once.
const POWERS: [f64; 15] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// 1.5 * 2^52: of what is at least 2^52 and below 2^53 the lowest bit counts ones, so that a number of up to 2^51 that is
/// added to it is rounded to a whole one, and the bits count on like an integer.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// The greatest whole number. 2^51 would be added right too, but not taken apart again on both sides of 0.
const WHOLE_MAX: u64 = (1 << 51) - 1;
/// Values that are looked at together, so that the compiler can do so.
const STRIDE: usize = 64;
/// One value in so many may have more digits than the others: to keep it apart takes about as much as two or three bits
/// more for each of the others.
const LONGER_ONE_IN: usize = 32;
/// One value in so many may be no decimal at all: it costs less than the bits of all.
const OTHERS_ONE_IN: usize = 4;
/// Values that are asked for the next exponent.
const ASKED: usize = 9;

/// Appends `values` as decimals, with exceptions if need be, and says how; nothing if too many of them are none.
pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) -> Option<Encoding> {
    let mut whole = [0; VALUES_MAX];
    let whole = &mut whole[..values.len()];
    let (exponent, unfit) = scale(values, whole)?;
    if unfit > 0 {
        put_exceptions(values, POWERS[exponent], whole, out);
    }
    out.push(exponent as u8); // below 15
    let encoding_at = out.len();
    out.push(0);
    out[encoding_at] = encode_words(whole, out) as u8;
    Some(if unfit > 0 { Encoding::Exceptions } else { Encoding::Decimal })
}

/// The value as a whole number over `power`, and 0 if that gives the same bits back.
#[inline(always)]
fn scaled(value: f64, power: f64) -> (u64, u64) {
    let rounded = value * power + ROUNDING;
    let word = rounded.to_bits().wrapping_sub(ROUNDING.to_bits());
    (word, too_large(word) | (((rounded - ROUNDING) / power).to_bits() ^ value.to_bits()))
}

/// 0 if the whole number is none that is too large, on either side of 0.
#[inline(always)]
fn too_large(word: u64) -> u64 {
    (WHOLE_MAX.wrapping_add(word) | WHOLE_MAX.wrapping_sub(word)) >> 52
}

/// Writes the whole numbers; says over which power of ten, and how many values did not fit.
fn scale(values: &[f64], whole: &mut [u64]) -> Option<(usize, usize)> {
    let mut exponent = 0;
    let mut few = values.len() / LONGER_ONE_IN;
    // Each round ends with a higher exponent, or with the last number of exceptions there can be.
    loop {
        let seen = match scale_by(POWERS[exponent], few, values, whole) {
            Ok(unfit) => return Some((exponent, unfit)),
            Err(seen) => &values[..seen],
        };
        match next_exponent(exponent, seen) {
            Some(next) => exponent = next,
            None if few < values.len() / OTHERS_ONE_IN => few = values.len() / OTHERS_ONE_IN,
            None => return None,
        }
    }
}

/// Writes the whole numbers and says how many values did not fit; if more than a few, how many values were seen.
fn scale_by(power: f64, few: usize, values: &[f64], whole: &mut [u64]) -> Result<usize, usize> {
    let (mut seen, mut unfit) = (0, 0);
    for (values, whole) in values.chunks(STRIDE).zip(whole.chunks_mut(STRIDE)) {
        let mut misfit = 0;
        for (value, whole) in values.iter().zip(whole) {
            let (word, bits) = scaled(*value, power);
            *whole = word;
            misfit |= bits;
        }
        seen += values.len();
        if misfit != 0 {
            unfit += values.iter().filter(|value| scaled(**value, power).1 != 0).count();
            if unfit > few {
                return Err(seen);
            }
        }
    }
    Ok(unfit)
}

/// The least higher exponent that suits most of some values that do not fit this one.
fn next_exponent(exponent: usize, values: &[f64]) -> Option<usize> {
    let fits = |value: f64, exponent: usize| scaled(value, POWERS[exponent]).1 == 0;
    let mut wanted = [POWERS.len(); ASKED];
    let unfit = values.iter().filter(|value| !fits(**value, exponent));
    let mut asked = 0;
    for (slot, value) in wanted.iter_mut().zip(unfit) {
        *slot = (exponent + 1..POWERS.len()).find(|next| fits(*value, *next)).unwrap_or(POWERS.len());
        asked += 1;
    }
    wanted[..asked].sort_unstable();
    wanted[..asked].get(asked / 2).copied().filter(|next| *next < POWERS.len())
}

/// Appends which values do not fit and their bits. Their whole numbers become those of a neighbour, so that they pack
/// with the others.
fn put_exceptions(values: &[f64], power: f64, whole: &mut [u64], out: &mut Vec<u8>) {
    let fits = |value: f64| scaled(value, power).1 == 0;
    let first_fit = values.iter().position(|value| fits(*value)).unwrap_or(0);
    let (mut bits, mut found) = ([0; VALUES_MAX], 0);
    let mut neighbour = whole[first_fit];
    let count_at = out.len();
    out.extend_from_slice(&[0; 2]);
    for (place, (value, whole)) in values.iter().zip(whole).enumerate() {
        if fits(*value) {
            neighbour = *whole;
        } else {
            *whole = neighbour;
            out.extend_from_slice(&(place as u16).to_le_bytes()); // below VALUES_MAX
            bits[found] = value.to_bits();
            found += 1;
        }
    }
    out[count_at..count_at + 2].copy_from_slice(&(found as u16).to_le_bytes());
    put_framed(&bits[..found], out);
}

/// Appends `count` values to `out`.
pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    decode_whole(Input::new(bytes), count, out)
}

/// Appends `count` values to `out`, of which some are exceptions.
pub(super) fn decode_with_exceptions(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let mut input = Input::new(bytes);
    let exceptions = usize::from(input.u16()?);
    if exceptions > count {
        return Err(CodecError::Malformed("more exceptions than values"));
    }
    let places = take_places(&mut input, exceptions, count)?;
    let mut bits = [0; VALUES_MAX];
    take_framed(&mut input, &mut bits[..exceptions])?;
    let start = out.len();
    decode_whole(input, count, out)?;
    for (place, bits) in places.iter().zip(bits) {
        out[start + usize::from(u16::from_le_bytes(*place))] = f64::from_bits(bits);
    }
    Ok(())
}

fn decode_whole(mut input: Input<'_>, count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let power = *POWERS.get(usize::from(input.u8()?)).ok_or(CodecError::Malformed("a power of ten over 14"))?;
    let encoding = input.u8()?;
    let mut far = 0;
    decode_blocks(encoding, input.rest(), count, |block, count| {
        let mut values = [0.0; STRIDE];
        for (word, value) in block[..count].iter().zip(&mut values) {
            far |= too_large(*word);
            *value = (f64::from_bits(ROUNDING.to_bits().wrapping_add(*word)) - ROUNDING) / power;
        }
        out.extend_from_slice(&values[..count]);
    })?;
    if far == 0 { Ok(()) } else { Err(CodecError::Malformed("a decimal of 2^51 or more")) }
}
