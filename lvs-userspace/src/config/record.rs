//! From a tree of unknown shape to typed values, noting every mistake on the way.
//!
//! [`record!`] declares the keys of a map once; the reader, the JSON Schema and the defaults all come
//! from that declaration, so that they cannot disagree.

use serde_json::{Value as Json, json};

use super::diagnostics::Finding;
use super::nearest::nearest;
use super::yaml::{Node, Place, Value};

/// A value a file can hold.
pub(super) trait Read: Sized {
    /// What a message says was expected: "a whole number from 1 to 9".
    fn expected() -> String;

    /// The value, or `None` once `reader` has been told why there is none.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;

    /// JSON Schema of the value.
    fn schema() -> Json;
}

/// Collects mistakes, and knows where in the tree it stands.
#[derive(Debug, Default)]
pub(super) struct Reader {
    path: String,
    pub(super) findings: Vec<Finding>,
    pub(super) omitted: usize,
}

impl Reader {
    /// Mistakes kept of one file; a generated file can hold the same one a million times.
    const KEPT: usize = 1_000;

    /// Notes a mistake in the value where the reader stands.
    pub(super) fn mistake(&mut self, place: Place, what: impl Into<String>, remedy: impl Into<String>) {
        if self.findings.len() == Self::KEPT {
            self.omitted += 1;
            return;
        }
        let path = Some(self.path.clone());
        self.findings.push(Finding { place, what: what.into(), path, remedy: remedy.into() });
    }

    /// Notes that a value is not of type `T`.
    pub(super) fn unexpected<T: Read>(&mut self, node: &Node) {
        let kind = if matches!(node.value, Value::Text(_)) { "the text " } else { "" };
        let what = format!("found {kind}{}", node.describe());
        self.mistake(node.place, what, format!("expected {}", T::expected()));
    }

    /// Does `work` one key further down.
    pub(super) fn in_key<T>(&mut self, key: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let result = work(self);
        self.path.truncate(length);
        result
    }

    /// Does `work` in one item of a list.
    pub(super) fn in_item<T>(&mut self, index: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let result = work(self);
        self.path.truncate(length);
        result
    }

    /// The entries of a map that may have these keys.
    pub(super) fn entries<'a, T: Read>(
        &mut self,
        node: &'a Node,
        keys: &'static [&'static str],
    ) -> Option<Entries<'a>> {
        let Value::Map(map) = &node.value else {
            self.unexpected::<T>(node);
            return None;
        };
        let mut found: Vec<Option<(&Node, &Node)>> = vec![None; keys.len()];
        for (key, value) in map {
            match keys.iter().position(|known| key.is_text(known)) {
                None => self.unknown_key(key, keys),
                Some(index) => match found[index] {
                    None => found[index] = Some((key, value)),
                    Some((first, _)) => self.mistake(
                        key.place,
                        format!("`{}` is here twice, first on line {}", keys[index], first.place.line),
                        "expected each key once",
                    ),
                },
            }
        }
        Some(Entries { place: node.place, keys, found })
    }

    /// The word under `type`, one of `words`, and the map without it.
    pub(super) fn tagged<T: Read>(
        &mut self,
        node: &Node,
        words: &[&'static str],
    ) -> Option<(&'static str, Node)> {
        let Value::Map(map) = &node.value else {
            self.unexpected::<T>(node);
            return None;
        };
        let (tags, rest): (Vec<_>, Vec<_>) = map.iter().cloned().partition(|(key, _)| key.is_text("type"));
        let Some((first, given)) = tags.first() else {
            let remedy = format!("expected one of {}", words.join(", "));
            self.mistake(node.place, "missing key `type`", remedy);
            return None;
        };
        for (again, _) in &tags[1..] {
            let what = format!("`type` is here twice, first on line {}", first.place.line);
            self.mistake(again.place, what, "expected each key once");
        }
        let word = words.iter().copied().find(|word| given.is_text(word));
        if word.is_none() {
            let near = match &given.value {
                Value::Text(text) => nearest(text, words.iter().copied()),
                _ => None,
            };
            let hint = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
            let remedy = format!("{hint}expected one of {}", words.join(", "));
            let what = format!("{} is not known", given.describe());
            self.in_key("type", |reader| reader.mistake(given.place, what, remedy));
        }
        Some((word?, Node { value: Value::Map(rest), place: node.place }))
    }

    fn unknown_key(&mut self, key: &Node, keys: &[&str]) {
        let name = match &key.value {
            Value::Text(text) => text.clone(),
            _ => key.describe(),
        };
        let remedy = match nearest(&name, keys.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("expected one of {}", keys.join(", ")),
        };
        self.mistake(key.place, format!("unknown key {}", super::yaml::quote(&name)), remedy);
    }
}

