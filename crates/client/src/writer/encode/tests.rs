//! Every row is in one frame, in the frame of its shard, and found again by its number.

use meridian_frame::SeriesRef;
use meridian_types::{Code, SeriesKey};

use super::*;

fn series(host: &str) -> Arc<Series> {
    Arc::new(Series::new("cpu".into(), SeriesKey::from_tags(&mut [("host", host)]).expect("valid")))
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::new(nanos).expect("in range")
}

/// Value of `v`, and shard, of each row, found by the numbers that the frames say; and whether they name all series by key.
fn rows(made: &[Made]) -> BTreeMap<u64, (i64, Option<ShardId>)> {
    let mut found = BTreeMap::new();
    for one in made {
        let frame = Frame::check(one.bytes.clone()).expect("whole");
        assert_eq!(frame.rows(), one.rows.len());
        let mut numbers = one.rows.iter();
        for table in frame.tables() {
            let is_keyed = |series: &SeriesRef| series.number().is_none();
            assert!(table.runs().iter().all(|run| is_keyed(&run.series) == one.shard.is_none()));
            for at in 0..table.rows() {
                let Some(ValueRef::I64(value)) = table.fields()[0].get(at) else { panic!("v is an integer") };
                assert!(found.insert(*numbers.next().expect("one a row"), (value, one.shard)).is_none());
            }
        }
    }
    found
}

fn encoder(bytes: usize, rows: usize) -> Encoder {
    Encoder::new(Bounds { bytes, rows })
}

fn all(encoder: &mut Encoder) -> Vec<Made> {
    std::iter::from_fn(|| encoder.close()).collect()
}

#[test]
fn rows_go_by_number_once_it_is_known_and_by_key_before() {
    let hosts = ["a", "b", "c"].map(series);
    hosts[0].learn(ShardId(7), SeriesNumber(0));
    hosts[2].learn(ShardId(3), SeriesNumber(5));
    let mut encoder = encoder(1 << 20, usize::MAX);
    for row in 0..30 {
        let pushed = encoder.push(&hosts[row % 3], time(row as i64), &[("v", ValueRef::I64(row as i64 * 10))]);
        assert!(pushed.expect("good").is_none());
    }
    let made = all(&mut encoder);
    assert_eq!(made.len(), 3);
    for (row, (value, shard)) in rows(&made) {
        let number = hosts[row as usize % 3].number();
        assert_eq!((value, shard), (row as i64 * 10, number.map(|(shard, _)| shard)));
    }
    assert_eq!((encoder.rows(), all(&mut encoder).len()), (30, 0));
}

#[test]
fn a_frame_leaves_before_it_would_be_too_large_or_with_its_last_row() {
    let host = series("a");
    let mut by_bytes = encoder(1_000, usize::MAX);
    let mut made = Vec::new();
    for row in 0..100 {
        made.extend(by_bytes.push(&host, time(row), &[("v", ValueRef::I64(row))]).expect("good"));
    }
    made.extend(all(&mut by_bytes));
    assert!(made.len() > 1 && made.iter().all(|made| made.bytes.len() <= 1_000), "{}", made.len());
    assert_eq!(rows(&made).len(), 100);
    let text = "x".repeat(9_000);
    let large = by_bytes.push(&host, time(0), &[("v", ValueRef::Str(&text))]).expect("good");
    assert!(large.is_none(), "whatever the bound, one row fits");
    assert_eq!(all(&mut by_bytes).len(), 1);

    let mut by_rows = encoder(1 << 20, 7);
    let full = |row| by_rows.push(&host, time(row), &[("v", ValueRef::I64(row))]).expect("good");
    let full: Vec<_> = (0..14).filter_map(full).collect();
    assert_eq!(full.iter().map(|made| made.rows.len()).collect::<Vec<_>>(), [7, 7]);
}

#[test]
fn a_row_is_not_refused_for_its_neighbour() {
    let host = series("a");
    let mut encoder = encoder(1 << 20, usize::MAX);
    assert!(encoder.push(&host, time(0), &[("v", ValueRef::F64(0.5))]).expect("good").is_none());
    let first = encoder.push(&host, time(1), &[("v", ValueRef::I64(1))]).expect("the catalogue decides which is right");
    assert_eq!(first.expect("the other left").rows, [0]);
    assert_eq!(all(&mut encoder)[0].rows, [1]);
    let refused = encoder.push(&host, time(2), &[]).expect_err("no field");
    assert_eq!((refused.code(), encoder.rows()), (Code::BadRequest, 2));
}

#[test]
fn by_keys_all_rows_stay_what_they_were() {
    let hosts = ["a", "b", "c"].map(series);
    (0..).zip(&hosts).for_each(|(n, host)| host.learn(ShardId(1), SeriesNumber(n)));
    let mut encoder = encoder(1 << 20, usize::MAX);
    for row in 0..50 {
        encoder.push(&hosts[row * 7 % 3], time(row as i64), &[("v", ValueRef::I64(row as i64))]).expect("good");
    }
    let made = encoder.close().expect("one shard");
    made.forget();
    assert!(hosts.iter().all(|host| host.number().is_none()));
    for (rows_max, frames) in [(usize::MAX, 1), (4, 13)] {
        let parts: Vec<_> = made.by_keys(rows_max).into_iter().map(|part| part.expect("it fits")).collect();
        assert_eq!(parts.len(), frames);
        let found = rows(&parts);
        assert_eq!(found.len(), 50);
        assert!(found.into_iter().all(|(row, (value, shard))| (value, shard) == (row as i64, None)));
    }
}

#[test]
fn what_fits_by_number_only_is_named() {
    let tag = "x".repeat(4_000);
    let names: Vec<String> = (0..16).map(|n| format!("t{n}")).collect();
    let mut tags: Vec<_> = names.iter().map(|name| (name.as_str(), tag.as_str())).collect();
    let host = Arc::new(Series::new("cpu".into(), SeriesKey::from_tags(&mut tags).expect("valid")));
    host.learn(ShardId(1), SeriesNumber(0));
    let (text, fields) = ("y".repeat(64 << 10), (0..16).map(|n| format!("f{n}")).collect::<Vec<_>>());
    let short = &text[..62_000];
    let row: Vec<_> = fields.iter().map(|field| (field.as_str(), ValueRef::Str(short))).collect();
    let mut encoder = encoder(1 << 20, usize::MAX);
    encoder.push(&host, time(0), &[("v", ValueRef::I64(1))]).expect("small");
    let mut made: Vec<_> = encoder.push(&host, time(1), &row).expect("it fits by number").into_iter().collect();
    made.extend(all(&mut encoder));
    let parts: Vec<_> = made.iter().flat_map(|made| made.by_keys(usize::MAX)).collect();
    let fates = parts.iter().map(|part| part.as_ref().map(|made| made.rows.clone()).map_err(|(row, _)| *row));
    let fates: Vec<_> = fates.collect();
    assert!(fates.len() == 2 && fates.contains(&Ok(vec![0])) && fates.contains(&Err(1)), "{fates:?}");
}
