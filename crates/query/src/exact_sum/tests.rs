//! The sum against integers wide enough to be exact, in any order and any parts.

use proptest::prelude::*;

use super::*;

fn sum_of(values: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    values.iter().for_each(|v| sum.add(*v));
    sum
}

fn bytes_of(sum: &ExactSum) -> Vec<u8> {
    let mut bytes = vec![1];
    sum.put(&mut bytes);
    assert!(bytes.len() <= 1 + sum.encoded_len());
    bytes
}

fn rounded(values: &[f64]) -> f64 {
    sum_of(values).divided_by(1)
}

/// `2^exponent`, which must be a float.
fn power(exponent: i32) -> f64 {
    if exponent < -1022 {
        f64::from_bits(1 << (exponent + 1074))
    } else {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    }
}

#[test]
fn what_plain_sums_get_wrong() {
    assert_eq!(rounded(&[]), 0.0);
    assert_eq!(rounded(&[1e308, 1e308, -1e308, -1e308, 1.0]), 1.0);
    assert_eq!(rounded(&[1e16, 1.0, -1e16]), 1.0);
    assert_eq!(rounded(&[0.1; 10]), 1.0);
    assert_eq!(rounded(&[f64::MAX, f64::MAX]), f64::INFINITY);
    assert_eq!(rounded(&[-f64::MAX, -f64::MAX]), f64::NEG_INFINITY);
    assert_eq!(sum_of(&[f64::MAX, f64::MAX]).divided_by(2), f64::MAX);
    assert_eq!(rounded(&[f64::MAX, power(969)]), f64::MAX, "less than half of the last bit");
    assert_eq!(rounded(&[f64::MAX, power(970)]), f64::INFINITY, "half of the last bit, ties to even");
    assert_eq!(rounded(&[1.0, power(-53)]), 1.0, "a tie goes to even");
    assert_eq!(rounded(&[1.0, power(-53), power(-1074)]), 1.0 + f64::EPSILON, "a tie broken from far below");
    assert_eq!(rounded(&[-1.0, -power(-53), -power(-1074)]), -1.0 - f64::EPSILON);
    assert_eq!(rounded(&[-0.0]).to_bits(), 0, "as documented");
}

#[test]
fn smallest_floats() {
    let tiny = f64::from_bits(1);
    assert_eq!(rounded(&[tiny, tiny]), f64::from_bits(2));
    assert_eq!(sum_of(&[tiny]).divided_by(2), 0.0, "a tie goes to even");
    assert_eq!(sum_of(&[tiny, tiny, tiny]).divided_by(2), f64::from_bits(2));
    assert_eq!(sum_of(&[tiny, tiny]).divided_by(3), tiny);
    assert_eq!(sum_of(&[tiny]).divided_by(u64::MAX), 0.0);
    assert_eq!(sum_of(&[-tiny]).divided_by(1), -tiny);
    assert_eq!(rounded(&[f64::MIN_POSITIVE, -tiny]), f64::from_bits((1 << 52) - 1));
}

#[test]
fn infinities() {
    assert_eq!(rounded(&[f64::INFINITY, -1e308]), f64::INFINITY);
    assert_eq!(rounded(&[f64::NEG_INFINITY, 1e308]), f64::NEG_INFINITY);
    assert!(rounded(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
}

#[test]
fn carries_before_digits_overflow() {
    let mut sum = sum_of(&[f64::MAX]);
    sum.pending = PENDING_MAX - 1;
    sum.add(f64::MAX);
    assert_eq!(sum.pending, 0);
    assert!(sum.digits.iter().all(|d| d.unsigned_abs() <= 1 << 32));
    assert_eq!(sum.divided_by(2), f64::MAX);
}

fn any_float() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("sums take no NaN", |v| !v.is_nan())
}

proptest! {
    #[test]
    fn equals_wide_integers(
        terms in prop::collection::vec((-(1_i64 << 53)..=1 << 53, 0_u32..60), 0..40),
        scale in -1074_i32..980,
        count in 1_u64..,
    ) {
        let wide: i128 = terms.iter().map(|(m, shift)| i128::from(*m) << shift).sum();
        let values: Vec<f64> = terms.iter().map(|(m, shift)| (*m as f64 * power(*shift as i32)) * power(scale)).collect();
        prop_assume!(values.iter().all(|v| v.is_finite()));
        // An integer as float is rounded once; scaling is exact, because it never makes a normal number subnormal.
        prop_assert_eq!(rounded(&values), wide as f64 * power(scale));
        let mean = crate::cell::whole_mean(wide, count);
        let unscaled: Vec<f64> = terms.iter().map(|(m, shift)| *m as f64 * power(*shift as i32)).collect();
        prop_assert_eq!(sum_of(&unscaled).divided_by(count), mean);
    }

    #[test]
    fn order_and_parts_do_not_matter(values in prop::collection::vec(any_float(), 0..60), cut: prop::sample::Index) {
        let whole = sum_of(&values);
        let mut reversed = values.clone();
        reversed.reverse();
        prop_assert_eq!(bytes_of(&sum_of(&reversed)), bytes_of(&whole));
        let (a, b) = values.split_at(cut.index(values.len() + 1));
        let mut merged = sum_of(b);
        merged.merge(sum_of(a));
        prop_assert_eq!(bytes_of(&merged), bytes_of(&whole));
        prop_assert_eq!(merged.divided_by(1).to_bits(), whole.divided_by(1).to_bits());
        // Taking everything away again leaves nothing behind.
        let negated: Vec<f64> = values.iter().filter(|v| v.is_finite()).map(|v| -v).collect();
        let mut nothing = sum_of(&values.iter().copied().filter(|v| v.is_finite()).collect::<Vec<_>>());
        nothing.merge(sum_of(&negated));
        prop_assert_eq!(nothing.divided_by(1), 0.0);
    }

    #[test]
    fn bytes_read_back(values in prop::collection::vec(any_float(), 0..20)) {
        let bytes = bytes_of(&sum_of(&values));
        let mut reader = Reader::new(&bytes, 1).expect("version");
        let read = ExactSum::take(&mut reader).expect("what was put");
        reader.end("the sum").expect("all of it");
        prop_assert_eq!(bytes_of(&read), bytes);
    }

    #[test]
    fn any_bytes_are_a_sum_or_an_error(bytes: Vec<u8>) {
        let bytes = [&[1][..], &bytes].concat();
        if let Ok(mut sum) = ExactSum::take(&mut Reader::new(&bytes, 1).expect("version")) {
            sum.merge(sum.clone());
            sum.divided_by(3);
            sum.put(&mut Vec::new());
        }
    }
}
