//! Sums of floats without any rounding on the way: the same for every order and every cut into parts, rounded once at the
//! end. Never loses a bit, and never depends on how it was built.
//!
//! After R. Neal, "Fast exact summation using small and large superaccumulators" (2015): a fixed-point number with 32 bits a
//! digit kept in 64, so that carries wait for a billion additions. Ours holds only the digits that its values touch, because
//! a query keeps one sum a window and most windows need three or four of the seventy that cover all floats.
//!
//! Sent as `flags:u8 base:u8 len:u8 digit:u32*`, sign and magnitude, no zero digit at either end; flags are 1 negative, 2 has
//! met +inf, 4 has met -inf.

use crate::wire::{DecodeError, Reader};

/// Additions until digits are carried: each adds less than 2^32 to a digit that starts below 2^32 and stays below 2^63.
const PENDING_MAX: u32 = 1 << 30;
/// Digits from 2^-1074 to beyond 2^64 times the greatest float: the most that a sender can have.
const DIGITS_MAX: usize = 72;
const DIGIT_MASK: i64 = 0xffff_ffff;
/// Zero digits put below a sum before it is divided by up to 2^64: at least 64 bits of quotient remain, which the 53 of a
/// float and one for rounding need.
const FRACTION_DIGITS: usize = 4;

const NEGATIVE: u8 = 1;
const PLUS_INFINITY: u8 = 2;
const MINUS_INFINITY: u8 = 4;

/// The exact sum of any floats but NaN, at most 2^64 of them.
#[derive(Clone, Default, Debug)]
pub(crate) struct ExactSum {
    /// Digit `i` counts units of 2^(32 * (base + i) - 1074). Signed; carries may be outstanding.
    digits: Vec<i64>,
    base: usize,
    pending: u32,
    plus_infinity: bool,
    minus_infinity: bool,
}

