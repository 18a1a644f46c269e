//! What is known of the values of one field in some rows without them: what whoever keeps rows told of them when it laid them down.
//!
//! Exact, or not there at all: an answer that is made of it is the one that the values would give.

use meridian_types::Value;

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Known {
    /// How many values there are, NaN included.
    pub count: u64,
    /// How many of them are not NaN. Without any, what follows means nothing.
    pub numbers: u64,
    /// The least number; of floats in the total order of IEEE 754.
    pub min: Value,
    /// The greatest.
    pub max: Value,
}

impl Known {
    /// Whether some value is NaN.
    pub(crate) fn has_nan(&self) -> bool {
        self.numbers < self.count
    }
}