/// The entries of one map, by key.
pub(super) struct Entries<'a> {
    place: Place,
    keys: &'static [&'static str],
    found: Vec<Option<(&'a Node, &'a Node)>>,
}

impl Entries<'_> {
    pub(super) fn required<T: Read>(&self, key: &str, reader: &mut Reader) -> Field<T> {
        let field = self.optional(key, reader);
        if matches!(field, Field::Absent) {
            reader.mistake(self.place, format!("missing key `{key}`"), format!("expected {}", T::expected()));
            return Field::Bad;
        }
        field
    }

    pub(super) fn optional<T: Read>(&self, key: &str, reader: &mut Reader) -> Field<T> {
        let index = self.keys.iter().position(|known| *known == key);
        match index.and_then(|index| self.found[index]) {
            None => Field::Absent,
            Some((_, node)) => Field::read(key, node, reader),
        }
    }

    /// An absent key counts as `default`, written at the map's own place.
    pub(super) fn defaulted<T: Read>(&self, key: &str, default: Json, reader: &mut Reader) -> Field<T> {
        match self.optional(key, reader) {
            Field::Absent => Field::read(key, &Node::from_json(default, self.place), reader),
            given => given,
        }
    }
}

/// What a key held.
#[derive(Debug)]
pub(super) enum Field<T> {
    Absent,
    /// Something wrong, which has been reported: what depends on it is not judged.
    Bad,
    Given(Located<T>),
}

impl<T: Read> Field<T> {
    fn read(key: &str, node: &Node, reader: &mut Reader) -> Self {
        match reader.in_key(key, |reader| T::read(node, reader)) {
            Some(value) => Self::Given(Located { value, place: node.place }),
            None => Self::Bad,
        }
    }
}

impl<T> Field<T> {
    pub(super) fn located(&self) -> Option<&Located<T>> {
        match self {
            Self::Given(located) => Some(located),
            Self::Absent | Self::Bad => None,
        }
    }

    pub(super) fn value(&self) -> Option<&T> {
        self.located().map(|located| &located.value)
    }

    /// What an optional key says; the outer `None` when it says something wrong.
    pub(super) fn optional(&self) -> Option<Option<&T>> {
        match self {
            Self::Absent => Some(None),
            Self::Bad => None,
            Self::Given(located) => Some(Some(&located.value)),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// From `LEAST` to `MOST` items. A bad item leaves a gap, so that the others keep their number.
#[derive(Debug)]
pub(super) struct List<T, const LEAST: usize, const MOST: usize> {
    pub(super) items: Vec<Option<Located<T>>>,
}

impl<T, const LEAST: usize, const MOST: usize> List<T, LEAST, MOST> {
    /// The good items with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Located<T>)> {
        self.items.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_ref()?)))
    }
}

impl<T: Read, const LEAST: usize, const MOST: usize> Read for List<T, LEAST, MOST> {
    fn expected() -> String {
        let least = match LEAST {
            0 => "a list (`[]` for none)".to_owned(),
            1 => "a list of at least one item".to_owned(),
            _ => format!("a list of at least {LEAST} items"),
        };
        format!("{least}, each item {}", T::expected())
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::List(nodes) = &node.value else {
            reader.unexpected::<Self>(node);
            return None;
        };
        if nodes.len() < LEAST {
            let what = match nodes.len() {
                0 => "an empty list",
                _ => "too short a list",
            };
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
        }
        if let Some(surplus) = nodes.get(MOST) {
            let what = format!("{} items are too many", nodes.len());
            reader.mistake(surplus.place, what, format!("expected at most {MOST}"));
        }
        let items = nodes.iter().enumerate().map(|(index, node)| {
            let value = reader.in_item(index, |reader| T::read(node, reader))?;
            Some(Located { value, place: node.place })
        });
        Some(Self { items: items.collect() })
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema(), "minItems": LEAST, "maxItems": MOST })
    }
}