impl ExactSum {
    /// Adds a value, which must not be NaN.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let bits = value.to_bits();
        let negative = bits >> 63 != 0;
        let (exponent, fraction) = ((bits >> 52) as usize & 0x7ff, bits & ((1 << 52) - 1));
        if exponent == 0x7ff {
            self.minus_infinity |= negative;
            self.plus_infinity |= !negative;
            return;
        }
        // Subnormals have no hidden bit and share the exponent of the smallest normal numbers.
        let (position, mantissa) = if exponent == 0 { (0, fraction) } else { (exponent - 1, fraction | 1 << 52) };
        let wide = u128::from(mantissa) << (position % 32);
        let sign = if negative { -1 } else { 1 };
        let at = self.cover(position / 32);
        for (digit, shift) in self.digits[at..at + 3].iter_mut().zip([0, 32, 64]) {
            *digit += sign * ((wide >> shift) as i64 & DIGIT_MASK);
        }
        self.pending += 1;
        if self.pending == PENDING_MAX {
            self.carry();
        }
    }

    /// Adds all that went into `other`.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.plus_infinity |= other.plus_infinity;
        self.minus_infinity |= other.minus_infinity;
        self.carry();
        other.carry();
        if other.digits.is_empty() {
            return;
        }
        let at = self.cover(other.base);
        let end = at + other.digits.len();
        if self.digits.len() < end {
            self.digits.resize(end, 0);
        }
        for (digit, more) in self.digits[at..end].iter_mut().zip(&other.digits) {
            *digit += more;
        }
        self.pending = 1;
    }

    /// The sum divided by `count` (not zero), rounded once, to nearest, ties to even. Infinities of both signs give NaN.
    pub(crate) fn divided_by(&self, count: u64) -> f64 {
        match (self.plus_infinity, self.minus_infinity) {
            (true, true) => return f64::NAN,
            (true, false) => return f64::INFINITY,
            (false, true) => return f64::NEG_INFINITY,
            (false, false) => {}
        }
        let (negative, digits, base) = self.magnitude();
        let mut quotient = vec![0; FRACTION_DIGITS + digits.len()];
        let mut rest = 0_u128;
        for at in (0..quotient.len()).rev() {
            let digit = at.checked_sub(FRACTION_DIGITS).map_or(0, |at| digits[at]);
            rest = rest << 32 | u128::from(digit);
            quotient[at] = (rest / u128::from(count)) as u32;
            rest %= u128::from(count);
        }
        let magnitude = round(&quotient, base as i32 - FRACTION_DIGITS as i32, rest != 0);
        if negative { -magnitude } else { magnitude }
    }

    /// Appends the sum for [`ExactSum::take`]; equal sums have equal bytes.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let (negative, digits, base) = self.magnitude();
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(negative, NEGATIVE)
                | flag(self.plus_infinity, PLUS_INFINITY)
                | flag(self.minus_infinity, MINUS_INFINITY),
        );
        for number in [base, digits.len()] {
            out.push(u8::try_from(number).expect("2^64 floats touch at most 72 digits"));
        }
        out.extend(digits.iter().flat_map(|d| d.to_le_bytes()));
    }

    /// Reads what [`ExactSum::put`] wrote.
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        const WHAT: &str = "an exact sum";
        let flags = reader.u8(WHAT)?;
        let (base, len) = (usize::from(reader.u8(WHAT)?), usize::from(reader.u8(WHAT)?));
        let known = flags & !(NEGATIVE | PLUS_INFINITY | MINUS_INFINITY) == 0;
        if !known || base + len > DIGITS_MAX {
            return Err(reader.malformed(WHAT));
        }
        let sign = if flags & NEGATIVE == 0 { 1 } else { -1 };
        let digits = (0..len).map(|_| Ok(sign * i64::from(reader.u32(WHAT)?)));
        let mut sum = Self {
            digits: digits.collect::<Result<_, DecodeError>>()?,
            base,
            pending: 1,
            plus_infinity: flags & PLUS_INFINITY != 0,
            minus_infinity: flags & MINUS_INFINITY != 0,
        };
        sum.carry();
        Ok(sum)
    }

    /// Upper bound of what [`ExactSum::put`] appends, in bytes.
    pub(crate) fn encoded_len(&self) -> usize {
        // Two more digits: what outstanding carries can add at the top.
        3 + 4 * (self.digits.len() + 2)
    }

    /// Makes room for three digits from absolute digit `digit` on, and tells where in `digits` they are.
    #[inline]
    fn cover(&mut self, digit: usize) -> usize {
        if self.digits.is_empty() {
            self.base = digit;
        } else if digit < self.base {
            self.digits.splice(..0, std::iter::repeat_n(0, self.base - digit));
            self.base = digit;
        }
        let at = digit - self.base;
        if self.digits.len() < at + 3 {
            self.digits.resize(at + 3, 0);
        }
        at
    }

    /// Carries until all digits but the top one are in `0..2^32` and the top one is within 2^31 of zero, so that its sign is
    /// the sum's.
    fn carry(&mut self) {
        let mut carry = 0;
        for digit in &mut self.digits {
            let value = *digit + carry;
            *digit = value & DIGIT_MASK;
            carry = value >> 32;
        }
        // A carry of -1 out of a full top digit comes back as the top digit -1 of one more place.
        if let Some(top) = self.digits.last_mut() {
            let value = *top | carry << 32;
            if (-(1 << 31)..1 << 31).contains(&value) {
                *top = value;
            } else {
                self.digits.push(carry);
            }
        }
        self.pending = 0;
    }

    /// Sign, digits without zeros at the ends, and the absolute number of the lowest digit (0 for the sum 0).
    fn magnitude(&self) -> (bool, Vec<u32>, usize) {
        let mut sum = self.clone();
        sum.carry();
        let negative = sum.digits.last().is_some_and(|top| *top < 0);
        if negative {
            sum.digits.iter_mut().for_each(|d| *d = -*d);
            sum.carry();
        }
        let Some(low) = sum.digits.iter().position(|d| *d != 0) else { return (false, Vec::new(), 0) };
        let top = sum.digits.iter().rposition(|d| *d != 0).map_or(low, |top| top + 1);
        let digits = sum.digits[low..top].iter().map(|d| *d as u32).collect();
        (negative, digits, sum.base + low)
    }
}

/// The float nearest to `digits` in units of 2^(32 * base - 1074), ties to even; `sticky` says that a little more than the
/// digits is there. Needs 64 significant bits, unless the number is zero.
fn round(digits: &[u32], base: i32, sticky: bool) -> f64 {
    let Some(top) = digits.iter().rposition(|d| *d != 0) else { return 0.0 };
    let low = top.saturating_sub(2);
    let sticky = sticky || digits[..low].iter().any(|d| *d != 0);
    let bits = digits[low..=top].iter().rev().fold(0_u128, |bits, d| bits << 32 | u128::from(*d));
    // `bits` counts units of 2^(unit - 1074); a float's last bit counts 2^(last - 1074).
    let unit = 32 * (base + low as i32);
    let len = 128 - bits.leading_zeros() as i32;
    let last = (unit + len - 53).max(0);
    if last + 53 > 1074 + 1024 {
        return f64::INFINITY;
    }
    let Some(drop) = u32::try_from(last - unit).ok().filter(|drop| (1..128).contains(drop)) else {
        // More than 127 bits below the smallest float, of at most 96: nearer to zero.
        return 0.0;
    };
    let (kept, dropped, half) = ((bits >> drop) as u64, bits & ((1 << drop) - 1), 1 << (drop - 1));
    let up = dropped > half || dropped == half && (sticky || kept & 1 == 1);
    // The hidden bit of a normal number adds one to the exponent, as does a carry out of rounding up.
    f64::from_bits(((last as u64) << 52) + kept + u64::from(up))
}

#[cfg(test)]
mod tests;
