//! The values of one field over the rows of a table, of which only those that are there take memory.
//!
//! Storage is never dense over rows: a frame of many fields that are absent in most rows must stay as small in memory
//! as it is on the wire.

use meridian_types::{FieldType, ValueRef};

/// The values of one field, in the type of the field.
#[derive(Clone, Debug)]
pub enum Column {
    /// IEEE 754 doubles, bit for bit as they were pushed.
    F64(Values<f64>),
    /// Signed integers.
    I64(Values<i64>),
    /// Unsigned integers.
    U64(Values<u64>),
    /// Truth values.
    Bool(Values<bool>),
    /// UTF-8 texts.
    Str(Strings),
}

impl Column {
    /// A column of this type without values.
    pub(crate) fn new(field_type: FieldType) -> Self {
        match field_type {
            FieldType::F64 => Self::F64(Values::default()),
            FieldType::I64 => Self::I64(Values::default()),
            FieldType::U64 => Self::U64(Values::default()),
            FieldType::Bool => Self::Bool(Values::default()),
            FieldType::Str => Self::Str(Strings::default()),
        }
    }

    /// The type of the values.
    pub fn field_type(&self) -> FieldType {
        match self {
            Self::F64(_) => FieldType::F64,
            Self::I64(_) => FieldType::I64,
            Self::U64(_) => FieldType::U64,
            Self::Bool(_) => FieldType::Bool,
            Self::Str(_) => FieldType::Str,
        }
    }

    /// The value of a row; nothing where the row has none.
    pub fn get(&self, row: usize) -> Option<ValueRef<'_>> {
        match self {
            Self::F64(values) => values.get(row).map(ValueRef::F64),
            Self::I64(values) => values.get(row).map(ValueRef::I64),
            Self::U64(values) => values.get(row).map(ValueRef::U64),
            Self::Bool(values) => values.get(row).map(ValueRef::Bool),
            Self::Str(values) => values.get(row).map(ValueRef::Str),
        }
    }

    /// How many rows have a value.
    pub fn points(&self) -> usize {
        self.presence().count
    }

    pub(crate) fn presence(&self) -> &Presence {
        match self {
            Self::F64(values) => &values.presence,
            Self::I64(values) => &values.presence,
            Self::U64(values) => &values.presence,
            Self::Bool(values) => &values.presence,
            Self::Str(values) => &values.spans.presence,
        }
    }

    /// Adds the value of a row after all rows that have one. Refuses a value of another type, with the type it should
    /// have.
    #[inline]
    pub(crate) fn push(&mut self, row: usize, value: ValueRef<'_>) -> Result<(), FieldType> {
        match (&mut *self, value) {
            (Self::F64(values), ValueRef::F64(value)) => values.push(row, value),
            (Self::I64(values), ValueRef::I64(value)) => values.push(row, value),
            (Self::U64(values), ValueRef::U64(value)) => values.push(row, value),
            (Self::Bool(values), ValueRef::Bool(value)) => values.push(row, value),
            (Self::Str(values), ValueRef::Str(value)) => values.push(row, value),
            _ => return Err(self.field_type()),
        }
        Ok(())
    }
}

/// Values of one fixed size, for some rows of a table.
#[derive(Clone, Debug)]
pub struct Values<T> {
    presence: Presence,
    present: Vec<T>,
}

impl<T: Copy> Values<T> {
    /// The values `present`, one for each row that `presence` has.
    pub(crate) fn new(presence: Presence, present: Vec<T>) -> Self {
        assert_eq!(presence.count, present.len(), "each present row has one value");
        Self { presence, present }
    }

    /// The value of a row; nothing where the row has none.
    pub fn get(&self, row: usize) -> Option<T> {
        Some(self.present[self.presence.index(row)?])
    }

    /// The values that are there, in the order of their rows. As many as rows if every row has one.
    pub fn present(&self) -> &[T] {
        &self.present
    }

    fn push(&mut self, row: usize, value: T) {
        self.presence.push(row);
        if self.present.len() == self.present.capacity() {
            self.grow();
        }
        self.present.push(value);
    }

