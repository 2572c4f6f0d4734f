//! What is told, in a form that can be kept.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// To one receiver: one or more problems, or their ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Name of the alert in the file.
    pub alert: String,
    pub kind: Kind,
    /// When it was made, in seconds since 1970.
    pub unix_seconds: u64,
    /// Never empty.
    pub items: Vec<Item>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something is wrong.
    Alert,
    /// It is right again.
    Up,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The service's name; [`CLUSTER`] of what is between directors.
    pub service: String,
    /// The real server, if it is not about the service as a whole.
    pub server: Option<SocketAddr>,
    /// Between directors: the node, group or address it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The same: names of the groups it touches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// As in `lvsctl events`.
    pub what: String,
    pub reason: String,
    /// How long it has been, or was, wrong.
    pub seconds: u64,
}

/// Stands in place of a service's name where something is between directors.
pub const CLUSTER: &str = "cluster";

impl Item {
    /// `www 192.168.0.1:80 down`, `cluster director-1 silent`
    fn subject(&self) -> String {
        let about = self.server.map(shown).or_else(|| self.about.clone());
        match about {
            Some(about) => format!("{} {about} {}", self.service, self.what),
            None => format!("{} {}", self.service, self.what),
        }
    }

    pub fn is_of_the_cluster(&self) -> bool {
        self.about.is_some()
    }

    /// What a program is told of at a time.
    fn whole(&self) -> (&str, bool, &[String]) {
        (&self.service, self.is_of_the_cluster(), &self.groups)
    }
}

impl Message {
    /// One line: what a mail has as its subject.
    pub fn subject(&self) -> String {
        let word = match self.kind {
            Kind::Alert => "ALERT",
            Kind::Up => "UPALERT",
        };
        match self.items.as_slice() {
            [item] => format!("{word} {}", item.subject()),
            items => format!("{word} {} and {} more", items[0].subject(), items.len() - 1),
        }
    }

    /// A line for each item.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.items.iter().map(|item| {
            let past = match self.kind {
                Kind::Alert if item.seconds == 0 => String::new(),
                Kind::Alert => format!(" (for {} s)", item.seconds),
                Kind::Up => format!(" (after {} s)", item.seconds),
            };
            format!("{}: {}{past}", item.subject(), item.reason)
        })
    }

    /// The messages about one service each, or the same groups of the cluster: what speaks of one only gets.
    pub fn by_service(&self) -> Vec<Self> {
        let mut messages: Vec<Self> = Vec::new();
        for item in &self.items {
            match messages.iter_mut().find(|message| message.items[0].whole() == item.whole()) {
                Some(message) => message.items.push(item.clone()),
                None => messages.push(Self { items: vec![item.clone()], ..self.clone() }),
            }
        }
        messages
    }
}

fn shown(server: SocketAddr) -> String {
    match server.port() {
        0 => server.ip().to_string(),
        _ => server.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn item(service: &str, last: u8, what: &str) -> Item {
        Item {
            service: service.to_owned(),
            server: Some(SocketAddr::from(([192, 168, 0, last], 80))),
            about: None,
            groups: Vec::new(),
            what: what.to_owned(),
            reason: "http 503 after 12 ms, 3 of 3".to_owned(),
            seconds: 0,
        }
    }

    pub(crate) fn message(kind: Kind, items: Vec<Item>) -> Message {
        Message { alert: "admin".to_owned(), kind, unix_seconds: 1_795_645_997, items }
    }

    #[test]
    fn a_message_reads_well() {
        let mut one = message(Kind::Alert, vec![item("www", 1, "down")]);
        assert_eq!(one.subject(), "ALERT www 192.168.0.1:80 down");
        one.items.push(Item { server: None, seconds: 60, ..item("www", 1, "quorum lost") });
        assert_eq!(one.subject(), "ALERT www 192.168.0.1:80 down and 1 more");
        let lines: Vec<_> = one.lines().collect();
        assert_eq!(
            lines,
            [
                "www 192.168.0.1:80 down: http 503 after 12 ms, 3 of 3",
                "www quorum lost: http 503 after 12 ms, 3 of 3 (for 60 s)"
            ]
        );
        let two = message(Kind::Up, vec![item("www", 1, "up"), item("ftp", 1, "up"), item("www", 2, "up")]);
        let services: Vec<_> = two.by_service().iter().map(|one| one.items.len()).collect();
        assert_eq!(services, [2, 1]);
    }

    #[test]
    fn what_is_between_directors_is_named() {
        let of = |about: &str, groups: &[&str]| Item {
            server: None,
            about: Some(about.to_owned()),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..item(CLUSTER, 1, "silent")
        };
        let all = message(
            Kind::Alert,
            vec![
                of("director-1", &["www", "mail"]),
                of("www", &["www"]),
                item(CLUSTER, 1, "down"),
                of("x", &["www"]),
            ],
        );
        assert_eq!(all.subject(), "ALERT cluster director-1 silent and 3 more");
        // A service may be called so too.
        let parts: Vec<_> = all.by_service().iter().map(|one| one.items.len()).collect();
        assert_eq!(parts, [1, 2, 1]);
        let text = serde_json::to_string(&item("www", 1, "down")).unwrap();
        assert!(!text.contains("about") && !text.contains("groups"), "{text}");
    }
}
