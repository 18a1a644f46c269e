//! Kernels: 64 words at a time to and from bits that stand one after another, the least significant first.
//!
//! Eight words of `width` bits are `width` whole bytes, so that a group of eight begins on a byte and every place and
//! shift inside it is known when the kernel of its width is compiled. A kernel touches up to [`SLACK`] bytes behind its
//! bits: nothing here may take what stands there for part of a word, nor look at what the bits mean.

/// Words that are packed together.
pub(super) const BLOCK: usize = 64;
/// Words of a block.
pub(super) type Block = [u64; BLOCK];

/// Words of a group.
const GROUP: usize = 8;
/// Bytes behind the bits of a block that must be there. What they hold does not matter.
pub(super) const SLACK: usize = 8;
/// Bytes of the widest block, with what must stand behind it.
const WINDOW_BYTES: usize = 8 * BLOCK + SLACK;

/// Whole bytes that `count` words of `width` bits take.
pub(super) fn bytes_of(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// The lowest `width` bits.
pub(super) const fn mask(width: u32) -> u64 {
    match width {
        0 => 0,
        _ => u64::MAX >> (u64::BITS - width),
    }
}

/// Reads the words of block `index` of the packed `bytes`. Words beyond the end are zero.
pub(super) fn unpack(width: u32, bytes: &[u8], index: usize, block: &mut Block) {
    let len = bytes_of(BLOCK, width);
    let begin = index * len;
    if let Some(window) = bytes.get(begin..begin + len + SLACK) {
        return unpack_window(width, window, block);
    }
    let rest = bytes.get(begin..).unwrap_or_default();
    let rest = &rest[..rest.len().min(len)];
    let mut window = [0; WINDOW_BYTES];
    window[..rest.len()].copy_from_slice(rest);
    unpack_window(width, &window, block);
}

/// Reads the word at `index` of the packed `bytes`, which hold it: for words that are wanted one by one.
pub(super) fn get(width: u32, bytes: &[u8], index: usize) -> u64 {
    let bit = index * width as usize;
    let (rest, shift) = (&bytes[bit / 8..], bit % 8);
    let mut nine = [0; 16];
    let len = rest.len().min(9);
    nine[..len].copy_from_slice(&rest[..len]);
    (u128::from_le_bytes(nine) >> shift) as u64 & mask(width)
}

/// Writes the lower `width` bits of `block` to the front of `bytes`, which have [`SLACK`] more than those take: what
/// stands there is lost.
pub(super) fn pack(width: u32, block: &Block, bytes: &mut [u8]) {
    macro_rules! of_width {
        ($($w:literal)*) => {
            match width {
                0 => {}
                $($w => pack_width::<$w>(block, bytes),)*
                _ => unreachable!("{width} bits of 64"),
            }
        };
    }
    of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
        40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);
}

fn unpack_window(width: u32, window: &[u8], block: &mut Block) {
    macro_rules! of_width {
        ($($w:literal)*) => {
            match width {
                0 => *block = [0; BLOCK],
                $($w => unpack_width::<$w>(window, block),)*
                _ => unreachable!("{width} bits of 64"),
            }
        };
    }
    of_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
        40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);
}

/// How many words of a group can be read from one load of eight bytes, wherever in their first byte they begin.
const fn words_of_load(width: usize) -> usize {
    match width {
        0..=8 => 8,
        9..=16 => 4,
        17..=30 | 32 => 2,
        _ => 1,
    }
}

#[inline(always)]
fn unpack_width<const W: usize>(window: &[u8], block: &mut Block) {
    let window = &window[..GROUP * W + SLACK];
    for (group, words) in block.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        let bytes = &window[group * W..][..W + SLACK];
        let together = words_of_load(W);
        for start in (0..GROUP).step_by(together) {
            let (at, shift) = (start * W / 8, start * W % 8);
            let load = load(bytes, at) >> shift;
            // Only words that are read one by one can end behind the eight bytes.
            let load = if shift + W > 64 { load | u64::from(bytes[at + 8]) << (64 - shift) } else { load };
            for word in 0..together {
                words[start + word] = load >> (word * W) & mask(W as u32);
            }
        }
    }
}

#[inline(always)]
fn pack_width<const W: usize>(block: &Block, bytes: &mut [u8]) {
    let bytes = &mut bytes[..GROUP * W + SLACK];
    for (group, words) in block.as_chunks::<GROUP>().0.iter().enumerate() {
        let bytes = &mut bytes[group * W..][..W + SLACK];
        let (mut pending, mut filled, mut at) = (0, 0, 0);
        for word in words {
            let word = word & mask(W as u32);
            pending |= word << filled;
            filled += W;
            if filled >= 64 {
                bytes[at..at + 8].copy_from_slice(&pending.to_le_bytes());
                (filled, at) = (filled - 64, at + 8);
                // What of the word is not out yet: nothing if it ended with the eight bytes.
                pending = if filled == 0 { 0 } else { word >> (W - filled) };
            }
        }
        // The next group writes over what of these is too much; the slack takes it from the last.
        bytes[at..at + 8].copy_from_slice(&pending.to_le_bytes());
    }
}

#[inline(always)]
fn load(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
