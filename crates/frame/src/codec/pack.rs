//! Words as packed bits: each takes as many as most of them need, and the few that need more are patched. Everything
//! else of this module is packed with it.
//!
//! Layout: `width:u8`, 128 more if patches follow; `count * width` bits, least significant first, in whole bytes. Patches:
//! `patches:u16 high_width:u8`, their places as `u16`, `patches * high_width` bits of what stands above `width`.
//!
//! It must never take more room than the width of the widest word would.

use super::input::Input;
use super::{CodecError, VALUES_MAX};

/// Set in the byte of the width if patches follow.
const PATCHED: u8 = 128;
/// Bytes in front of the patches.
const PATCH_HEADER_BYTES: usize = 3;
/// Bytes of a patch's place.
const PLACE_BYTES: usize = 2;

const _: () = assert!(VALUES_MAX <= u16::MAX as usize, "a place fits its two bytes");

/// How some words are packed best.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Bits of each word.
    width: u32,
    /// Bits of the widest word.
    pub(super) widest: u32,
    /// Words that need more than `width` bits.
    patches: usize,
    /// What it all takes.
    pub(super) bytes: usize,
}

impl Plan {
    /// Looks for the width with which `words` take the least.
    pub(super) fn of(words: &[u64]) -> Self {
        let widest = bit_length(words.iter().fold(0, |all, word| all | word));
        let mut best = Self { width: widest, widest, patches: 0, bytes: 1 + bytes_of(words.len(), widest) };
        if widest == 0 {
            return best;
        }
        let mut with_length = [0_u16; 65];
        for word in words {
            with_length[bit_length(*word) as usize] += 1;
        }
        let mut patches = 0;
        for width in (0..widest).rev() {
            patches += usize::from(with_length[width as usize + 1]);
            let high = patches * PLACE_BYTES + bytes_of(patches, widest - width);
            let bytes = 1 + bytes_of(words.len(), width) + PATCH_HEADER_BYTES + high;
            if bytes < best.bytes {
                best = Self { width, widest, patches, bytes };
            }
        }
        best
    }

    /// Appends `words`, of which this is the plan.
    pub(super) fn pack(self, words: &[u64], out: &mut Vec<u8>) {
        let start = out.len();
        let width = self.width as u8; // at most 64
        out.reserve(self.bytes);
        out.push(if self.patches > 0 { width | PATCHED } else { width });
        put_bits(words.iter().copied(), self.width, out);
        if self.patches > 0 {
            let patched = || words.iter().zip(0_u16..).filter(|(word, _)| **word > mask(self.width));
            out.extend_from_slice(&(self.patches as u16).to_le_bytes()); // at most VALUES_MAX
            out.push((self.widest - self.width) as u8);
            patched().for_each(|(_, place)| out.extend_from_slice(&place.to_le_bytes()));
            put_bits(patched().map(|(word, _)| word >> self.width), self.widest - self.width, out);
        }
        assert_eq!(out.len() - start, self.bytes, "{self:?} of {} words", words.len());
    }
}

/// Takes `count` words off the front of `input`. The caller has bounded `count`.
pub(super) fn unpack(input: &mut Input<'_>, count: usize) -> Result<Vec<u64>, CodecError> {
    let head = input.u8()?;
    let width = u32::from(head & !PATCHED);
    let mut words = take_bits(input, width, count)?;
    if head & PATCHED != 0 {
        let patches = usize::from(input.u16()?);
        let high_width = u32::from(input.u8()?);
        if patches > count || high_width == 0 || width + high_width > 64 {
            return Err(CodecError::Malformed("patches that cannot be"));
        }
        let places = input.take(patches * PLACE_BYTES)?.as_chunks().0;
        let highs = take_bits(input, high_width, patches)?;
        let mut next = 0;
        for (place, high) in places.iter().zip(highs) {
            let place = usize::from(u16::from_le_bytes(*place));
            if place < next || place >= count {
                return Err(CodecError::Malformed("patches out of order"));
            }
            words[place] |= high << width;
            next = place + 1;
        }
    }
    Ok(words)
}

fn bit_length(word: u64) -> u32 {
    u64::BITS - word.leading_zeros()
}

/// The lowest `width` bits.
fn mask(width: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - width).unwrap_or(0)
}

/// Whole bytes that `count` words of `width` bits take.
fn bytes_of(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

fn put_bits(words: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let mask = mask(width);
    let (mut pending, mut filled) = (0_u64, 0_u32);
    for word in words {
        let word = word & mask;
        pending |= word << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&pending.to_le_bytes());
            filled -= u64::BITS;
            // What of the word is not out yet: nothing if it ended with the eight bytes.
            pending = word.checked_shr(width - filled).unwrap_or(0);
        }
    }
    out.extend_from_slice(&pending.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

fn take_bits(input: &mut Input<'_>, width: u32, count: usize) -> Result<Vec<u64>, CodecError> {
    if width > u64::BITS {
        return Err(CodecError::Malformed("words of more than 64 bits"));
    }
    let bytes = input.take(bytes_of(count, width))?;
    let spare = (8 * bytes.len() - count * width as usize) as u32;
    if bytes.last().is_some_and(|last| last.leading_zeros() < spare) {
        return Err(CodecError::Malformed("spare bits that are set"));
    }
    let width_bits = width as usize;
    let mask = mask(width);
    if width == 0 {
        return Ok(vec![0; count]);
    }
    let place = |i: usize| (i * width_bits / 8, (i * width_bits % 8) as u32);
    // Up to here a word lies within eight bytes, wherever in its first byte it begins.
    if width <= u64::BITS - 7 {
        let word = |i| {
            let (at, shift) = place(i);
            load(bytes, at) >> shift & mask
        };
        return Ok((0..count).map(word).collect());
    }
    let word = |i| {
        let (at, shift) = place(i);
        let ninth = bytes.get(at + 8).map_or(0, |byte| u128::from(*byte) << 64);
        ((u128::from(load(bytes, at)) | ninth) >> shift) as u64 & mask
    };
    Ok((0..count).map(word).collect())
}

/// Eight bytes from `at` on; those beyond the end are zero.
#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    let rest = &bytes[at..];
    match rest.first_chunk() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}