/// Declares a map: a struct with one [`Field`] for each key, and how it is read and described.
/// `default key: Type = value` takes the value as the file would write it.
macro_rules! record {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $doc:literal])+ $need:ident $key:ident: $type:ty $(= $default:expr)?;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(in crate::config) struct $name {
            $($(#[doc = $doc])+ pub(in crate::config) $key: $crate::config::record::Field<$type>,)+
        }

        impl $crate::config::record::Read for $name {
            fn expected() -> String {
                format!("a map with the keys {}", [$(stringify!($key)),+].join(", "))
            }

            fn read(
                node: &$crate::config::yaml::Node,
                reader: &mut $crate::config::record::Reader,
            ) -> Option<Self> {
                let entries = reader.entries::<Self>(node, &[$(stringify!($key)),+])?;
                Some(Self { $($key: record!(@read entries reader $need $key $($default)?),)+ })
            }

            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                let required: Vec<&str> = [$((stringify!($need), stringify!($key))),+]
                    .into_iter()
                    .filter_map(|(need, key)| (need == "required").then_some(key))
                    .collect();
                $({
                    let mut property = <$type as $crate::config::record::Read>::schema();
                    let detail = property["description"].as_str().map(|detail| format!(" {detail}."));
                    property["description"] =
                        format!("{}{}", [$($doc.trim()),+].join(" "), detail.unwrap_or_default()).into();
                    $(property["default"] = serde_json::json!($default);)?
                    properties.insert(stringify!($key).to_owned(), property);
                })+
                let mut schema = serde_json::json!({
                    "type": "object",
                    "properties": properties,
                    "additionalProperties": false,
                });
                if !required.is_empty() {
                    schema["required"] = required.into();
                }
                schema
            }
        }
    };
    (@read $entries:ident $reader:ident required $key:ident) => {
        $entries.required(stringify!($key), $reader)
    };
    (@read $entries:ident $reader:ident optional $key:ident) => {
        $entries.optional(stringify!($key), $reader)
    };
    (@read $entries:ident $reader:ident default $key:ident $default:expr) => {
        $entries.defaulted(stringify!($key), serde_json::json!($default), $reader)
    };
}
pub(super) use record;

/// Declares a map of one of several kinds, told apart by its key `type`: an enum of the maps' records. Every
/// record has its own keys; `type` is none of them.
macro_rules! variants {
    ($(#[doc = $about:literal])+ $name:ident { $($variant:ident = $word:literal: $record:ty;)+ }) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(in crate::config) enum $name {
            $($variant(Box<$record>),)+
        }

        impl $crate::config::record::Read for $name {
            fn expected() -> String {
                format!("a map with the key type (one of {})", [$($word),+].join(", "))
            }

            fn read(
                node: &$crate::config::yaml::Node,
                reader: &mut $crate::config::record::Reader,
            ) -> Option<Self> {
                let (word, rest) = reader.tagged::<Self>(node, &[$($word),+])?;
                match word {
                    $($word => <$record as $crate::config::record::Read>::read(&rest, reader).map(|record| Self::$variant(Box::new(record))),)+
                    _ => None,
                }
            }

            fn schema() -> serde_json::Value {
                let one_of = [$(($word, <$record as $crate::config::record::Read>::schema())),+];
                let one_of: Vec<serde_json::Value> = one_of
                    .into_iter()
                    .map(|(word, schema)| $crate::config::record::tagged_schema(word, schema))
                    .collect();
                serde_json::json!({ "oneOf": one_of })
            }
        }
    };
}
pub(super) use variants;

/// The schema of one kind of map: that of its record, and its `type`.
pub(super) fn tagged_schema(word: &str, mut schema: Json) -> Json {
    schema["properties"]["type"] = json!({ "const": word });
    match schema["required"].as_array_mut() {
        Some(required) => required.push("type".into()),
        None => schema["required"] = json!(["type"]),
    }
    schema
}
