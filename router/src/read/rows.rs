//! Rows of an answer as messages. Pure. Cuts where a message has enough, and never makes one that is larger than a client reads.

use std::collections::BTreeMap;
use std::iter::Peekable;

use meridian_proto::v1;
use meridian_query::{Plan, Row};
use meridian_types::Value;
use prost::Message;

/// Rows of one message, and their bytes; one row always goes.
const MESSAGE_ROWS_MAX: usize = 4_096;
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The most that a number, a length or the place of an absent value takes.
const NUMBER_BYTES: usize = 10;

/// Cuts rows, of an answer to `plan`, into messages.
pub(super) fn messages(plan: &Plan, rows: Vec<Row>) -> impl Iterator<Item = v1::ResultRows> {
    let mut rows = rows.into_iter().peekable();
    std::iter::from_fn(move || rows.peek().is_some().then(|| message(plan, &mut rows)))
}

fn message(plan: &Plan, rows: &mut Peekable<impl Iterator<Item = Row>>) -> v1::ResultRows {
    let (mut message, mut bytes) = (v1::ResultRows::default(), 0);
    // By address: all rows are alive until they are in the message, and of one series or group there are many.
    let (mut sets, mut last) = (BTreeMap::new(), None);
    while message.times.len() < MESSAGE_ROWS_MAX
        && let Some(row) = rows.next_if(|row| bytes == 0 || bytes + row_bytes(row) <= MESSAGE_BYTES_MAX)
    {
        bytes += row_bytes(&row);
        let address = row.tags.address();
        let set = match last {
            Some((known, set)) if known == address => set,
            _ => *sets.entry(address).or_insert_with(|| {
                let tags = row.tags.pairs(plan).map(|(key, value)| v1::Tag { key: key.into(), value: value.into() });
                let tags = v1::TagSet { tags: tags.collect() };
                bytes += NUMBER_BYTES + tags.encoded_len();
                message.tag_sets.push(tags);
                message.tag_sets.len() as u32 - 1
            }),
        };
        last = Some((address, set));
        message.push(row.time.nanos(), set, row.values);
    }
    message
}

/// Upper bound of what a row adds to a message besides its tags.
fn row_bytes(row: &Row) -> usize {
    let value = |value: &Option<Value>| NUMBER_BYTES + if let Some(Value::Str(text)) = value { text.len() } else { 0 };
    2 * NUMBER_BYTES + row.values.iter().map(value).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meridian_query::Tags;
    use meridian_types::{FieldType, SeriesKey, TimeRange, Timestamp};

    use super::*;

    fn plan() -> Plan {
        Plan::builder("m", TimeRange::ALL).fields([("text".to_owned(), FieldType::Str)]).build().expect("valid")
    }

    fn row(text: usize, tags: &Tags) -> Row {
        Row { time: Timestamp::default(), tags: tags.clone(), values: vec![Some(Value::Str("x".repeat(text)))] }
    }

    fn series(host: &str) -> Tags {
        Tags::Series(Arc::new(SeriesKey::from_tags(&mut [("host", host)]).expect("valid")))
    }

    #[test]
    fn messages_are_cut_by_rows_and_by_bytes() {
        let tags = series("a");
        let sizes = |texts: Vec<usize>| {
            let rows = texts.into_iter().map(|text| row(text, &tags)).collect();
            messages(&plan(), rows).map(|message| message.times.len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(Vec::new()), [0_usize; 0]);
        assert_eq!(sizes(vec![1; 10_000]), [4_096, 4_096, 1_808]);
        assert_eq!(sizes(vec![400_000; 5]), [2, 2, 1]);
        assert_eq!(sizes(vec![2_000_000, 1]), [1, 1], "a row that is larger goes alone");
        let (plan, rows) = (plan(), vec![row(100, &tags); 50_000]);
        assert!(messages(&plan, rows).map(|message| message.encoded_len()).all(|bytes| bytes <= MESSAGE_BYTES_MAX));
    }

    #[test]
    fn tags_are_told_once_a_message() {
        let (a, b) = (series("a"), series("b"));
        let rows = [&a, &b, &b, &a].map(|tags| row(1, tags)).to_vec();
        let found: Vec<_> = messages(&plan(), rows).collect();
        let [message] = &*found else { panic!("one message") };
        let hosts = message.tag_sets.iter().map(|set| &*set.tags[0].value);
        assert_eq!((hosts.collect::<Vec<_>>(), &*message.tags), (vec!["a", "b"], &[0, 1, 1, 0][..]));
    }
}
