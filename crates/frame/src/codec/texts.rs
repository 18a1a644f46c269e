//! Texts: each distinct one once where that pays, else all of them with packed lengths.

use meridian_types::Map;

use super::input::Input;
use super::pack::{Packed, Plan};
use super::{CodecError, Encoding, VALUES_MAX, assert_count, check_count};
use crate::reader::words;

/// Texts in one buffer. Where rows have the same text, their spans may be the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Texts {
    /// The buffer.
    pub text: String,
    /// Where the text of each row stands in it; inside it, and between characters.
    pub spans: Vec<Span>,
}

/// A place in a buffer, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Where it begins.
    pub start: u32,
    /// How long it is.
    pub len: u32,
}

impl Texts {
    /// The texts, row by row.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().map(|span| &self.text[span.start as usize..][..span.len as usize])
    }

    /// Appends the texts that stand one after another in `text` with these lengths.
    fn cut(&mut self, text: &[u8], lengths: &[u64]) -> Result<(), CodecError> {
        let text = utf8(text)?;
        let base = self.push(text)?;
        let mut start = 0_u32;
        for length in lengths {
            let end = u64::from(start).checked_add(*length).and_then(|end| u32::try_from(end).ok());
            let end = end.filter(|end| text.is_char_boundary(*end as usize));
            let end = end.ok_or(CodecError::Malformed("a text that ends outside, or inside a character"))?;
            self.spans.push(Span { start: base + start, len: end - start });
            start = end;
        }
        if start as usize == text.len() { Ok(()) } else { Err(CodecError::Malformed("text that is no row's")) }
    }

    /// Appends to the buffer, and says where.
    fn push(&mut self, text: &str) -> Result<u32, CodecError> {
        let end = u32::try_from(self.text.len() + text.len());
        end.map_err(|_| CodecError::Malformed("texts of 4 GiB"))?;
        let base = self.text.len() as u32; // no more than the end
        self.text.push_str(text);
        Ok(base)
    }
}

/// Appends `values`, at most [`super::VALUES_MAX`], and says how. All together they should be shorter than 4 GiB: they
/// would not be read back.
pub fn encode_str(values: &[&str], out: &mut Vec<u8>) -> Encoding {
    assert_count(values.len());
    let Some(first) = values.first() else { return Encoding::Plain };
    if values.iter().all(|value| value == first) {
        out.extend_from_slice(first.as_bytes());
        return Encoding::Constant;
    }
    let every = Lengths::of(values);
    match Dictionary::of(values) {
        Some(dictionary) if dictionary.bytes() < every.bytes() => {
            dictionary.put(out);
            Encoding::Dictionary
        }
        _ => {
            every.plan.pack(&every.lengths, out);
            values.iter().for_each(|value| out.extend_from_slice(value.as_bytes()));
            Encoding::Packed
        }
    }
}

/// Reads back `count` values of [`encode_str`], behind those in `out`.
pub fn decode_str(encoding: u8, bytes: &[u8], count: usize, out: &mut Texts) -> Result<(), CodecError> {
    check_count(count)?;
    let (text, spans) = (out.text.len(), out.spans.len());
    out.spans.reserve(count);
    let decoded = decode(encoding, bytes, count, out);
    if decoded.is_err() {
        out.text.truncate(text);
        out.spans.truncate(spans);
    }
    decoded
}

fn decode(encoding: u8, bytes: &[u8], count: usize, out: &mut Texts) -> Result<(), CodecError> {
    let mut input = Input::new(bytes);
    let mut lengths = [0; VALUES_MAX];
    let lengths = &mut lengths[..count];
    match Encoding::from_stored(encoding) {
        Some(Encoding::Plain) => {
            let stored = words(input.take(4 * count)?);
            lengths.iter_mut().zip(stored).for_each(|(length, stored)| *length = u32::from_le_bytes(stored).into());
            out.cut(input.rest(), lengths)
        }
        Some(Encoding::Constant) => {
            let len = u32::try_from(bytes.len()).map_err(|_| CodecError::Malformed("a text of 4 GiB"))?;
            let start = out.push(utf8(bytes)?)?;
            out.spans.resize(out.spans.len() + count, Span { start, len });
            Ok(())
        }
        Some(Encoding::Packed) => {
            Packed::take(&mut input, count)?.write(lengths);
            out.cut(input.rest(), lengths)
        }
        Some(Encoding::Dictionary) => decode_dictionary(input, lengths, out),
        _ => Err(CodecError::Encoding { encoding, values: "texts" }),
    }
}

/// Appends as many texts as there is room for lengths.
fn decode_dictionary(mut input: Input<'_>, lengths: &mut [u64], out: &mut Texts) -> Result<(), CodecError> {
    let count = lengths.len();
    let distinct = usize::from(input.u16()?);
    if distinct > count {
        return Err(CodecError::Malformed("more distinct texts than texts"));
    }
    let lengths = &mut lengths[..distinct];
    Packed::take(&mut input, distinct)?.write(lengths);
    let mut places = [0; VALUES_MAX];
    let places = &mut places[..count];
    Packed::take(&mut input, count)?.write(places);
    let start = out.spans.len();
    out.cut(input.rest(), lengths)?;
    let spans = out.spans.split_off(start);
    for place in places {
        let span = usize::try_from(*place).ok().and_then(|place| spans.get(place));
        out.spans.push(*span.ok_or(CodecError::Malformed("a place outside of the dictionary"))?);
    }
    Ok(())
}

fn utf8(bytes: &[u8]) -> Result<&str, CodecError> {
    std::str::from_utf8(bytes).map_err(|_| CodecError::Malformed("text that is not UTF-8"))
}

/// How long some texts are.
struct Lengths {
    lengths: Vec<u64>,
    plan: Plan,
}

impl Lengths {
    fn of(texts: &[&str]) -> Self {
        let lengths: Vec<u64> = texts.iter().map(|text| text.len() as u64).collect();
        Self { plan: Plan::of(&lengths), lengths }
    }

    /// What they take, with the texts.
    fn bytes(&self) -> usize {
        self.plan.bytes + self.lengths.iter().sum::<u64>() as usize
    }
}

/// The distinct texts in order of first appearance, and for each row which is its.
struct Dictionary<'a> {
    distinct: Vec<&'a str>,
    lengths: Lengths,
    places: Vec<u64>,
    plan: Plan,
}

impl<'a> Dictionary<'a> {
    /// `None` if too many of the texts are distinct for it to pay.
    fn of(texts: &[&'a str]) -> Option<Self> {
        let distinct_max = texts.len() / 2;
        let mut place_of: Map<&str, u64> = Map::default();
        let mut distinct: Vec<&str> = Vec::new();
        let mut places = Vec::with_capacity(texts.len());
        for text in texts.iter().copied() {
            let place = *place_of.entry(text).or_insert_with(|| {
                distinct.push(text);
                distinct.len() as u64 - 1
            });
            if distinct.len() > distinct_max {
                return None;
            }
            places.push(place);
        }
        Some(Self { lengths: Lengths::of(&distinct), distinct, plan: Plan::of(&places), places })
    }

    fn bytes(&self) -> usize {
        2 + self.lengths.bytes() + self.plan.bytes
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.distinct.len() as u16).to_le_bytes()); // at most VALUES_MAX
        self.lengths.plan.pack(&self.lengths.lengths, out);
        self.plan.pack(&self.places, out);
        self.distinct.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }
}
