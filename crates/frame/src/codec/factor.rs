//! Words that are all multiples of one number, as how often they hold it: steps of 5, or of a whole second.
//!
//! Nearly all columns have no such number, and it must never cost them more than a look at a few words; nor may a column
//! that has one be divided word by word: a product and a turn of the bits do the same.

use super::VALUES_MAX;

/// The first words that are not 0, so many of them, are asked for the number. All of them are even by chance in one column
/// of as many as 16 bits can count.
const ASKED: usize = 16;
/// How often a number is tried that some of the first words gave: it may be a multiple of the one that suits all.
const TRIES: usize = 2;

/// What all of some words are multiples of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor {
    /// At least 2.
    factor: u64,
    /// What its odd part is multiplied by to give 1.
    inverse: u64,
    /// The factor has so many zeros behind its odd part.
    zeros: u32,
}

impl Factor {
    /// What the first of `words`, less `base`, are multiples of, if it is more than 1: a guess for the others.
    pub(super) fn guess(base: u64, words: &[u64]) -> Option<u64> {
        let mut factor = 0;
        for word in words.iter().map(|word| word.wrapping_sub(base)).filter(|word| *word != 0).take(ASKED) {
            factor = common(factor, word);
            if factor == 1 {
                return None;
            }
        }
        Some(factor).filter(|factor| *factor > 1)
    }

    /// What all `words`, less `base`, are multiples of, if it is the guess or not far from it; and how many times they
    /// hold it.
    pub(super) fn of<'a>(
        mut guess: u64,
        base: u64,
        words: &[u64],
        times: &'a mut [u64; VALUES_MAX],
    ) -> Option<(Self, &'a [u64])> {
        let times = &mut times[..words.len()];
        for _ in 0..TRIES {
            let tried = Self::new(guess);
            match tried.divide(base, words, times) {
                None => return Some((tried, times)),
                Some(other) => guess = common(guess, other),
            }
            if guess == 1 {
                return None;
            }
        }
        None
    }

    fn new(factor: u64) -> Self {
        let zeros = factor.trailing_zeros();
        let odd = factor >> zeros;
        // Newton: right in five bits, then in ten, twenty, forty and all.
        let mut inverse = odd.wrapping_mul(3) ^ 2;
        for _ in 0..4 {
            inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        }
        Self { factor, inverse, zeros }
    }

    pub(super) fn get(self) -> u64 {
        self.factor
    }

    /// Writes how many times the factor is in each of `words`, less `base`. One in which it is no whole number of times,
    /// if there are such, comes back.
    pub(super) fn divide(self, base: u64, words: &[u64], times: &mut [u64]) -> Option<u64> {
        // The product by the inverse is unique to each word, and multiples have all those up to this one.
        let most = u64::MAX / self.factor;
        let mut exact = true;
        for (word, times) in words.iter().zip(times) {
            *times = self.times_in(word.wrapping_sub(base));
            exact &= *times <= most;
        }
        let mut offsets = words.iter().map(|word| word.wrapping_sub(base));
        if exact { None } else { offsets.find(|offset| self.times_in(*offset) > most) }
    }

    /// How many times it is in a multiple; of another word, more than it is in any.
    #[inline(always)]
    fn times_in(self, word: u64) -> u64 {
        word.wrapping_mul(self.inverse).rotate_right(self.zeros)
    }
}

/// The greatest number of which both are multiples; the other one if one is 0.
fn common(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 {
        return a | b;
    }
    let zeros = (a | b).trailing_zeros();
    let (mut a, mut b) = (a >> a.trailing_zeros(), b >> b.trailing_zeros());
    while a != b {
        let (low, high) = (a.min(b), a.max(b));
        (a, b) = (low, (high - low) >> (high - low).trailing_zeros());
    }
    a << zeros
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn multiples_are_told_from_others(factor in 2..=u64::MAX, shift in 0..63_u32, word: u64) {
            let factor = Factor::new((factor >> shift).max(2));
            let mut times = [0];
            let misfit = factor.divide(7, &[word.wrapping_add(7)], &mut times);
            prop_assert_eq!(misfit, (word % factor.get() != 0).then_some(word));
            prop_assert!(misfit.is_some() || times[0] == word / factor.get());
            let multiple = word - word % factor.get();
            prop_assert_eq!(factor.divide(0, &[multiple], &mut times), None);
            prop_assert_eq!(times[0], multiple / factor.get());
        }

        #[test]
        fn the_common_factor_is_the_greatest(a: u32, b: u32, factor in 1..=u64::from(u32::MAX)) {
            let (a, b) = (u64::from(a) * factor, u64::from(b) * factor);
            let (mut slow, mut rest) = (a, b);
            while rest != 0 {
                (slow, rest) = (rest, slow % rest);
            }
            prop_assert_eq!(common(a, b), slow);
        }
    }

    #[test]
    fn a_factor_is_of_all_words() {
        let found = |words: &[u64]| {
            let guess = Factor::guess(3, words)?;
            Factor::of(guess, 3, words, &mut [0; VALUES_MAX]).map(|(factor, _)| factor.get())
        };
        let mut words: Vec<u64> = (0..100).map(|i| 3 + 60 * (i % 7)).collect();
        assert_eq!(found(&words), Some(60));
        words[50] += 36;
        assert_eq!(found(&words), Some(12), "another word has another factor");
        words[99] += 1;
        assert_eq!(found(&words), None);
        assert_eq!(found(&[3; 9]), None, "of zeros all numbers are");
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[2, 3]), Some(u64::MAX), "one word is its own");
    }
}
