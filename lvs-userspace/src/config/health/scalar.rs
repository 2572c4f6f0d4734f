//! Single values that only checks have: spans of time, text, ranges of status codes.

use std::time::Duration;

use regex::bytes::Regex;
use serde_json::{Value as Json, json};

use crate::config::record::{Read, Reader};
use crate::config::scalar::read_text;
use crate::config::yaml::{Node, Value};

/// A span of time: a number of seconds, or a number with a unit as `mon` has it (`500ms`, `10s`, `1.5m`, `1h`, `1d`).
/// At least `LEAST` and at most `MOST` milliseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Span<const LEAST: u32, const MOST: u32>(pub(in crate::config) Duration);

const UNITS: [(&str, f64); 5] = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3_600e3), ("d", 86_400e3)];

impl<const LEAST: u32, const MOST: u32> Span<LEAST, MOST> {
    /// Milliseconds.
    fn parse(value: &Value) -> Option<f64> {
        match value {
            Value::Integer(seconds) => Some(*seconds as f64 * 1e3),
            Value::Float(seconds) => Some(seconds * 1e3),
            Value::Text(text) => {
                let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
                let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                Some(digits.parse::<f64>().ok().filter(|_| is_number)? * factor)
            }
            _ => None,
        }
    }
}

/// `250ms`, `2s`, `1h`: the largest unit that leaves no fraction.
pub(in crate::config) fn written(milliseconds: u32) -> String {
    // 0 is a multiple of days too, but reads better as 0ms.
    let fitting = UNITS
        .iter()
        .rev()
        .filter(|_| milliseconds > 0)
        .find(|(_, factor)| milliseconds.is_multiple_of(*factor as u32));
    let (unit, factor) = fitting.copied().unwrap_or(UNITS[0]);
    format!("{}{unit}", milliseconds / factor as u32)
}

impl<const LEAST: u32, const MOST: u32> Read for Span<LEAST, MOST> {
    fn expected() -> String {
        format!("a time from {} to {}, such as 500ms, 2s or 1m", written(LEAST), written(MOST))
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Some(milliseconds) = Self::parse(&node.value) else {
            reader.unexpected::<Self>(node);
            return None;
        };
        if !(f64::from(LEAST)..=f64::from(MOST)).contains(&milliseconds) {
            let remedy = format!("expected {}", Self::expected());
            reader.mistake(node.place, format!("{} is out of range", node.describe()), remedy);
            return None;
        }
        Some(Self(Duration::from_millis(milliseconds.round() as u64)))
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                { "type": "number", "minimum": f64::from(LEAST) / 1e3, "maximum": f64::from(MOST) / 1e3 },
                { "type": "string", "pattern": "^[0-9.]+(ms|s|m|h|d)$" },
            ],
            "description": format!("From {} to {}", written(LEAST), written(MOST)),
        })
    }
}

/// Text of one line, not empty.
#[derive(Clone, Debug)]
pub(in crate::config) struct Line(pub(in crate::config) String);

/// Longest text that a check sends or looks for.
const LONGEST: usize = 4_096;

impl Read for Line {
    fn expected() -> String {
        format!("text on one line, of 1 to {LONGEST} bytes")
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            let what = match text {
                "" => "empty text".to_owned(),
                _ if text.len() > LONGEST => format!("{} bytes of text", text.len()),
                _ => format!("{} has control characters", node.describe()),
            };
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
            return None;
        }
        Some(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": LONGEST })
    }
}

/// What is sent: any text, lines and all.
#[derive(Clone, Debug)]
pub(in crate::config) struct Text(pub(in crate::config) String);

