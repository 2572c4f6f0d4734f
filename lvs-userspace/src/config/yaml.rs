//! YAML text into a tree whose every node knows its place. The only file that calls the YAML library.
//!
//! The tree is read first and judged afterwards ([`super::record`]), because a typed deserialiser stops at
//! its first error and an operator wants all of them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_yaml::{MessageFormatter, Spanned, UserMessageFormatter};

/// Where something stands in the text. Ordered as one reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// From 1.
    pub(super) line: u32,
    /// From 1, in characters.
    pub(super) column: u32,
    /// In characters; at most 1 for lists and maps, of which the library tells the beginning only.
    pub(super) width: u32,
    /// Line and column of the alias (`*name`) or merge (`<<`) that brings it in, if one does.
    pub(super) used_at: Option<(u32, u32)>,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1, width: 0, used_at: None };
}

impl From<serde_yaml::Location> for Place {
    fn from(location: serde_yaml::Location) -> Self {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            line: narrow(location.line()).max(1),
            column: narrow(location.column()).max(1),
            width: narrow(location.span().len()),
            used_at: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Bool(bool),
    Integer(i128),
    /// A number with a fraction, kept only to be named in a message.
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text, duplicates included.
    Map(Vec<(Node, Node)>),
}

/// What is wrong with the text as YAML. There is only ever one: nothing after it can be trusted.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) place: Place,
    pub(super) message: String,
}

/// The tree of the one document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    serde_yaml::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location().map_or(Place::START, Place::from);
        SyntaxError { place, message: message(&error) }
    })
}

/// What the library says, except where it would print its own inner values.
fn message(error: &serde_yaml::Error) -> String {
    use serde_yaml::Error;
    use serde_yaml::budget::BudgetBreach;
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => message(error),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("nested deeper than {DEEPEST} levels")
        }
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "more values than any configuration needs, with aliases unfolded".to_owned()
        }
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

/// Levels of nesting; a configuration has five.
const DEEPEST: usize = 32;

/// Bounds that leave room for the largest file read ([`super::MAX_FILE_BYTES`]) and stop a small one that
/// unfolds into a large tree.
fn options() -> serde_yaml::Options {
    let limits = serde_yaml::budget! {
        max_events: 16_000_000,
        max_nodes: 8_000_000,
        max_depth: DEEPEST,
        max_documents: 2,
        max_merge_keys: 1_000_000,
        // One pool of real servers under many services is what aliases are for here.
        enforce_alias_anchor_ratio: false,
    };
    serde_yaml::options! {
        budget: limits,
        emit_comments: false,
        with_snippet: false,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        // An interface may be called `on`, and 0123 means different numbers to different people.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let mut place = Place::from(spanned.defined);
        if spanned.referenced != spanned.defined {
            let used = Place::from(spanned.referenced);
            place.used_at = Some((used.line, used.column));
        }
        Ok(Self { value: spanned.value, place })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

impl Node {
    /// The node that a default stands for, as if the file had said so at `place`.
    pub(super) fn from_json(json: serde_json::Value, place: Place) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(integer.into()),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text),
            Json::Array(items) => {
                Value::List(items.into_iter().map(|item| Self::from_json(item, place)).collect())
            }
            Json::Object(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (Self::from_json(key.into(), place), Self::from_json(value, place)))
                    .collect(),
            ),
        };
        Self { value, place }
    }

    /// The node at a path such as `services[0].real_servers[1].port`.
    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        path.split(['.', '[']).filter(|step| !step.is_empty()).try_fold(self, |node, step| {
            match (&node.value, step.strip_suffix(']')) {
                (Value::List(items), Some(index)) => items.get(index.parse::<usize>().ok()?),
                (Value::Map(entries), None) => {
                    entries.iter().find(|(key, _)| key.is_text(step)).map(|(_, value)| value)
                }
                _ => None,
            }
        })
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn is_text(&self, expected: &str) -> bool {
        matches!(&self.value, Value::Text(text) if text == expected)
    }

    /// What is there, as a message names it: `"eighty"`, `70000`, `a list`, `nothing`.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// Text in quotation marks, on one line and not too long of it.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(root: &Node, path: &str) -> (u32, u32, u32) {
        let place = root.find(path).unwrap().place;
        (place.line, place.column, place.width)
    }

    #[test]
    fn every_value_knows_its_place() {
        let root = parse("a: 5\nb:\n  - é\n  - {c: 1, d: \"x: y\"}\n").unwrap();
        assert_eq!(position(&root, "a"), (1, 4, 1));
        assert_eq!(position(&root, "b[0]"), (3, 5, 1));
        assert_eq!(position(&root, "b[1].c"), (4, 9, 1));
        assert_eq!(position(&root, "b[1].d"), (4, 15, 6));
        for absent in ["x", "a.b", "a[0]", "b[2]", "b.c", "b[x]"] {
            assert_eq!(root.find(absent), None, "{absent}");
        }
    }

    #[test]
    fn an_alias_tells_both_places() {
        let root = parse("a: &x {b: 1}\nc: *x\nd: {<<: *x}\n").unwrap();
        for (path, used_at) in [("a.b", None), ("c.b", Some((2, 4))), ("d.b", Some((3, 9)))] {
            let place = root.find(path).unwrap().place;
            assert_eq!(place, Place { line: 1, column: 11, width: 1, used_at }, "{path}");
        }
    }

    #[test]
    fn what_looks_like_another_type_elsewhere_stays_text() {
        for text in ["on", "no", "010", "1_000", "10.0.0.3", "12:30", ".inf"] {
            assert_eq!(parse(text).unwrap().value, Value::Text(text.to_owned()));
        }
    }
}