    /// Grows fourfold: columns of a frame have a thousand values more often than ten, and each step costs a copy and fresh memory.
    #[cold]
    fn grow(&mut self) {
        self.present.reserve_exact(3 * self.present.len().max(4));
    }
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { presence: Presence::default(), present: Vec::new() }
    }
}

/// Texts for some rows of a table, in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    spans: Values<Span>,
    text: String,
}

impl Strings {
    /// The texts that stand one after another in `text` with these lengths in bytes; nothing unless they end where
    /// characters do and fill it.
    pub(crate) fn new(presence: Presence, lengths: impl Iterator<Item = u32>, text: String) -> Option<Self> {
        let mut spans = Vec::with_capacity(presence.count);
        let mut start = 0_u32;
        for length in lengths {
            let end = start.checked_add(length)?;
            text.is_char_boundary(end as usize).then_some(())?;
            spans.push(Span { start, end });
            start = end;
        }
        (start as usize == text.len()).then(|| Self { spans: Values::new(presence, spans), text })
    }

    /// The text of a row; nothing where the row has none.
    pub fn get(&self, row: usize) -> Option<&str> {
        let span = self.spans.get(row)?;
        Some(&self.text[span.start as usize..span.end as usize])
    }

    fn push(&mut self, row: usize, value: &str) {
        let start = self.text.len();
        self.text.push_str(value);
        let place = |at: usize| u32::try_from(at).expect("a frame is far below 4 GiB");
        self.spans.push(row, Span { start: place(start), end: place(self.text.len()) });
    }
}

/// Where a text stands in its buffer, in bytes.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// Which rows have a value, and the how-manieth value is theirs. A column whose first rows all have one needs no
/// bitmap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    /// Rows that have a value. Without `words` they are the first ones.
    pub(crate) count: usize,
    /// Bit `row % 64` of word `row / 64` is set where the row has a value; rows beyond have none.
    words: Vec<u64>,
    /// Values before each word.
    before: Vec<u32>,
}

impl Presence {
    /// The first `rows` rows.
    pub(crate) fn first(rows: usize) -> Self {
        Self { count: rows, ..Self::default() }
    }

    /// The rows whose bits are set, least significant bit first.
    pub(crate) fn from_bitmap(bitmap: &[u8]) -> Self {
        let mut presence = Self::default();
        for chunk in bitmap.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            presence.push_word(u64::from_le_bytes(word));
        }
        presence
    }

    /// The place of a row's value among those that are there.
    pub(crate) fn index(&self, row: usize) -> Option<usize> {
        if self.words.is_empty() {
            return (row < self.count).then_some(row);
        }
        let (word, bit) = (*self.words.get(row / 64)?, 1_u64 << (row % 64));
        (word & bit != 0).then(|| self.before[row / 64] as usize + (word & (bit - 1)).count_ones() as usize)
    }

    /// Whether each of the first `rows` rows, and no other, has a value.
    pub(crate) fn is_first(&self, rows: usize) -> bool {
        self.words.is_empty() && self.count == rows
    }

    /// The bitmap; nothing where the first rows have a value and no other does.
    pub(crate) fn words(&self) -> Option<&[u64]> {
        (!self.words.is_empty()).then_some(&self.words)
    }

    fn push(&mut self, row: usize) {
        if self.words.is_empty() {
            if row == self.count {
                self.count += 1;
                return;
            }
            let first = std::mem::take(&mut self.count);
            for start in (0..first).step_by(64) {
                self.push_word(u64::MAX >> (64 - (first - start).min(64)));
            }
        }
        while self.words.len() <= row / 64 {
            self.push_word(0);
        }
        self.words[row / 64] |= 1 << (row % 64);
        self.count += 1;
    }

    fn push_word(&mut self, word: u64) {
        self.before.push(u32::try_from(self.count).expect("a frame has far fewer than 2^32 points"));
        self.words.push(word);
        self.count += word.count_ones() as usize;
    }
}
