//! Words as packed bits: each takes as many as most of them need, and the few that need more are patched. Everything
//! else of this module is packed with it.
//!
//! Layout: `width:u8`, 128 more if patches follow; `count * width` bits, least significant first, in whole bytes. Patches:
//! `patches:u16 high_width:u8`, their places as `u16`, `patches * high_width` bits of what stands above `width`.
//! Instead of a width, 65: narrow words as in `escapes`. 66: `factor:varint`, and words as above, which are multiplied by it.
//!
//! It must never take more room than the width of the widest word would.

use super::bits::{self, BLOCK, Block, SLACK, bytes_of, mask};
use super::escapes::{self, Counts, Escaped, Window};
use super::input::Input;
use super::{CodecError, VALUES_MAX};

/// Set in the byte of the width if patches follow.
const PATCHED: u8 = 128;
/// Stands in place of the width if narrow words have codes and escapes.
const ESCAPED: u8 = 65;
/// Stands in front of all if the words are to be multiplied.
const FACTOR: u8 = 66;
/// Escapes must save one byte in so many: to read them takes longer.
const ESCAPES_SAVE_ONE_IN: usize = 16;
/// Bytes in front of the patches.
const PATCH_HEADER_BYTES: usize = 3;
/// Bytes of a patch's place.
const PLACE_BYTES: usize = 2;
/// Rows of so many columns are as many to a block.
const ROW: usize = 8;

const _: () = assert!(VALUES_MAX <= u16::MAX as usize, "a place fits its two bytes");
const _: () = assert!(ROW * ROW == BLOCK && VALUES_MAX.is_multiple_of(BLOCK), "rows fill blocks");

/// How words, less a base, are packed best.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Taken from each word, wrapping.
    base: u64,
    /// Bits of each word.
    width: u32,
    /// Bits of the widest word.
    pub(super) widest: u32,
    /// Words that need more than `width` bits.
    patches: usize,
    /// Which words have codes of their own, if that takes less than any width.
    window: Option<Window>,
    /// What it all takes.
    pub(super) bytes: usize,
}

impl Plan {
    /// Looks for the width with which `words` take the least.
    pub(super) fn of(words: &[u64]) -> Self {
        Self::over(0, words)
    }

    /// The same of what is left of `words` when `base` is taken from each.
    pub(super) fn over(base: u64, words: &[u64]) -> Self {
        Self::within(base, bit_length(words.iter().fold(0, |all, word| all | word.wrapping_sub(base))), words)
    }

    /// The same where it is known that the widest takes `widest` bits.
    pub(super) fn within(base: u64, widest: u32, words: &[u64]) -> Self {
        if (2..=escapes::WIDEST_MAX).contains(&widest) && words.len() >= BLOCK {
            return Self::of_narrow(base, widest, words);
        }
        if widest == 0 {
            return Self::cheapest(base, widest, words.len(), |_| 0);
        }
        // Of most columns a look at the longest of some words each says that patches cannot pay, at a fraction of what
        // it takes to look at all: there are at least as many of them as there are such words over the width.
        let mut longest = [0; VALUES_MAX / ROW];
        let longest = longest_of_rows(base, words, &mut longest);
        let plan = Self::cheapest(base, widest, words.len(), lengths(0, longest));
        if plan.width == widest { plan } else { Self::cheapest(base, widest, words.len(), lengths(base, words)) }
    }

    /// The same of words that are narrow enough to count how often each comes.
    fn of_narrow(base: u64, widest: u32, words: &[u64]) -> Self {
        let counts = Counts::of(base, words);
        let plan = Self::cheapest(base, widest, words.len(), |length| counts.with_length(length));
        match Window::cheapest(&counts, words.len(), widest) {
            Some(window) if window.bytes <= plan.bytes - plan.bytes.div_ceil(ESCAPES_SAVE_ONE_IN) => {
                Self { window: Some(window), bytes: window.bytes, ..plan }
            }
            _ => plan,
        }
    }

    /// Looks for the width with which `count` words take the least if `with_length` says how many of them, or how many at
    /// least, have so many bits.
    fn cheapest(base: u64, widest: u32, count: usize, with_length: impl Fn(u32) -> usize) -> Self {
        let bytes = 1 + bytes_of(count, widest);
        let mut best = Self { base, width: widest, widest, patches: 0, window: None, bytes };
        let mut patches = 0;
        for width in (0..widest).rev() {
            patches += with_length(width + 1);
            let high = patches * PLACE_BYTES + bytes_of(patches, widest - width);
            let bytes = 1 + bytes_of(count, width) + PATCH_HEADER_BYTES + high;
            if bytes < best.bytes {
                best = Self { width, patches, bytes, ..best };
            }
        }
        best
    }

