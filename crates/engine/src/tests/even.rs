//! Frames in which every row has every field and none is text: they go in by runs, and nothing must show it.

use super::*;

/// Rows that all have the same numeric fields, over few series and times; some frames have other fields than most.
fn even_frames() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let frame = prop::sample::select(vec![vec![0_u8, 1, 2, 3], vec![1, 3], vec![0, 66, 130]]).prop_flat_map(|fields| {
        let values = prop::collection::vec(any::<u8>(), fields.len());
        let row = (0_u8..3, -9_i64..40, values).prop_map(move |(host, time, values)| {
            let fields = fields.iter().copied().zip(values).collect();
            Row { measurement: 0, host, time, fields }
        });
        prop::collection::vec(row, 1..60)
    });
    prop::collection::vec(frame, 1..8)
}

proptest! {
    #[test]
    fn runs_of_rows_are_those_of_the_model(
        frames in even_frames(),
        plan in plan(),
        chunk_rows in prop::sample::select(vec![1, 2, 7, 64, 1_024]),
    ) {
        let (mut engine, mut model) = (Engine::with_chunk_rows(7, chunk_rows), Model::default());
        for rows in &frames {
            let written = engine.write(D1, &encode(rows)).expect("valid");
            model.write(D1, rows);
            prop_assert_eq!(written.points, rows.iter().map(|row| row.fields.len() as u64).sum::<u64>());
            for plan in [&plan, &everything(0)] {
                prop_assert_eq!(points(plan, engine.view(D1, plan)), model.answer(D1, plan));
            }
        }
        let held: u64 = engine.series.iter().flatten().map(|series| series.size().points).sum();
        prop_assert_eq!(engine.stats().points, held);
    }
}
