//! What codecs promise: every value comes back with its bits, the small form is taken, and bytes never panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Integers as they come: noise, walks, runs, extremes, outliers.
fn integers() -> impl Strategy<Value = Vec<u64>> {
    let extreme = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(i64::MIN.cast_unsigned()),
        Just(i64::MAX.cast_unsigned()),
        any::<u64>(),
    ];
    let walk = (any::<u64>(), 1..64_u32, vec(any::<u64>(), 0..VALUES_MAX)).prop_map(|(start, shift, steps)| {
        let mut at = start;
        let mut walk: Vec<u64> = Vec::new();
        for step in steps {
            at = at.wrapping_add(step >> shift);
            walk.push(at);
        }
        walk
    });
    let outliers = (walk.clone(), vec((any::<prop::sample::Index>(), any::<u64>()), 0..20));
    let outliers = outliers.prop_map(|(mut walk, outliers): (Vec<u64>, Vec<(prop::sample::Index, u64)>)| {
        if !walk.is_empty() {
            outliers.iter().for_each(|(at, value)| *at.get_mut(&mut walk) = *value);
        }
        walk
    });
    prop_oneof![
        vec(extreme, 0..70),
        vec(any::<u64>(), 0..=VALUES_MAX),
        (0..64_u32, vec(any::<u64>(), 0..300)).prop_map(|(shift, all)| all.iter().map(|v| v >> shift).collect()),
        (any::<u64>(), 0..=VALUES_MAX).prop_map(|(value, count)| vec![value; count]),
        walk,
        outliers,
        in_runs(any::<u64>()),
        small_steps(),
        small_steps(),
    ]
}

/// A walk with few different steps, or levels that are as few, of both signs, all times one number; and some that are
/// none of that.
fn small_steps() -> impl Strategy<Value = Vec<u64>> {
    let start = prop_oneof![Just(0), Just(i64::MIN.cast_unsigned()), Just(i64::MAX.cast_unsigned()), any::<u64>()];
    let factor =
        prop_oneof![Just(1), 2..100_u64, (any::<u64>(), 0..64_u32).prop_map(|(factor, shift)| factor >> shift)];
    // The fewer bits of the draw count, the more often they are all alike: few steps that come often, and rarer ones.
    let steps = vec((any::<u64>(), 0..7_u32, 0..7_u32), 1..VALUES_MAX);
    let others = vec((any::<prop::sample::Index>(), any::<u64>(), 0..64_u32), 0..5);
    (start, factor, steps, 0..40_u64, others, any::<bool>()).prop_map(|(start, factor, steps, low, others, walks)| {
        let mut at = start;
        let mut values: Vec<u64> = Vec::new();
        for (draw, a, b) in steps {
            let step = (draw & bits::mask(a) & bits::mask(b)).wrapping_sub(low).wrapping_mul(factor);
            values.push(if walks { at } else { start }.wrapping_add(step));
            at = at.wrapping_add(step);
        }
        others.iter().for_each(|(at, value, shift)| *at.get_mut(&mut values) = value >> shift);
        values
    })
}

/// The same value again and again.
fn in_runs<T: Clone + std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    let runs = vec((value, 1..60_usize), 1..20);
    let repeated = |(value, length): &(T, usize)| std::iter::repeat_n(value.clone(), *length);
    runs.prop_map(move |runs| runs.iter().flat_map(repeated).take(VALUES_MAX).collect())
}

/// Decimals among which some values are none, or have more digits.
fn with_exceptions() -> impl Strategy<Value = Vec<f64>> {
    let others = vec((any::<prop::sample::Index>(), prop_oneof![any::<u64>(), Just(f64::NAN.to_bits())]), 0..40);
    (vec(any::<i16>(), 1..VALUES_MAX), others, 0..15_i32).prop_map(|(values, others, exponent)| {
        let mut values: Vec<f64> = values.iter().map(|value| f64::from(*value) / 10_f64.powi(exponent)).collect();
        others.iter().for_each(|(at, bits)| *at.get_mut(&mut values) = f64::from_bits(*bits));
        values
    })
}

