//! Who is told.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::TlsMode;
use crate::alert::period::Period;
use crate::tls::Trust;

/// One receiver of alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Distinct.
    pub name: String,
    /// Names of services; empty = all.
    pub services: Vec<String>,
    /// Addresses of real servers; empty = all, and what is about a service as a whole.
    pub real_servers: Vec<IpAddr>,
    /// Whether it is about what happens between directors too.
    pub cluster: bool,
    /// When it may be told.
    pub period: Period,
    /// How long it must have been wrong.
    pub after: Duration,
    /// How often its checks must have failed in a row; at least 1. Only of a real server.
    pub failures: u32,
    /// How often it is told again; `None` = once.
    pub every: Option<Duration>,
    /// Whether it is told that it is right again.
    pub up: bool,
    /// How long others are waited for, to be told together.
    pub group: Duration,
    pub channel: AlertChannel,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertChannel {
    Program(ProgramAlert),
    Mail(MailAlert),
    Webhook(WebhookAlert),
    Syslog(SyslogAlert),
}

/// In mon's convention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramAlert {
    /// Program and further arguments; never empty.
    pub command: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAlert {
    /// Never empty.
    pub to: Vec<String>,
    pub from: String,
    /// Name or address.
    pub server: String,
    pub port: u16,
    pub tls: TlsMode,
    pub trust: Trust,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookAlert {
    pub is_https: bool,
    /// Name or address.
    pub host: String,
    pub port: u16,
    /// As the header `Host` has it.
    pub authority: String,
    /// With the query.
    pub path: String,
    pub trust: Trust,
    /// Its content signs.
    pub secret_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogAlert {
    /// By its number (RFC 3164 section 4.1.1).
    pub facility: u8,
    pub socket: PathBuf,
}
