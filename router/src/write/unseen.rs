//! The fields of one request that the map lacks. Bounded, however the input repeats its names: a measurement's name is
//! held once, and what the catalogue would get is counted before anything is copied. Pure.

use std::collections::BTreeMap;

use meridian_types::{Failure, FieldType, limits};

use super::over_limit;

/// Measurements, their unseen fields, and the type that each had first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Unseen {
    measurements: BTreeMap<String, BTreeMap<String, FieldType>>,
    fields: usize,
    bytes: usize,
}

impl Unseen {
    /// Adds a field, unless it is there. A failure is one of the whole request.
    pub(super) fn add(&mut self, measurement: &str, field: &str, field_type: FieldType) -> Result<(), Failure> {
        if self.measurements.get(measurement).is_some_and(|fields| fields.contains_key(field)) {
            return Ok(());
        }
        let (fields, bytes) = (self.fields + 1, self.bytes + measurement.len() + field.len());
        if fields > limits::UNSEEN_FIELDS_MAX {
            let max = limits::UNSEEN_FIELDS_MAX;
            return Err(over_limit(format!(
                "the request has over {max} fields that the database does not know yet: send fewer new ones at a time"
            )));
        }
        if bytes > limits::UNSEEN_NAME_BYTES_MAX {
            let max = limits::UNSEEN_NAME_BYTES_MAX;
            return Err(over_limit(format!(
                "the names of the request's {fields} first new fields, each with its measurement, have {bytes} bytes, over \
                 the limit of {max}: send fewer new fields at a time, or use shorter names"
            )));
        }
        (self.fields, self.bytes) = (fields, bytes);
        let known = match self.measurements.get_mut(measurement) {
            Some(known) => known,
            None => self.measurements.entry(measurement.to_owned()).or_default(),
        };
        known.insert(field.to_owned(), field_type);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// Measurement, field and type of each, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str, FieldType)> {
        self.measurements.iter().flat_map(|(measurement, fields)| {
            fields.iter().map(move |(field, field_type)| (&**measurement, &**field, *field_type))
        })
    }
}

#[cfg(test)]
mod tests {
    use meridian_types::Code;

    use super::*;

    #[test]
    fn a_field_is_held_once_with_its_first_type() {
        let mut unseen = Unseen::default();
        for (measurement, field, field_type) in [
            ("b", "x", FieldType::F64),
            ("a", "y", FieldType::I64),
            ("b", "x", FieldType::Str),
            ("b", "a", FieldType::Bool),
        ] {
            assert_eq!(unseen.add(measurement, field, field_type), Ok(()));
        }
        let all: Vec<_> = unseen.iter().collect();
        assert_eq!(all, [("a", "y", FieldType::I64), ("b", "a", FieldType::Bool), ("b", "x", FieldType::F64)]);
        assert_eq!((unseen.fields, unseen.bytes), (3, 6));
    }

    #[test]
    fn fields_are_bounded() {
        let mut unseen = Unseen::default();
        for n in 0..limits::UNSEEN_FIELDS_MAX {
            assert_eq!(unseen.add("m", &n.to_string(), FieldType::F64), Ok(()));
        }
        assert_eq!(unseen.add("m", "0", FieldType::F64), Ok(()), "it is there");
        let failure = unseen.add("m", "one more", FieldType::F64).expect_err("over the limit");
        assert_eq!(failure.code, Code::OverLimit);
        assert!(failure.message.contains("20000") && failure.message.contains("send fewer"), "{failure}");
    }

    #[test]
    fn names_are_bounded_as_the_catalogue_gets_them() {
        let (mut unseen, measurement) = (Unseen::default(), "m".repeat(60 << 10));
        let added =
            (0..).take_while(|n| unseen.add(&measurement, &format!("f{n:0>2}"), FieldType::F64).is_ok()).count();
        assert_eq!(added, limits::UNSEEN_NAME_BYTES_MAX / ((60 << 10) + 3));
        assert_eq!(unseen.measurements.len(), 1);
        let failure = unseen.add(&measurement, "f", FieldType::F64).expect_err("over the limit");
        assert_eq!(failure.code, Code::OverLimit);
        assert!(failure.message.contains("4194304") && failure.message.contains("shorter names"), "{failure}");
    }
}
