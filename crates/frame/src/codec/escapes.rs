//! Narrow words of which most lie close together: a code of few bits for each that lies in a window, and one more code, the
//! escape, for all others, which follow on their own. Steps of a slow walk are such words.
//!
//! Layout: `width:u8 high_width:u8 lo:u8 escapes:u16`, `count * width` bits of codes, `escapes * high_width` bits of
//! others. The window has all words from `lo` but for one as many as there are codes; a code is what a word is above `lo`.
//! The others are numbered from 0 upwards, past the window: there is no number for a word in it.
//!
//! The escapes must never be taken on trust: as many codes are escapes as others are stored, or nothing is read.

use std::hint::select_unpredictable;

use super::bits::{self, BLOCK, Block, mask};
use super::input::Input;
use super::pack::{bit_length, put_bits, take_bits};
use super::{CodecError, VALUES_MAX};

/// Bits of the widest words that are looked at: they are counted one by one.
pub(super) const WIDEST_MAX: u32 = 6;
/// Bits of the widest code.
const WIDTH_MAX: u32 = WIDEST_MAX - 1;
/// Bytes in front of the codes.
const HEADER_BYTES: usize = 5;

/// How often each narrow word comes.
pub(super) struct Counts([u16; 1 << WIDEST_MAX]);

impl Counts {
    /// Counts `words`, less `base`, none of which has more than [`WIDEST_MAX`] bits.
    pub(super) fn of(base: u64, words: &[u64]) -> Self {
        // Four lists, since neighbours are often the same and would wait for each other.
        let mut lists = [[0_u16; 1 << WIDEST_MAX]; 4];
        let place = |word: &u64| (word.wrapping_sub(base) & mask(WIDEST_MAX)) as usize;
        let (fours, rest) = words.as_chunks::<4>();
        for four in fours {
            lists.iter_mut().zip(four).for_each(|(list, word)| list[place(word)] += 1);
        }
        rest.iter().for_each(|word| lists[0][place(word)] += 1);
        Self(std::array::from_fn(|word| lists.iter().map(|list| list[word]).sum()))
    }

    /// How many words have so many bits, but for 0.
    pub(super) fn with_length(&self, length: u32) -> usize {
        self.0[1 << (length - 1)..1 << length].iter().map(|count| usize::from(*count)).sum()
    }
}

/// Which words have codes of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// The least of them.
    lo: u64,
    /// Bits of a code.
    width: u32,
    /// Words outside.
    escapes: usize,
    /// Bits of each of those.
    high_width: u32,
    /// What it all takes, with the byte that says so.
    pub(super) bytes: usize,
}

impl Window {
    /// The one with which `count` words, the widest of `widest` bits, take the least.
    pub(super) fn cheapest(counts: &Counts, count: usize, widest: u32) -> Option<Self> {
        let counts = &counts.0[..1 << widest];
        let mut below = [0; (1 << WIDEST_MAX) + 1];
        for (word, count) in counts.iter().enumerate() {
            below[word + 1] = below[word] + count;
        }
        let below = &below[..=counts.len()];
        let greatest = counts.iter().rposition(|count| *count > 0)?;
        let of_width = |width| Self::of_width(width, counts, below, greatest, count);
        (1..widest).map(of_width).min_by_key(|window| window.bytes)
    }

    /// The best with codes of so many bits, fewer than `greatest` has. `below` says how many words are below each.
    fn of_width(width: u32, counts: &[u16], below: &[u16], greatest: usize, count: usize) -> Self {
        let size = mask(width) as usize; // at most 31
        let with = |lo: usize, greatest_other: usize| {
            let high_width = bit_length(greatest_other as u64); // below 64
            let escapes = count - usize::from(below[lo + size] - below[lo]);
            let bytes = HEADER_BYTES + 1 + bits::bytes_of(count, width) + bits::bytes_of(escapes, high_width);
            Self { lo: lo as u64, width, escapes, high_width, bytes }
        };
        // All windows but the one at the upper end leave out the greatest word, so that what they leave out takes the
        // same bits, and the one that leaves out the fewest is the best of them.
        let last = greatest + 1 - size;
        let lo = (0..last).max_by_key(|lo| below[lo + size] - below[*lo]).unwrap_or(0);
        let lower = with(lo, greatest - size);
        let upper = with(last, counts[..last].iter().rposition(|count| *count > 0).unwrap_or(0));
        if lower.bytes <= upper.bytes { lower } else { upper }
    }

    /// Appends `words`, less `base`.
    pub(super) fn put(self, base: u64, words: &[u64], out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.width as u8, self.high_width as u8, self.lo as u8]); // all below 64
        out.extend_from_slice(&(self.escapes as u16).to_le_bytes()); // at most VALUES_MAX
        let escape = mask(self.width);
        let (mut others, mut found) = ([0; VALUES_MAX], 0);
        for words in words.chunks(BLOCK) {
            let mut codes = [0; BLOCK];
            for (word, code) in words.iter().zip(&mut codes) {
                let word = word.wrapping_sub(base);
                // What is below the window wraps, and is far above it.
                *code = word.wrapping_sub(self.lo).min(escape);
                // Written in any case and kept if it is one: nothing to guess for the processor.
                others[found] = if word < self.lo { word } else { word.wrapping_sub(escape) };
                found += usize::from(*code == escape);
            }
            // A block is whole bytes, so that the next one goes on where it ends.
            put_bits(0, self.width, &codes[..words.len()], out);
        }
        put_bits(0, self.high_width, &others[..found], out);
    }
}