/// Floats as they come: decimals, bits of any kind, slow walks, and what is hard to keep.
fn floats() -> impl Strategy<Value = Vec<f64>> {
    let hard = prop_oneof![
        Just(-0.0),
        Just(0.0),
        Just(f64::NAN),
        Just(f64::from_bits(0x7FF0_0000_0000_0001)),
        Just(f64::from_bits(0xFFFF_FFFF_FFFF_FFFF)),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MIN_POSITIVE),
        Just(5e-324),
        Just((1_u64 << 51) as f64),
        Just(((1_u64 << 51) - 1) as f64),
        Just(-((1_u64 << 53) as f64)),
        Just(0.1),
    ];
    let decimals = (0..18_u32, 0..64_u32, vec(any::<i64>(), 0..300));
    let decimals = decimals.prop_map(|(exponent, shift, values)| {
        let power = 10_f64.powi(exponent.cast_signed());
        values.iter().map(|value| (value >> shift) as f64 / power).collect()
    });
    prop_oneof![
        vec(hard.clone(), 0..40),
        vec(any::<u64>().prop_map(f64::from_bits), 0..=VALUES_MAX),
        decimals.clone(),
        (decimals, vec(hard, 0..3)).prop_map(|(mut all, hard): (Vec<f64>, _)| {
            all.extend(hard);
            all
        }),
        (any::<f64>(), vec(any::<u16>(), 0..300))
            .prop_map(|(start, steps)| steps.iter().map(|s| f64::from_bits(start.to_bits() ^ u64::from(*s))).collect()),
        vec(any::<f32>().prop_map(f64::from), 0..300),
        in_runs(any::<u64>().prop_map(f64::from_bits)),
        in_runs(any::<u8>().prop_map(|value| f64::from(value) / 10.0)),
        small_steps().prop_map(|all| all.iter().map(|value| (value.cast_signed() >> 20) as f64 / 100.0).collect()),
        with_exceptions(),
    ]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        vec(any::<String>(), 0..40),
        (vec(any::<String>(), 1..8), vec(any::<prop::sample::Index>(), 0..300))
            .prop_map(|(some, places)| { places.iter().map(|place| some[place.index(some.len())].clone()).collect() }),
        (any::<String>(), 0..=VALUES_MAX).prop_map(|(text, count)| vec![text; count]),
    ]
}