    /// Appends `words`, of which this is the plan.
    pub(super) fn pack(self, words: &[u64], out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(self.bytes + SLACK);
        if let Some(window) = self.window {
            out.push(ESCAPED);
            window.put(self.base, words, out);
        } else {
            let width = self.width as u8; // at most 64
            out.push(if self.patches > 0 { width | PATCHED } else { width });
            put_bits(self.base, self.width, words, out);
            self.put_patches(words, out);
        }
        assert_eq!(out.len() - start, self.bytes, "{self:?} of {} words", words.len());
    }

    fn put_patches(self, words: &[u64], out: &mut Vec<u8>) {
        if self.patches == 0 {
            return;
        }
        let high_width = self.widest - self.width;
        out.extend_from_slice(&(self.patches as u16).to_le_bytes()); // at most VALUES_MAX
        out.push(high_width as u8);
        let mut highs = [0; VALUES_MAX];
        let mut found = 0;
        for (word, place) in words.iter().zip(0_u16..) {
            let high = word.wrapping_sub(self.base) & !mask(self.width);
            if high != 0 {
                out.extend_from_slice(&place.to_le_bytes());
                highs[found] = high >> self.width;
                found += 1;
            }
        }
        put_bits(0, high_width, &highs[..found], out);
    }
}

/// Of every eight rows of words, less `base`, one row with as many bits as the longest word in each column. What does not
/// fill eight rows is left out.
fn longest_of_rows<'a>(base: u64, words: &[u64], longest: &'a mut [u64; VALUES_MAX / ROW]) -> &'a [u64] {
    let blocks = words.as_chunks::<BLOCK>().0;
    for (longest, block) in longest.as_chunks_mut::<ROW>().0.iter_mut().zip(blocks) {
        for row in block.as_chunks::<ROW>().0 {
            longest.iter_mut().zip(row).for_each(|(longest, word)| *longest |= word.wrapping_sub(base));
        }
    }
    &longest[..blocks.len() * ROW]
}

/// How many words have as many bits as is asked, less `base`.
fn lengths(base: u64, words: &[u64]) -> impl Fn(u32) -> usize {
    // Four lists, since neighbours often have the same length and would wait for each other.
    let mut lists = [[0_u16; 65]; 4];
    let (fours, rest) = words.as_chunks::<4>();
    for four in fours {
        for (list, word) in lists.iter_mut().zip(four) {
            list[bit_length(word.wrapping_sub(base)) as usize] += 1;
        }
    }
    rest.iter().for_each(|word| lists[0][bit_length(word.wrapping_sub(base)) as usize] += 1);
    move |length| lists.iter().map(|list| usize::from(list[length as usize])).sum()
}

/// Bytes in front of words that are to be multiplied.
pub(super) fn factor_bytes(factor: u64) -> usize {
    1 + bit_length(factor).div_ceil(7) as usize
}

/// Appends what words that follow are to be multiplied by, at least 2: [`factor_bytes`].
pub(super) fn put_factor(factor: u64, out: &mut Vec<u8>) {
    out.push(FACTOR);
    let mut rest = factor;
    while rest > 127 {
        out.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8); // at most 127
}

/// Words as they are stored, of which everything but the words was looked at.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    /// What the words are multiplied by; 1 for most.
    factor: u64,
    width: u32,
    bits: &'a [u8],
    /// If `bits` are codes.
    escaped: Option<Escaped<'a>>,
    high_width: u32,
    places: &'a [[u8; PLACE_BYTES]],
    highs: &'a [u8],
}

impl<'a> Packed<'a> {
    /// Takes `count` words off the front of `input`. The caller has bounded `count`.
    pub(super) fn take(input: &mut Input<'a>, count: usize) -> Result<Self, CodecError> {
        let head = input.u8()?;
        if head != FACTOR {
            return Self::take_behind(head, input, count);
        }
        let factor = input.varint()?;
        if factor < 2 {
            return Err(CodecError::Malformed("a factor below 2"));
        }
        let head = input.u8()?;
        Ok(Self { factor, ..Self::take_behind(head, input, count)? })
    }

