//! Single values that only alerts have.

use std::path::PathBuf;

use hyper::Uri;
use serde_json::{Value as Json, json};

use crate::alert::period::Period;
use crate::config::record::{Read, Reader};
use crate::config::scalar::read_text;
use crate::config::yaml::Node;

/// A period in mon's grammar.
#[derive(Clone, Debug)]
pub(in crate::config) struct PeriodText(pub(in crate::config) Period);

impl Read for PeriodText {
    fn expected() -> String {
        "a period such as `wd {Mon-Fri} hr {9am-6pm}`".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        match Period::parse(text) {
            Ok(period) => Some(Self(period)),
            Err(mistake) => {
                let what = format!("{} is no period: {mistake}", node.describe());
                reader.mistake(node.place, what, format!("expected {}", Self::expected()));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A file, from the root.
#[derive(Clone, Debug)]
pub(in crate::config) struct Path(pub(in crate::config) PathBuf);

impl Read for Path {
    fn expected() -> String {
        "a path that begins with a slash".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        if !text.starts_with('/') || text.contains('\0') {
            let what = format!("{} is no absolute path", node.describe());
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
            return None;
        }
        Some(Self(text.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/" })
    }
}

/// Of a person.
#[derive(Clone, Debug)]
pub(in crate::config) struct MailAddress(pub(in crate::config) String);

impl Read for MailAddress {
    fn expected() -> String {
        "a mail address such as admin@example.org or \"Admin <admin@example.org>\"".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        if text.parse::<lettre::message::Mailbox>().is_err() {
            let what = format!("{} is no mail address", node.describe());
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
            return None;
        }
        Some(Self(text.to_owned()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "@" })
    }
}

/// Of a web server.
#[derive(Clone, Debug)]
pub(in crate::config) struct Url(pub(in crate::config) Uri);

impl Read for Url {
    fn expected() -> String {
        "a URL such as https://alerts.example.org/hook".to_owned()
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let url = text.parse::<Uri>().ok().filter(|url| {
            let is_web = matches!(url.scheme_str(), Some("http" | "https"));
            is_web && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        if url.is_none() {
            let what = format!("{} is no URL of a web server", node.describe());
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
        }
        url.map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://" })
    }
}

/// A facility of syslog, by its number.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Facility(pub(in crate::config) u8);

/// As syslog.conf(5) names them, by number (RFC 3164 section 4.1.1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
    "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

impl Facility {
    fn names() -> impl Iterator<Item = &'static str> {
        FACILITIES.into_iter().filter(|name| !name.is_empty())
    }
}

impl Read for Facility {
    fn expected() -> String {
        format!("one of {}", Self::names().collect::<Vec<_>>().join(", "))
    }

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = read_text::<Self>(node, reader)?;
        let number = FACILITIES.iter().position(|name| *name == text && !name.is_empty());
        if number.is_none() {
            let what = format!("{} is no facility of syslog", node.describe());
            reader.mistake(node.place, what, format!("expected {}", Self::expected()));
        }
        Some(Self(u8::try_from(number?).ok()?))
    }

    fn schema() -> Json {
        json!({ "enum": Self::names().collect::<Vec<_>>() })
    }
}
