//! The five types a field can have, and a single value of one of them.

use serde::{Deserialize, Serialize};

/// Type of a field; decided once per (database, measurement, field), in the catalogue. Numbers are stored: never renumber.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum FieldType {
    /// IEEE 754 double.
    F64 = 1,
    /// Signed integer.
    I64 = 2,
    /// Unsigned integer.
    U64 = 3,
    /// Truth value.
    Bool = 4,
    /// UTF-8 text.
    Str = 5,
}

impl FieldType {
    /// All types, in stored order.
    pub const ALL: [Self; 5] = [Self::F64, Self::I64, Self::U64, Self::Bool, Self::Str];

    /// The type with this stored number, if there is one.
    pub fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|t| *t as u8 == number)
    }

    /// The name users read: `float`, `integer`, `unsigned`, `boolean`, `string`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "float",
            Self::I64 => "integer",
            Self::U64 => "unsigned",
            Self::Bool => "boolean",
            Self::Str => "string",
        }
    }
}

impl std::fmt::Display for FieldType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One value of one field. Equality is by bits for floats, so that NaN payloads and -0.0 round-trip in tests.
#[derive(Clone, Debug)]
pub enum Value {
    /// IEEE 754 double.
    F64(f64),
    /// Signed integer.
    I64(i64),
    /// Unsigned integer.
    U64(u64),
    /// Truth value.
    Bool(bool),
    /// UTF-8 text.
    Str(String),
}

impl Value {
    /// The type of this value.
    pub fn field_type(&self) -> FieldType {
        self.as_ref().field_type()
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            (Self::I64(a), Self::I64(b)) => a == b,
            (Self::U64(a), Self::U64(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            _ => false,
        }
    }
}

/// A borrowed value, as parsers and columns hand it on.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// IEEE 754 double.
    F64(f64),
    /// Signed integer.
    I64(i64),
    /// Unsigned integer.
    U64(u64),
    /// Truth value.
    Bool(bool),
    /// UTF-8 text.
    Str(&'a str),
}

impl ValueRef<'_> {
    /// The type of this value.
    pub fn field_type(self) -> FieldType {
        match self {
            Self::F64(_) => FieldType::F64,
            Self::I64(_) => FieldType::I64,
            Self::U64(_) => FieldType::U64,
            Self::Bool(_) => FieldType::Bool,
            Self::Str(_) => FieldType::Str,
        }
    }

    /// An owned copy.
    pub fn to_value(self) -> Value {
        match self {
            Self::F64(v) => Value::F64(v),
            Self::I64(v) => Value::I64(v),
            Self::U64(v) => Value::U64(v),
            Self::Bool(v) => Value::Bool(v),
            Self::Str(v) => Value::Str(v.to_owned()),
        }
    }
}

impl Value {
    /// A borrowed form.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::F64(v) => ValueRef::F64(*v),
            Self::I64(v) => ValueRef::I64(*v),
            Self::U64(v) => ValueRef::U64(*v),
            Self::Bool(v) => ValueRef::Bool(*v),
            Self::Str(v) => ValueRef::Str(v),
        }
    }
}
