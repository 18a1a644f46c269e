//! What `--where` takes: conditions on tags and on values of fields, told apart by their operators.

use meridian_proto::v1;
use meridian_types::Value;

/// One condition, as it is sent.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Tag(v1::Matcher),
    Field(v1::Condition),
}

enum Operator {
    Tag(v1::MatchOp),
    Field(v1::CompareOp),
}

/// Each before those that it begins with.
const OPERATORS: [(&str, Operator); 10] = [
    ("!=", Operator::Tag(v1::MatchOp::NotEq)),
    ("!~", Operator::Tag(v1::MatchOp::NotRe)),
    ("=~", Operator::Tag(v1::MatchOp::Re)),
    ("==", Operator::Field(v1::CompareOp::Eq)),
    ("=", Operator::Tag(v1::MatchOp::Eq)),
    ("<>", Operator::Field(v1::CompareOp::NotEq)),
    ("<=", Operator::Field(v1::CompareOp::Le)),
    ("<", Operator::Field(v1::CompareOp::Lt)),
    (">=", Operator::Field(v1::CompareOp::Ge)),
    (">", Operator::Field(v1::CompareOp::Gt)),
];

/// Reads a condition: the first operator in it ends the name, and says whether that is a tag's or a field's.
pub(super) fn condition(text: &str) -> Result<Condition, String> {
    let at = |at: usize| OPERATORS.iter().find(|(sign, _)| text[at..].starts_with(sign)).map(|found| (at, found));
    let first = text.char_indices().find_map(|(i, _)| at(i));
    match first {
        Some((0, _)) => Err("the name is missing: write TAG=VALUE or FIELD>VALUE".into()),
        Some((at, (sign, operator))) => {
            let (name, value) = (text[..at].to_owned(), &text[at + sign.len()..]);
            Ok(match operator {
                Operator::Tag(op) => {
                    Condition::Tag(v1::Matcher { tag: name, op: (*op).into(), value: value.to_owned() })
                }
                Operator::Field(op) => {
                    let value = v1::Cell::from(Some(literal(value)));
                    Condition::Field(v1::Condition { field: name, op: (*op).into(), value: Some(value) })
                }
            })
        }
        None => {
            Err("there is no operator: write TAG=VALUE, TAG!=VALUE, TAG=~REGEX, TAG!~REGEX, or FIELD>VALUE with one \
                     of > >= < <= == <>"
                .into())
        }
    }
}

/// Reads a condition that must be one on a tag.
pub(crate) fn matcher(text: &str) -> Result<v1::Matcher, String> {
    match condition(text)? {
        Condition::Tag(matcher) => Ok(matcher),
        Condition::Field(_) => {
            Err("this is a condition on the value of a field, and only tags can have one here".into())
        }
    }
}

/// A number, `true` or `false`; anything else is text, and so is what stands in double quotes.
fn literal(text: &str) -> Value {
    if let Ok(value) = text.parse::<bool>() {
        return Value::Bool(value);
    }
    if let Ok(value) = text.parse::<i64>() {
        return Value::I64(value);
    }
    if let Ok(value) = text.parse::<u64>() {
        return Value::U64(value);
    }
    // Rust reads `nan` and `infinity` as numbers, and people write them as words; `+Inf`, as it is printed, is one.
    if !text.starts_with(char::is_alphabetic)
        && let Ok(value) = text.parse::<f64>()
    {
        return Value::F64(value);
    }
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Value::Str(quoted.unwrap_or(text).to_owned())
}
