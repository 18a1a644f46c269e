//! What is known of a column of a chunk without its values, so that an aggregate over all of its rows need not decode
//! them. Exact: what cannot be merged exactly, as a rounded sum of floats, is not kept.

use bytes::{Buf, BufMut};
use meridian_types::FieldType;

/// A column with fewer values has none: they would take more than they save.
const VALUES_MIN: usize = 64;

/// Of the values that are not NaN, each as its 64 bits. Without any, all is zero.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Statistics {
    /// Values that are not NaN.
    pub(crate) numbers: u16,
    /// The least; of floats in the order in which -0.0 is less than 0.0.
    pub(crate) min: u64,
    /// The greatest.
    pub(crate) max: u64,
    /// The one of the earliest row.
    pub(crate) first: u64,
    /// The one of the latest row.
    pub(crate) last: u64,
    /// Of integers, signed and unsigned.
    pub(crate) sum: Option<i128>,
}

/// Whether a column of so many values of this type has statistics.
fn are_kept(field_type: FieldType, values: usize) -> bool {
    field_type != FieldType::Str && values >= VALUES_MIN
}

fn high(cell: u64) -> u32 {
    (cell >> 32) as u32
}

/// Values are looked at in so many independent rows, because each step of one waits for the step before.
const LANES: usize = 4;

/// What is known of every fourth value.
#[derive(Clone, Copy)]
struct Lane {
    min: u64,
    max: u64,
    /// Of the lower halves and of the upper halves: by halves no sum over one chunk leaves 64 bits.
    lows: u64,
    highs: i64,
}

impl Default for Lane {
    fn default() -> Self {
        Self { min: u64::MAX, max: 0, lows: 0, highs: 0 }
    }
}

impl Lane {
    fn take(&mut self, cell: u64, turn: u64, high: &impl Fn(u64) -> i64) {
        self.min = self.min.min(cell ^ turn);
        self.max = self.max.max(cell ^ turn);
        self.lows += cell & u64::from(u32::MAX);
        self.highs += high(cell);
    }

    fn join(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            lows: self.lows + other.lows,
            highs: self.highs + other.highs,
        }
    }
}

fn has_sum(field_type: FieldType) -> bool {
    matches!(field_type, FieldType::I64 | FieldType::U64)
}

impl Statistics {
    /// What is kept of a column.
    pub(super) fn of(field_type: FieldType, cells: &[u64]) -> Option<Self> {
        if !are_kept(field_type, cells.len()) {
            return None;
        }
        Some(match field_type {
            FieldType::F64 => {
                let numbers = cells.iter().copied().filter(|cell| !f64::from_bits(*cell).is_nan());
                Self::of_cells(numbers, |cell| {
                    let bits = cell.cast_signed();
                    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
                })
            }
            // The sign bit turned makes the order of signed integers that of unsigned ones.
            FieldType::I64 => Self::of_whole(cells, 1 << 63, |cell| i64::from(high(cell).cast_signed())),
            FieldType::U64 => Self::of_whole(cells, 0, |cell| i64::from(high(cell))),
            FieldType::Bool | FieldType::Str => Self::of_cells(cells.iter().copied(), |cell| cell),
        })
    }

    fn of_cells<K: Ord>(cells: impl DoubleEndedIterator<Item = u64> + Clone, order: impl Fn(u64) -> K) -> Self {
        Self {
            numbers: cells.clone().count() as u16, // at most the rows of a chunk
            min: cells.clone().min_by_key(|cell| order(*cell)).unwrap_or_default(),
            max: cells.clone().max_by_key(|cell| order(*cell)).unwrap_or_default(),
            first: cells.clone().next().unwrap_or_default(),
            last: cells.clone().next_back().unwrap_or_default(),
            sum: None,
        }
    }