fn bits_of(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// One of the functions that decode.
type Decode<T> = fn(u8, &[u8], usize, &mut Vec<T>) -> Result<(), CodecError>;

/// Decodes behind values that must stay, and of which nothing else may stay after an error.
fn read<T: Default + Clone + PartialEq + std::fmt::Debug>(
    decode: Decode<T>,
    encoding: u8,
    bytes: &[u8],
    count: usize,
) -> Result<Vec<T>, CodecError> {
    let before = vec![T::default(); 3];
    let mut out = before.clone();
    let decoded = decode(encoding, bytes, count, &mut out);
    let taken = out.split_off(3);
    assert_eq!(out, before);
    assert!(decoded.is_ok() || taken.is_empty(), "{decoded:?} and values");
    decoded.map(|()| taken)
}

/// The same with texts.
fn read_str(encoding: u8, bytes: &[u8], count: usize) -> Result<Texts, CodecError> {
    let before = Texts { text: "é".to_owned(), spans: vec![Span { start: 0, len: 2 }] };
    let mut out = before.clone();
    if let Err(error) = decode_str(encoding, bytes, count, &mut out) {
        assert_eq!(out, before);
        return Err(error);
    }
    assert_eq!(out.iter().next(), Some("é"));
    let spans = out.spans.split_off(1).into_iter();
    Ok(Texts { text: out.text.split_off(2), spans: spans.map(|span| Span { start: span.start - 2, ..span }).collect() })
}

/// Encodes behind bytes that must stay.
fn encoded(encode: impl FnOnce(&mut Vec<u8>) -> Encoding) -> (Encoding, Vec<u8>) {
    let mut out = vec![7];
    let encoding = encode(&mut out);
    assert_eq!(out.remove(0), 7);
    (encoding, out)
}

proptest! {
    #[test]
    fn integers_come_back(values in integers()) {
        let (encoding, bytes) = encoded(|out| encode_u64(&values, out));
        prop_assert!(bytes.len() <= 8 * values.len(), "{encoding:?} takes {} bytes", bytes.len());
        prop_assert_eq!(read(decode_u64, encoding as u8, &bytes, values.len()), Ok(values.clone()));
        let signed: Vec<i64> = values.iter().map(|value| value.cast_signed()).collect();
        let (encoding, bytes) = encoded(|out| encode_i64(&signed, out));
        prop_assert_eq!(read(decode_i64, encoding as u8, &bytes, signed.len()), Ok(signed));
    }

    #[test]
    fn floats_come_back_with_their_bits(values in floats()) {
        let (encoding, bytes) = encoded(|out| encode_f64(&values, out));
        prop_assert!(bytes.len() <= 8 * values.len(), "{encoding:?} takes {} bytes", bytes.len());
        let back = read(decode_f64, encoding as u8, &bytes, values.len()).expect("what was encoded");
        prop_assert_eq!(bits_of(&back), bits_of(&values));
    }

    #[test]
    fn truth_values_come_back(values in prop_oneof![vec(any::<bool>(), 0..=VALUES_MAX), vec(Just(true), 0..99)]) {
        let (encoding, bytes) = encoded(|out| encode_bool(&values, out));
        prop_assert_eq!(read(decode_bool, encoding as u8, &bytes, values.len()), Ok(values));
    }

    #[test]
    fn texts_come_back(values in texts()) {
        let slices: Vec<&str> = values.iter().map(String::as_str).collect();
        let (encoding, bytes) = encoded(|out| encode_str(&slices, out));
        let back = read_str(encoding as u8, &bytes, values.len()).expect("what was encoded");
        prop_assert_eq!(back.iter().collect::<Vec<_>>(), slices);
    }

    #[test]
    fn packed_words_take_no_more_than_the_widest_would(words in integers()) {
        let plan = pack::Plan::of(&words);
        prop_assert!(plan.bytes <= 1 + bits::bytes_of(words.len(), plan.widest), "{plan:?}");
        let mut bytes = Vec::new();
        plan.pack(&words, &mut bytes);
        prop_assert_eq!(bytes.len(), plan.bytes);
        let mut input = input::Input::new(&bytes);
        let mut back = vec![7; words.len()];
        pack::Packed::take(&mut input, words.len()).expect("what was packed").write(&mut back);
        prop_assert_eq!((back, input.rest().len()), (words, 0));
    }

    #[test]
    fn any_codes_are_values_or_an_error(
        head in vec(prop_oneof![Just(65), Just(66), 0..8_u8], 0..3),
        window in (0..7_u8, 0..8_u8, 0..66_u8, 0..20_u8),
        bytes in vec(prop_oneof![Just(0), Just(0xFF), any::<u8>()], 0..60),
        count in 0..150_usize,
    ) {
        let (width, high_width, lo, escapes) = window;
        let bytes = [&[0; 16], &head[..], &[65, width, high_width, lo, escapes, 0], &bytes].concat();
        decode_all(3, &bytes, count)?;
        decode_all(2, &bytes[8..], count)?;
    }

    #[test]
    fn any_bytes_are_values_or_an_error(encoding in 0..10_u8, bytes in vec(any::<u8>(), 0..200), count in 0..1_100_usize) {
        decode_all(encoding, &bytes, count)?;
    }

    #[test]
    fn damaged_bytes_are_values_or_an_error(
        integers in integers(),
        floats in floats(),
        texts in texts(),
        small in small_steps(),
        at: prop::sample::Index,
        value: u8,
        count: prop::sample::Index,
    ) {
        let slices: Vec<&str> = texts.iter().map(String::as_str).collect();
        let columns = [
            (integers.len(), encoded(|out| encode_u64(&integers, out))),
            (small.len(), encoded(|out| encode_u64(&small, out))),
            (floats.len(), encoded(|out| encode_f64(&floats, out))),
            (texts.len(), encoded(|out| encode_str(&slices, out))),
        ];
        for (len, (encoding, bytes)) in columns.into_iter().filter(|(_, (_, bytes))| !bytes.is_empty()) {
            let mut damaged = bytes.clone();
            // The front decides over lengths: look there as often as anywhere.
            let place = at.index(bytes.len());
            damaged[if value & 1 == 0 { place } else { (place % 32).min(bytes.len() - 1) }] = value;
            decode_all(encoding as u8, &damaged, len)?;
            decode_all(encoding as u8, &bytes[..place], len)?;
            decode_all(encoding as u8, &bytes, count.index(VALUES_MAX))?;
        }
    }
}

/// Decodes as every type; what comes is as long as was asked.
fn decode_all(encoding: u8, bytes: &[u8], count: usize) -> Result<(), TestCaseError> {
    let lengths = [
        read(decode_u64, encoding, bytes, count).map(|values| values.len()),
        read(decode_i64, encoding, bytes, count).map(|values| values.len()),
        read(decode_f64, encoding, bytes, count).map(|values| values.len()),
        read(decode_bool, encoding, bytes, count).map(|values| values.len()),
        read_str(encoding, bytes, count).map(|texts| texts.iter().count()),
    ];
    for length in lengths.into_iter().flatten() {
        prop_assert_eq!(length, count);
        prop_assert!(count <= VALUES_MAX);
    }
    Ok(())
}

/// Seven bits without any order.
fn noise(i: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_pow(3) >> 57
}

#[test]
fn the_small_form_is_taken() {
    let walk = |step: fn(u64) -> u64| -> Vec<u64> { (0..1_024).map(step).collect() };
    let size = |values: &[u64]| {
        let (encoding, bytes) = encoded(|out| encode_u64(values, out));
        (encoding, bytes.len())
    };
    assert_eq!(size(&walk(|_| 5)), (Encoding::Constant, 8));
    assert_eq!(size(&walk(|i| 1_700_000_000_000_000_000 + i * 10_000_000_000)), (Encoding::Delta, 17), "regular times");
    let gap = walk(|i| (i + u64::from(i > 500) * 77) * 10_000_000_000);
    assert_eq!(size(&gap), (Encoding::Delta, 27), "one difference is another");
    let restart = walk(|i| if i < 600 { 1_000_000 + 7 * i } else { 7 * (i - 600) });
    assert_eq!(size(&restart), (Encoding::Delta, 30), "a counter that starts again");
    assert_eq!(size(&walk(|i| 900 + noise(i))), (Encoding::Packed, 8 + 1 + 7 * 128));
    let dip = walk(|i| if i == 9 { 0 } else { 90_000 + noise(i) });
    assert_eq!(size(&dip), (Encoding::Packed, 8 + 1 + 7 * 128 + 3 + 2 + 8), "one value far below all others");
    let float = |values: &[f64]| {
        let (encoding, bytes) = encoded(|out| encode_f64(values, out));
        (encoding, bytes.len())
    };
    let decimals: Vec<f64> = (0..1_024).map(|i| (2_000 + noise(i)) as f64 / 100.0).collect();
    assert_eq!(float(&decimals), (Encoding::Decimal, 2 + 8 + 1 + 7 * 128));
    let mut negative_zero = decimals.clone();
    negative_zero[3] = -0.0;
    let exception = 2 + 2 + 8 + 1;
    let kept = (Encoding::Exceptions, exception + 2 + 8 + 1 + 7 * 128);
    assert_eq!(float(&negative_zero), kept, "a decimal would lose the sign");
    let mut gaps = decimals.clone();
    gaps.iter_mut().step_by(20).for_each(|value| *value = f64::NAN);
    let (encoding, bytes) = float(&gaps);
    assert!(encoding == Encoding::Exceptions && bytes < 7 * 128 + 52 * 2 + 30, "{encoding:?} {bytes}");
    let levels: Vec<f64> = (0..1_024).map(|i| f64::from(i / 100) * 1.1).collect();
    assert_eq!(float(&levels).0, Encoding::Runs);
    assert_eq!(size(&walk(|i| i / 100)), (Encoding::Runs, 2 + (1 + 10) + 1 + (8 + 1 + 6)));
    let full: Vec<f64> = (0..1_024).map(|i| (f64::from(i) / 1e3).sin() + 2.0).collect();
    let (encoding, bytes) = float(&full);
    assert!(encoding == Encoding::Xor && bytes < 7 * 1_024, "{encoding:?} {bytes}");
    let levels: Vec<&str> = (0..1_024).map(|i| ["info", "warning", "error"][i % 3]).collect();
    let (encoding, bytes) = encoded(|out| encode_str(&levels, out));
    assert_eq!((encoding, bytes.len()), (Encoding::Dictionary, 2 + (1 + 2) + (6 + 128 + 86) + 16));
    assert_eq!(read_str(encoding as u8, &bytes, 1_024).map(|texts| texts.text.len()), Ok(16), "held once each");
}

/// A walk whose steps come as often as four coins fall: -2 and 2 once in 16, -1 and 1 four times, 0 six times.
fn coin_walk(count: usize, times: i64) -> Vec<i64> {
    let mut word = 1_u64;
    let steps = (0..count).map(|_| {
        word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        (i64::from((word >> 60).count_ones()) - 2) * times
    });
    let mut at = 20_000 * times;
    let walk = steps.map(|step| {
        at += step;
        at
    });
    walk.collect()
}

#[test]
fn narrow_words_and_multiples_are_small() {
    let size = |values: &[i64]| {
        let (encoding, bytes) = encoded(|out| encode_i64(values, out));
        assert_eq!(read(decode_i64, encoding as u8, &bytes, values.len()), Ok(values.to_vec()));
        (encoding, bytes.len())
    };
    let packed = |bytes: usize| (Encoding::Delta, 8 + 8 + bytes);
    let (_, walk) = size(&coin_walk(1_024, 1));
    assert!(
        walk <= 8 + 8 + 1_024 * 9 / 4 / 8,
        "2.25 bits each, and no code could do with less than 2.03: {walk} bytes"
    );
    for (times, head) in [(3, 2), (5, 2), (10, 2), (1_000_000_000, 6), (-7, 2), (1 << 40, 7)] {
        assert_eq!(size(&coin_walk(1_024, times)), packed(walk - 16 + head), "times {times}");
    }
    let mut odd = coin_walk(1_024, 10);
    odd[600..].iter_mut().for_each(|value| *value += 5);
    let (_, bytes) = size(&odd);
    assert!(bytes < 8 + 8 + 9 + 1_024 * 27 / 8 / 8, "a lesser factor suits all: {bytes} bytes");
    odd[600..].iter_mut().for_each(|value| *value += 2);
    let (_, bytes) = size(&odd);
    assert!(bytes > 2 * walk, "one step is no multiple of what the others are: {bytes} bytes");
    let sensor: Vec<f64> = coin_walk(1_024, 5).iter().map(|value| *value as f64 / 100.0).collect();
    let (encoding, bytes) = encoded(|out| encode_f64(&sensor, out));
    assert_eq!((encoding, bytes.len()), (Encoding::Decimal, 2 + walk + 2));
    let times: Vec<i64> = (0..1_024).map(|i| i * 10_000_000_000 + i * i % 1_021 * 1_000_000).collect();
    assert!(size(&times).1 < 11 * 1_024 / 8 + 40, "milliseconds in nanoseconds");
}

/// Three levels and a far one, as they are packed with escapes, and what may be wrong with that.
#[test]
fn codes_that_cannot_be_are_refused() {
    // Over the base 0: codes of two bits for 4, 5 and 6; others are 1 and 9, of which the window takes three away.
    let window = |head: [u8; 6], rest: &[u8]| [&[0; 8], &head[..], rest].concat();
    let words = |bytes: &[u8]| read(decode_u64, 2, bytes, 5).map_err(|error| error.to_string());
    let head = [65, 2, 3, 4, 2, 0];
    let (codes, others) = ([0b11_10_11_00, 0b01], [0b110_001]);
    let rest = [&codes[..], &others].concat();
    assert_eq!(words(&window(head, &rest)), Ok(vec![4, 1, 6, 9, 5]));
    let scaled = |factor: &[u8], behind: &[u8]| [&[0; 8], &[66][..], factor, behind].concat();
    let refused = [
        (window([65, 0, 3, 4, 2, 0], &rest), "a window that cannot be"),
        (window([65, 6, 3, 4, 2, 0], &rest), "a window that cannot be"),
        (window([65, 2, 7, 4, 2, 0], &rest), "a window that cannot be"),
        (window([65, 2, 3, 62, 2, 0], &rest), "a window that cannot be"),
        (window([65, 2, 3, 4, 6, 0], &rest), "more escapes than words"),
        (window([65, 2, 3, 4, 2, 1], &rest), "more escapes than words"),
        (window([65, 2, 3, 4, 1, 0], &rest), "escapes of another number than the codes say"),
        (window([65, 2, 3, 4, 3, 0], &rest), "escapes of another number than the codes say"),
        (window(head, &[codes[0], 0b101, others[0]]), "spare bits that are set"),
        (window(head, &[codes[0], codes[1], 0b1_110_001]), "spare bits that are set"),
        (window(head, &codes), "they are cut short"),
        (window(head, &[&rest[..], &[0]].concat()), "bytes are left over"),
        (window([65 | 128, 2, 3, 4, 2, 0], &rest), "words of more than 64 bits"),
        (scaled(&[1], &[0]), "a factor below 2"),
        (scaled(&[0], &[0]), "a factor below 2"),
        (scaled(&[2], &scaled(&[2], &[0])[8..]), "words of more than 64 bits"),
        (scaled(&[2], &[]), "they are cut short"),
        (scaled(&[130], &[]), "they are cut short"),
        (scaled(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 2], &[0]), "a number of more than 64 bits"),
        (scaled(&[128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 1], &[0]), "a number of more than 64 bits"),
    ];
    for (bytes, why) in refused {
        assert_eq!(words(&bytes), Err(format!("the values are malformed: {why}")), "{bytes:?}");
    }
    // Ten, and the highest bit.
    let scaled = scaled(&[138, 128, 128, 128, 128, 128, 128, 128, 128, 1], &window(head, &rest)[8..]);
    assert_eq!(words(&scaled), Ok(vec![40, 1 << 63 | 10, 60, 1 << 63 | 90, 1 << 63 | 50]), "products wrap");
}