/// Words as they are stored, of which everything was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Escaped<'a> {
    lo: u64,
    pub(super) width: u32,
    pub(super) codes: &'a [u8],
    high_width: u32,
    escapes: usize,
    others: &'a [u8],
}

impl<'a> Escaped<'a> {
    /// Takes `count` words off the front of `input`. The caller has bounded `count`.
    pub(super) fn take(input: &mut Input<'a>, count: usize) -> Result<Self, CodecError> {
        let (width, high_width, lo) = (u32::from(input.u8()?), u32::from(input.u8()?), u64::from(input.u8()?));
        let escapes = usize::from(input.u16()?);
        if !(1..=WIDTH_MAX).contains(&width) || high_width > WIDEST_MAX || lo + mask(width) > 1 << WIDEST_MAX {
            return Err(CodecError::Malformed("a window that cannot be"));
        }
        if escapes > count {
            return Err(CodecError::Malformed("more escapes than words"));
        }
        let codes = take_bits(input, width, count)?;
        if count_escapes(width, codes) != escapes {
            return Err(CodecError::Malformed("escapes of another number than the codes say"));
        }
        let others = take_bits(input, high_width, escapes)?;
        Ok(Self { lo, width, codes, high_width, escapes, others })
    }

    pub(super) fn reader(self) -> Reader<'a> {
        Reader { stored: self, ahead: [0; AHEAD], unpacked: 0, next: 0 }
    }
}

/// How many of the packed `codes` are the escape: all their bits are set. Spare bits are not, and no code.
fn count_escapes(width: u32, codes: &[u8]) -> usize {
    // Whole bytes with eight codes or more, and the lowest bit of each.
    let (step, lowest) = match width {
        1 => (8, u64::MAX),
        2 => (8, 0x5555_5555_5555_5555),
        3 => (6, 0x0000_2492_4924_9249),
        4 => (8, 0x1111_1111_1111_1111),
        _ => (5, 0x0000_0008_4210_8421),
    };
    let mut count = 0;
    for start in (0..codes.len()).step_by(step) {
        let rest = &codes[start..];
        let load = rest.first_chunk().map_or_else(
            || {
                let mut eight = [0; 8];
                eight[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(eight)
            },
            |eight| u64::from_le_bytes(*eight),
        );
        let set = (1..width).fold(load, |set, shift| set & load >> shift);
        count += (set & lowest).count_ones() as usize;
    }
    count
}

/// Others that are unpacked and not used up: all that one block may need, wherever in a block of others it begins.
const AHEAD: usize = 2 * BLOCK;

/// Puts words in the place of codes, block by block.
pub(super) struct Reader<'a> {
    stored: Escaped<'a>,
    /// Words outside of the window, in turn.
    ahead: [u64; AHEAD],
    unpacked: usize,
    next: usize,
}

impl Reader<'_> {
    /// Makes words of the next codes. In the place of what is no code is some word.
    pub(super) fn replace(&mut self, block: &mut Block) {
        while self.unpacked < self.stored.escapes.min(self.next + BLOCK) {
            self.unpack();
        }
        let (lo, escape) = (self.stored.lo, mask(self.stored.width));
        let mut next = self.next;
        for word in block {
            let escaped = *word == escape;
            // Both are at hand: a jump here, wrongly guessed now and then, more than doubles what all of it takes.
            *word = select_unpredictable(escaped, self.ahead[next % AHEAD], *word + lo);
            next += usize::from(escaped);
        }
        self.next = next;
    }

    fn unpack(&mut self) {
        let Escaped { lo, width, high_width, others, .. } = self.stored;
        let index = self.unpacked / BLOCK;
        let half = &mut self.ahead.as_chunks_mut::<BLOCK>().0[index % (AHEAD / BLOCK)];
        bits::unpack(high_width, others, index, half);
        half.iter_mut().for_each(|word| *word += if *word < lo { 0 } else { mask(width) });
        self.unpacked += BLOCK;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What a window takes by the layout, counted word by word.
    fn bytes_with(width: u32, lo: u64, words: &[u64]) -> usize {
        let size = mask(width);
        let others = || words.iter().filter(|word| **word < lo || **word >= lo + size);
        let numbers = others().map(|word| if *word < lo { *word } else { word - size });
        let high_width = numbers.max().map_or(0, bit_length);
        1 + 5 + (words.len() * width as usize).div_ceil(8) + (others().count() * high_width as usize).div_ceil(8)
    }

    proptest! {
        #[test]
        fn no_window_takes_less(words in vec((0..64_u64, 0..64_u64).prop_map(|(a, b)| a & b), 64..300), shift in 0..5_u32) {
            let words: Vec<u64> = words.iter().map(|word| word >> shift).collect();
            let widest = words.iter().fold(0, |widest, word| widest.max(bit_length(*word)));
            prop_assume!(widest >= 2);
            let found = Window::cheapest(&Counts::of(0, &words), words.len(), widest).expect("there are words");
            let windows = (1..widest).flat_map(|width| (0..64 - mask(width)).map(move |lo| (width, lo)));
            let least = windows.map(|(width, lo)| bytes_with(width, lo, &words)).min();
            prop_assert_eq!(Some(found.bytes), least);
            prop_assert_eq!(found.bytes, bytes_with(found.width, found.lo, &words));
        }

        #[test]
        fn escapes_are_counted(width in 1..=WIDTH_MAX, words in vec(any::<u64>(), 0..200)) {
            let escapes = words.iter().filter(|word| *word & mask(width) == mask(width)).count();
            let mut codes = Vec::new();
            put_bits(0, width, &words, &mut codes);
            prop_assert_eq!(count_escapes(width, &codes), escapes);
        }
    }
}
