//! What a check asks, and which answer will do.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::tls::Trust;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Probe {
    /// An echo request is answered.
    Icmp,
    /// A connection is accepted.
    Tcp,
    Udp(UdpProbe),
    Http(Box<HttpProbe>),
    Dns(DnsProbe),
    Text(Box<TextProbe>),
    Exchange(Box<ExchangeProbe>),
    /// PING.
    Redis(Option<Login>),
    Mysql(SqlProbe),
    Pgsql(SqlProbe),
    Ldap(Box<LdapProbe>),
    Radius(RadiusProbe),
    Sip(SipProbe),
    Grpc(Box<GrpcProbe>),
    External(ExternalProbe),
}

impl Probe {
    /// The word for it in the file.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp(_) => "udp",
            Self::Http(http) if http.secure.is_some() => "https",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Text(text) => text.protocol.word(),
            Self::Exchange(_) => "exchange",
            Self::Redis(_) => "redis",
            Self::Mysql(_) => "mysql",
            Self::Pgsql(_) => "pgsql",
            Self::Ldap(_) => "ldap",
            Self::Radius(_) => "radius",
            Self::Sip(_) => "sip",
            Self::Grpc(_) => "grpc",
            Self::External(_) => "external",
        }
    }

    /// How it is encrypted, if it is.
    pub fn secure(&self) -> Option<&Secure> {
        let secure = match self {
            Self::Http(http) => http.secure.as_ref(),
            Self::Text(text) => Some(&text.secure),
            Self::Exchange(exchange) => Some(&exchange.secure),
            Self::Ldap(ldap) => Some(&ldap.secure),
            Self::Grpc(grpc) => Some(&grpc.secure),
            _ => None,
        };
        secure.filter(|secure| secure.mode != TlsMode::None)
    }

    /// Whether it is sent to a port at all.
    pub const fn has_port(&self) -> bool {
        !matches!(self, Self::Icmp)
    }
}

/// TLS on the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Secure {
    pub mode: TlsMode,
    /// The name that is asked for and must be in the certificate; the checked address without one.
    pub server_name: Option<String>,
    pub trust: Trust,
    /// People are told when the certificate ends within this time.
    pub expiry_warning: Duration,
}

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsMode {
    None,
    /// On a connection that begins without.
    Starttls,
    /// From the first byte on.
    Tls,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Login {
    pub user: String,
    pub password_file: PathBuf,
}

/// A datagram, and what must come back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct UdpProbe {
    pub send: String,
    /// Regular expression; without one it is enough that the port is not refused.
    pub expect: Option<String>,
}

/// An HTTP request and what its answer must be like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HttpProbe {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The header `Host`, if not the checked address.
    pub host: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Ranges of status codes, both ends included; any of them will do.
    pub status: Vec<(u16, u16)>,
    /// Text that the body must contain.
    pub body: Option<String>,
    /// Regular expression that must match somewhere in the body.
    pub body_regex: Option<String>,
    /// SHA-256 that the whole body must have.
    pub body_sha256: Option<[u8; 32]>,
    /// HTTP/2 instead of HTTP/1.1.
    pub http2: bool,
    /// https.
    pub secure: Option<Secure>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DnsProbe {
    pub name: String,
    /// Type of the record, as `A`.
    pub record: String,
    /// One of the answers, as zone files write it; without one any will do.
    pub answer: Option<String>,
    pub transport: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Protocols of lines: a banner, a few commands, a farewell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TextProbe {
    pub protocol: TextProtocol,
    pub secure: Secure,
    pub login: Option<Login>,
    /// With ftp: a file that must be there.
    pub file: Option<String>,
    /// Text that it must contain.
    pub body: Option<String>,
    /// Regular expression that must match somewhere in it.
    pub body_regex: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TextProtocol {
    Smtp,
    Ftp,
    Imap,
    Pop,
    Nntp,
}

impl TextProtocol {
    const fn word(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Ftp => "ftp",
            Self::Imap => "imap",
            Self::Pop => "pop",
            Self::Nntp => "nntp",
        }
    }
}

/// Whatever is said over TCP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ExchangeProbe {
    /// Regular expression for what the server says first.
    pub banner: Option<String>,
    pub send: Option<String>,
    /// Regular expression for the answer.
    pub expect: Option<String>,
    pub secure: Secure,
}

/// How far a handshake with a database goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SqlProbe {
    pub user: String,
    pub database: Option<String>,
}

/// A bind; anonymous without a login.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LdapProbe {
    /// The user is a distinguished name.
    pub login: Option<Login>,
    pub secure: Secure,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RadiusProbe {
    pub secret_file: PathBuf,
    /// Must be accepted; without one the server is asked for its status (RFC 5997).
    pub login: Option<Login>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SipProbe {
    pub transport: Transport,
    /// Status codes that will do, both ends included.
    pub status: Vec<(u16, u16)>,
}

/// grpc.health.v1
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GrpcProbe {
    /// Name of the service; the server as a whole without one.
    pub service: String,
    pub secure: Secure,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ExternalProbe {
    pub convention: Convention,
    /// Program and arguments, in which `{address}` and `{port}` stand for what is checked; never empty.
    pub command: Vec<String>,
}

/// How a program tells what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Convention {
    Mon,
    Nagios,
}