#[test]
fn what_is_refused_says_why() {
    assert_eq!(read(decode_u64, 1, &[0; 8], 1_025), Err(CodecError::TooMany(1_025)));
    assert_eq!(read(decode_u64, 4, &[0; 8], 1), Err(CodecError::Encoding { encoding: 4, values: "integers" }));
    let text = |error: Result<Vec<u64>, CodecError>| error.expect_err("refused").to_string();
    assert_eq!(text(read(decode_u64, 0, &[0; 7], 1)), "the values are malformed: they are cut short");
    assert_eq!(text(read(decode_u64, 0, &[0; 9], 1)), "the values are malformed: bytes are left over");
    let spare = [&[0; 8][..], &[3, 0b1000_0000, 0]].concat();
    assert_eq!(read(decode_u64, 2, &spare, 3), Ok(vec![0, 0, 2]));
    assert_eq!(text(read(decode_u64, 2, &spare[..10], 2)), "the values are malformed: spare bits that are set");
    assert!(read_str(0, b"\x01\0\0\0\x01\0\0\0\xC3\xA9", 2).is_err(), "a cut inside a character");
    for (number, encoding) in Encoding::ALL.into_iter().enumerate() {
        assert_eq!(encoding as usize, number, "numbers are never reused and never skipped");
    }
}

