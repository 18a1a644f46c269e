//! The fast way to seal against the one that takes any rows.

use meridian_types::ValueRef;
use proptest::prelude::*;

use super::*;

/// Times, columns and cells of a chunk.
type Content = (Vec<i64>, Vec<(u16, Option<Vec<u64>>, Vec<u64>)>);

fn content(chunk: &Chunk) -> Content {
    let columns = chunk.columns().iter();
    let columns = columns.map(|c| (c.number(), c.present().map(<[u64]>::to_vec), c.cells().to_vec()));
    (chunk.times().to_vec(), columns.collect())
}

proptest! {
    #[test]
    fn rows_of_the_same_columns_are_sealed_as_any_rows(
        rows in prop::collection::vec((-20_i64..20, prop::collection::vec(any::<u64>(), 3)), 1..60),
        columns in prop::sample::subsequence(vec![0_u16, 1, 5, 63, 64, 70], 3),
        others in prop::option::weighted(0.2, 0_usize..60),
        step in 1_usize..9,
    ) {
        let row = |at: usize, values: &[u64]| -> Vec<(u16, u64)> {
            let kept = if others == Some(at) { 2 } else { 3 };
            columns.iter().copied().zip(values.iter().copied()).take(kept).collect()
        };
        let (mut one_by_one, mut in_runs) = (Tail::new(2), Tail::new(2));
        for (at, (time, values)) in rows.iter().enumerate() {
            one_by_one.push(*time, row(at, values).into_iter().map(|(number, cell)| (number, ValueRef::U64(cell))));
        }
        let mut at = 0;
        for run in rows.chunks(step) {
            for same in run.chunk_by(|_, _| others.is_none()) {
                let mut words = Vec::new();
                for (time, values) in same {
                    let cells = row(at, values);
                    let mut mask = [0_u64; 2];
                    cells.iter().for_each(|(number, _)| mask[usize::from(number / 64)] |= 1 << (number % 64));
                    words.push(time.cast_unsigned());
                    words.extend(mask);
                    words.extend(cells.iter().map(|(_, cell)| cell));
                    at += 1;
                }
                in_runs.extend(&words, words.len() / same.len(), 1_024);
            }
        }
        prop_assert_eq!(one_by_one.even().is_some(), others.is_none_or(|at| at >= rows.len() || rows.len() == 1));
        prop_assert_eq!((one_by_one.span(), one_by_one.size().points), (in_runs.span(), in_runs.size().points));
        let slow = content(&Chunk::seal_rows(&one_by_one));
        prop_assert_eq!(&content(&Chunk::seal(&one_by_one)), &slow);
        prop_assert_eq!(&content(&Chunk::seal(&in_runs)), &slow);
    }

    #[test]
    fn cells_are_counted_alike(mask in any::<[u64; 3]>(), row in 0_usize..=192) {
        let slow = (0..row).filter(|at| mask[at / 64] >> (at % 64) & 1 == 1).count();
        prop_assert_eq!(ones_before(&mask, row), slow);
        let (mut fast, mut one_by_one) = ([0; 3], [0; 3]);
        let rows = row.min(70)..row;
        set_bits(&mut fast, rows.clone());
        rows.for_each(|at| one_by_one[at / 64] |= 1 << (at % 64));
        prop_assert_eq!(fast, one_by_one);
    }
}