impl Read for Text {
    fn expected() -> String {
        format!("text of up to {LONGEST} bytes")
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        refuse_unless(text.len() <= LONGEST, "is too long", node, reader, || Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": LONGEST })
    }
}

/// A name in the DNS.
#[derive(Clone, Debug)]
pub(in crate::config) struct DnsName(pub(in crate::config) String);

impl Read for DnsName {
    fn expected() -> String {
        "a name such as www.example.org".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let is_valid = hickory_proto::rr::Name::from_utf8(text).is_ok();
        refuse_unless(is_valid, "is no name in the DNS", node, reader, || Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// The type of a record in the DNS.
#[derive(Clone, Debug)]
pub(in crate::config) struct RecordType(pub(in crate::config) String);

impl Read for RecordType {
    fn expected() -> String {
        "a type of record such as A, AAAA, MX, TXT or SOA".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let is_valid = text.parse::<hickory_proto::rr::RecordType>().is_ok();
        refuse_unless(is_valid, "is no type of record", node, reader, || Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Z0-9]+$" })
    }
}

/// Where on a web server: path and query.
#[derive(Clone, Debug)]
pub(in crate::config) struct HttpPath(pub(in crate::config) String);

impl Read for HttpPath {
    fn expected() -> String {
        "a path that begins with a slash, with special characters percent-encoded".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let is_valid = text.starts_with('/') && text.parse::<hyper::http::uri::PathAndQuery>().is_ok();
        refuse_unless(is_valid, "is no path on a web server", node, reader, || Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/" })
    }
}

/// A word for what to do with it: GET, HEAD, …
#[derive(Clone, Debug)]
pub(in crate::config) struct HttpMethod(pub(in crate::config) String);

impl Read for HttpMethod {
    fn expected() -> String {
        "an HTTP method such as GET or HEAD".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let is_valid = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
        refuse_unless(is_valid, "is no HTTP method", node, reader, || Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Z]+$" })
    }
}

/// What stands after `Host:`.
#[derive(Clone, Debug)]
pub(in crate::config) struct HostName(pub(in crate::config) String);

impl Read for HostName {
    fn expected() -> String {
        "a host's name, with a port if need be".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let is_valid = !text.contains('@') && text.parse::<hyper::http::uri::Authority>().is_ok();
        refuse_unless(is_valid, "is no host's name", node, reader, || Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// One header, as it is written on the wire.
#[derive(Clone, Debug)]
pub(in crate::config) struct HttpHeader {
    pub(in crate::config) name: String,
    pub(in crate::config) value: String,
}

impl Read for HttpHeader {
    fn expected() -> String {
        "a header as text, \"Name: value\"".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
        let text = read_text::<Self>(node, reader)?;
        let parts = text.split_once(':').map(|(name, value)| (name, value.trim()));
        let name = parts.and_then(|(name, _)| name.parse::<HeaderName>().ok());
        if name.as_ref() == Some(&HOST) {
            reader.mistake(node.place, "the header Host", "expected the key `host` for it");
            return None;
        }
        // What frames the request is not the file's to say.
        let is_ours =
            name.as_ref().is_some_and(|name| [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name));
        let value = parts.filter(|(_, value)| HeaderValue::from_str(value).is_ok());
        let is_valid = name.is_some() && value.is_some() && !is_ours;
        let (name, value) = parts.unwrap_or_default();
        let header = || Self { name: name.to_owned(), value: value.to_owned() };
        refuse_unless(is_valid, "is no header that can be set", node, reader, header)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^:]+:" })
    }
}

/// Status codes, both ends included: `200`, `200-399`.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct StatusRange(pub(in crate::config) u16, pub(in crate::config) u16);

impl StatusRange {
    fn parse(value: &Value) -> Option<Self> {
        let (from, to) = match value {
            Value::Integer(code) => (u16::try_from(*code).ok()?, u16::try_from(*code).ok()?),
            Value::Text(text) => {
                let (from, to) = text.split_once('-')?;
                (from.trim().parse().ok()?, to.trim().parse().ok()?)
            }
            _ => return None,
        };
        (100 <= from && from <= to && to <= 599).then_some(Self(from, to))
    }
}

impl Read for StatusRange {
    fn expected() -> String {
        "a status code from 100 to 599, or a range such as 200-399".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let range = Self::parse(&node.value);
        if range.is_none() {
            reader.unexpected::<Self>(node);
        }
        range
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": "^[1-5][0-9][0-9]-[1-5][0-9][0-9]$" },
        ] })
    }
}

/// A regular expression (the syntax of Rust's crate regex: no look-around, linear time).
#[derive(Clone, Debug)]
pub(in crate::config) struct Pattern(pub(in crate::config) String);

impl Read for Pattern {
    fn expected() -> String {
        "a regular expression".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        match Regex::new(text) {
            Ok(_) => Some(Self(text.to_owned())),
            Err(error) => {
                // The library's message draws the expression over several lines; the last one is the reason.
                let reason = error.to_string();
                let reason = reason.lines().next_back().unwrap_or_default().trim_start_matches("error: ");
                let what = format!("{} is no regular expression: {reason}", node.describe());
                reader.mistake(node.place, what, format!("expected {}", Self::expected()));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "format": "regex" })
    }
}

/// A SHA-256 in hexadecimal digits, as `sha256sum` prints it.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Sha256(pub(in crate::config) [u8; 32]);

impl Sha256 {
    fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        let is_hexadecimal = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (index, byte) in digest.iter_mut().enumerate().filter(|_| is_hexadecimal) {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
        }
        is_hexadecimal.then_some(Self(digest))
    }
}

impl Read for Sha256 {
    fn expected() -> String {
        "64 hexadecimal digits, as sha256sum prints them".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let digest = Self::parse(text);
        if digest.is_none() {
            reader.unexpected::<Self>(node);
        }
        digest
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9a-fA-F]{64}$" })
    }
}

fn refuse_unless<T: Read>(
    is_valid: bool,
    objection: &str,
    node: &Node,
    reader: &mut Reader,
    value: impl FnOnce() -> T,
) -> Option<T> {
    if !is_valid {
        let what = format!("{} {objection}", node.describe());
        reader.mistake(node.place, what, format!("expected {}", T::expected()));
        return None;
    }
    Some(value())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_in_mon() {
        for (value, milliseconds) in [
            (Value::Integer(10), Some(10_000.0)),
            (Value::Float(0.5), Some(500.0)),
            (Value::Text("250ms".to_owned()), Some(250.0)),
            (Value::Text("1.5m".to_owned()), Some(90_000.0)),
            (Value::Text("1h".to_owned()), Some(3_600_000.0)),
            (Value::Text("1d".to_owned()), Some(86_400_000.0)),
            (Value::Text("10".to_owned()), None),
            (Value::Text("s".to_owned()), None),
            (Value::Text("-1s".to_owned()), None),
            (Value::Text("1e3s".to_owned()), None),
            (Value::Text("1 s".to_owned()), None),
            (Value::Bool(true), None),
        ] {
            assert_eq!(Span::<1, 1>::parse(&value), milliseconds, "{value:?}");
        }
        assert_eq!([1, 250, 2_000, 60_000, 86_400_000].map(written), ["1ms", "250ms", "2s", "1m", "1d"]);
    }
}