/// One line a column: what it is, the encoding's number, the bytes.
fn golden() -> String {
    let mut text = String::new();
    let mut add = |what: &str, encode: &dyn Fn(&mut Vec<u8>) -> Encoding| {
        let (encoding, bytes) = encoded(encode);
        let hex: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        text += &format!("{what}: {encoding:?} {}{hex}\n", encoding as u8);
    };
    add("i64 no value", &|out| encode_i64(&[], out));
    add("i64 -1 -1 -1", &|out| encode_i64(&[-1; 3], out));
    add("i64 min max 0", &|out| encode_i64(&[i64::MIN, i64::MAX, 0], out));
    add("i64 100 103 101 107 102", &|out| encode_i64(&[100, 103, 101, 107, 102], out));
    add("i64 20 times 10 s apart, then a gap", &|out| {
        let times: Vec<i64> =
            (0..20).map(|i| 1_700_000_000_000_000_000 + 10_000_000_000 * (i + 9 * (i / 19))).collect();
        encode_i64(&times, out)
    });
    add("u64 5 and max", &|out| encode_u64(&[5, u64::MAX, 5, u64::MAX, 5, 5, 5, 5], out));
    add("f64 nan nan", &|out| encode_f64(&[f64::NAN; 2], out));
    add("f64 21.5 21.25 -3 21.75 21.5 20", &|out| encode_f64(&[21.5, 21.25, -3.0, 21.75, 21.5, 20.0], out));
    add("f64 1 -0 1 1 1", &|out| encode_f64(&[1.0, -0.0, 1.0, 1.0, 1.0], out));
    add("f64 pi e", &|out| encode_f64(&[std::f64::consts::PI, 1e300], out));
    add("i64 -7 x 20, 4 x 30, 9 x 10", &|out| encode_i64(&[vec![-7; 20], vec![4; 30], vec![9; 10]].concat(), out));
    add("f64 0.5 x 30, nan x 30", &|out| encode_f64(&[[0.5; 30], [f64::NAN; 30]].concat(), out));
    add("f64 40 decimals, one of them nan", &|out| {
        let value = |i: i32| if i == 3 { f64::NAN } else { f64::from(100 + i * 7 % 16) / 10.0 };
        encode_f64(&(0..40).map(value).collect::<Vec<_>>(), out)
    });
    add("i64 100 of a walk, steps -2 to 2", &|out| encode_i64(&coin_walk(100, 1), out));
    add("i64 100 of it, times -250", &|out| encode_i64(&coin_walk(100, -250), out));
    add("bool true x 9", &|out| encode_bool(&[true; 9], out));
    add("bool 9 of them", &|out| encode_bool(&[true, false, true, true, false, false, false, false, true], out));
    add("str same", &|out| encode_str(&["same", "same"], out));
    add("str a bc é", &|out| encode_str(&["a", "bc", "é"], out));
    add("str on off on on off on", &|out| encode_str(&["on", "off", "on", "on", "off", "on"], out));
    text
}