    /// Of integers, which are in order once the bits of `turn` are turned: `high` gives the upper half of a cell with its sign.
    fn of_whole(cells: &[u64], turn: u64, high: impl Fn(u64) -> i64) -> Self {
        let mut lanes = [Lane::default(); LANES];
        let (whole, rest) = cells.as_chunks::<LANES>();
        for some in whole {
            lanes.iter_mut().zip(some).for_each(|(lane, cell)| lane.take(*cell, turn, &high));
        }
        rest.iter().for_each(|cell| lanes[0].take(*cell, turn, &high));
        let all = lanes.into_iter().fold(Lane::default(), Lane::join);
        let [first, last] = [cells.first(), cells.last()].map(|cell| cell.copied().unwrap_or_default());
        let sum = Some((i128::from(all.highs) << 32) + i128::from(all.lows));
        let numbers = cells.len() as u16; // at most the rows of a chunk
        Self { numbers, min: all.min ^ turn, max: all.max ^ turn, first, last, sum }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u16_le(self.numbers);
        for cell in [self.min, self.max, self.first, self.last] {
            out.put_u64_le(cell);
        }
        if let Some(sum) = self.sum {
            out.put_i128_le(sum);
        }
    }

    /// Takes what [`Statistics::put`] wrote for a column of so many values of this type; the outer `None` if it is cut short.
    pub(super) fn take(field_type: FieldType, values: usize, bytes: &mut &[u8]) -> Option<Option<Self>> {
        if !are_kept(field_type, values) {
            return Some(None);
        }
        let mut statistics = Self {
            numbers: bytes.try_get_u16_le().ok()?,
            min: bytes.try_get_u64_le().ok()?,
            max: bytes.try_get_u64_le().ok()?,
            first: bytes.try_get_u64_le().ok()?,
            last: bytes.try_get_u64_le().ok()?,
            sum: None,
        };
        if has_sum(field_type) {
            statistics.sum = Some(bytes.try_get_i128_le().ok()?);
        }
        Some(Some(statistics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_ordered_and_nan_is_left_out() {
        let mut cells = vec![f64::NAN.to_bits(); 100];
        assert_eq!(Statistics::of(FieldType::F64, &cells), Some(Statistics::default()));
        cells[3] = 0.0_f64.to_bits();
        cells[40] = (-0.0_f64).to_bits();
        cells[41] = f64::NEG_INFINITY.to_bits();
        cells[70] = 1.5_f64.to_bits();
        cells[71] = 1.0_f64.to_bits();
        let seen = Statistics::of(FieldType::F64, &cells).expect("enough values");
        let [min, max, first, last] = [seen.min, seen.max, seen.first, seen.last].map(f64::from_bits);
        assert_eq!((seen.numbers, min, max, first, last, seen.sum), (5, f64::NEG_INFINITY, 1.5, 0.0, 1.0, None));
        cells[41] = 0.0_f64.to_bits();
        let least = Statistics::of(FieldType::F64, &cells).map(|seen| seen.min);
        assert_eq!(least, Some((-0.0_f64).to_bits()), "as queries compare");
    }

    #[test]
    fn integers_are_compared_with_their_sign_or_without() {
        let cells: Vec<u64> = (0..101).map(|i: i64| (i * 7_919 % 101 - 50).cast_unsigned()).collect();
        let of = |kind| Statistics::of(kind, &cells).expect("enough values");
        let (signed, unsigned) = (of(FieldType::I64), of(FieldType::U64));
        assert_eq!((signed.min.cast_signed(), signed.max.cast_signed(), signed.sum), (-50, 50, Some(0)));
        assert_eq!((unsigned.min, unsigned.max), (0, u64::MAX));
        assert_eq!(unsigned.sum, Some(50 << 64));
        assert_eq!((signed.first, signed.last, signed.numbers), (cells[0], cells[100], 101));
    }

    #[test]
    fn sums_of_integers_do_not_wrap() {
        let cells = vec![u64::MAX; 1_024];
        let sum = |kind| Statistics::of(kind, &cells).and_then(|seen| seen.sum);
        assert_eq!(sum(FieldType::U64), Some(1_024 * i128::from(u64::MAX)));
        assert_eq!(sum(FieldType::I64), Some(-1_024));
        assert_eq!(sum(FieldType::Bool), None);
        assert_eq!(Statistics::of(FieldType::I64, &cells[..63]), None, "too few to be worth it");
        assert_eq!(Statistics::of(FieldType::Str, &cells), None);
    }
}