    /// Takes what stands behind the first byte, which is no [`FACTOR`].
    fn take_behind(head: u8, input: &mut Input<'a>, count: usize) -> Result<Self, CodecError> {
        let none = Self { factor: 1, width: 0, bits: &[], escaped: None, high_width: 0, places: &[], highs: &[] };
        if head == ESCAPED {
            let escaped = Escaped::take(input, count)?;
            return Ok(Self { width: escaped.width, bits: escaped.codes, escaped: Some(escaped), ..none });
        }
        let width = u32::from(head & !PATCHED);
        let bits = take_bits(input, width, count)?;
        let mut packed = Self { width, bits, ..none };
        if head & PATCHED == 0 {
            return Ok(packed);
        }
        let patches = usize::from(input.u16()?);
        packed.high_width = u32::from(input.u8()?);
        if patches > count || packed.high_width == 0 || width + packed.high_width > u64::BITS {
            return Err(CodecError::Malformed("patches that cannot be"));
        }
        packed.places = take_places(input, patches, count)?;
        packed.highs = take_bits(input, packed.high_width, patches)?;
        Ok(packed)
    }

    /// Hands out the words block by block, and how many of each block there are, until there were `count`: as many as
    /// were taken, or more, which mean nothing.
    #[inline(always)]
    pub(super) fn blocks(&self, count: usize, mut each: impl FnMut(&mut Block, usize)) {
        let mut block = [0; BLOCK];
        let mut escaped = self.escaped.map(Escaped::reader);
        let mut patch = 0;
        for start in (0..count).step_by(BLOCK) {
            bits::unpack(self.width, self.bits, start / BLOCK, &mut block);
            if let Some(escaped) = &mut escaped {
                escaped.replace(&mut block);
            }
            while let Some(place) = self.places.get(patch) {
                let Some(word) = block.get_mut(usize::from(u16::from_le_bytes(*place)) - start) else { break };
                *word |= bits::get(self.high_width, self.highs, patch) << self.width;
                patch += 1;
            }
            if self.factor != 1 {
                block.iter_mut().for_each(|word| *word = word.wrapping_mul(self.factor));
            }
            each(&mut block, (count - start).min(BLOCK));
        }
    }

    /// Writes the words to the front of `words`.
    pub(super) fn write(&self, words: &mut [u64]) {
        let mut at = 0;
        self.blocks(words.len(), |block, count| {
            words[at..at + count].copy_from_slice(&block[..count]);
            at += count;
        });
    }
}

/// Takes so many places among `count` values, in order.
pub(super) fn take_places<'a>(
    input: &mut Input<'a>,
    places: usize,
    count: usize,
) -> Result<&'a [[u8; PLACE_BYTES]], CodecError> {
    let places = input.take(places * PLACE_BYTES)?.as_chunks().0;
    let mut next = 0;
    for place in places {
        let place = usize::from(u16::from_le_bytes(*place));
        if place < next || place >= count {
            return Err(CodecError::Malformed("places out of order"));
        }
        next = place + 1;
    }
    Ok(places)
}

pub(super) fn bit_length(word: u64) -> u32 {
    u64::BITS - word.leading_zeros()
}

/// Appends the lower `width` bits of `words`, less `base`.
pub(super) fn put_bits(base: u64, width: u32, words: &[u64], out: &mut Vec<u8>) {
    let (start, step) = (out.len(), bytes_of(BLOCK, width));
    let end = start + bytes_of(words.len(), width);
    // A kernel writes whole blocks and some bytes behind them.
    out.resize(start + words.len().div_ceil(BLOCK) * step + SLACK, 0);
    let mut at = start;
    let (blocks, rest) = words.as_chunks::<BLOCK>();
    for words in blocks {
        bits::pack(width, &words.map(|word| word.wrapping_sub(base)), &mut out[at..]);
        at += step;
    }
    if !rest.is_empty() {
        let mut block = [0; BLOCK];
        block.iter_mut().zip(rest).for_each(|(slot, word)| *slot = word.wrapping_sub(base));
        bits::pack(width, &block, &mut out[at..]);
    }
    out.truncate(end);
}

/// Takes the bits of `count` words, looking only at those that are spare.
pub(super) fn take_bits<'a>(input: &mut Input<'a>, width: u32, count: usize) -> Result<&'a [u8], CodecError> {
    if width > u64::BITS {
        return Err(CodecError::Malformed("words of more than 64 bits"));
    }
    let bytes = input.take(bytes_of(count, width))?;
    let spare = (8 * bytes.len() - count * width as usize) as u32;
    if bytes.last().is_some_and(|last| last.leading_zeros() < spare) {
        return Err(CodecError::Malformed("spare bits that are set"));
    }
    Ok(bytes)
}