#[test]
fn golden_bytes() {
    assert_eq!(
        golden(),
        include_str!("../../testdata/codec_v1.txt"),
        "stored bytes: what was written must be read for ever"
    );
}

/// Bits one by one, as the page on blocks has them.
fn bits_one_by_one(width: u32, words: &[u64]) -> Vec<u8> {
    let mut bytes = vec![0; (words.len() * width as usize).div_ceil(8)];
    for (i, word) in words.iter().enumerate() {
        for bit in (0..width as usize).filter(|bit| word >> bit & 1 == 1) {
            let place = i * width as usize + bit;
            bytes[place / 8] |= 1 << (place % 8);
        }
    }
    bytes
}

#[test]
fn kernels_of_every_width_agree_with_the_layout() {
    let mut word = 1_u64;
    for width in 0..=64 {
        let block: bits::Block = std::array::from_fn(|_| {
            word = word.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            word ^ word >> 29
        });
        let kept = block.map(|word| word & bits::mask(width));
        let stored = bits_one_by_one(width, &block);
        let mut packed = vec![0xFF; stored.len() + bits::SLACK];
        bits::pack(width, &block, &mut packed);
        assert_eq!(packed[..stored.len()], stored, "{width} bits");
        for count in [64, 63, 9, 8, 1, 0] {
            let mut back = [7; bits::BLOCK];
            let bytes = bits_one_by_one(width, &block[..count]);
            bits::unpack(width, &bytes, 0, &mut back);
            assert_eq!((&back[..count], &back[count..]), (&kept[..count], &[0; 64][count..]), "{width} bits");
            (0..count).for_each(|i| assert_eq!(bits::get(width, &bytes, i), kept[i], "{width} bits"));
        }
        let mut back = [7; bits::BLOCK];
        bits::unpack(width, &[stored.clone(), stored].concat(), 1, &mut back);
        assert_eq!(back, kept, "{width} bits");
    }
}
