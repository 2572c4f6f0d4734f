//! Every key of checks, declared once.

use lvs_common::limits;
use serde_json::json;

use super::scalar::{
    DnsName, HostName, HttpHeader, HttpMethod, HttpPath, Line, Pattern, RecordType, Sha256, Span,
    StatusRange, Text,
};
use crate::config::alerts::raw::Command;
use crate::config::alerts::scalar::Path;
use crate::config::model::{Convention, Forward, OnDown, Require, TlsMode, Transport};
use crate::config::raw::RealServerPort;
use crate::config::record::{Field, List, record, variants};
use crate::config::scalar::{InterfaceName, Number, Switch, UnicastAddress};
use crate::config::words::Via;

/// A day: whoever looks less often does not watch.
const LONGEST: u32 = 86_400_000;

pub(in crate::config) type Interval = Span<50, LONGEST>;
/// What waits longer than ten minutes for an answer holds its socket for as long.
pub(in crate::config) type Timeout = Span<10, 600_000>;
pub(in crate::config) type Expiry = Span<0, 4_000_000_000>;
pub(in crate::config) type Delay = Span<0, 86_400_000>;
pub(in crate::config) type FlapTime = Span<1_000, 86_400_000>;
pub(in crate::config) type Servers = Number<1, { limits::MEMBERS_PER_SERVICE }>;
pub(in crate::config) type Share = Number<0, 100>;
pub(in crate::config) type Count = Number<1, 1_000>;
pub(in crate::config) type Percent = Number<0, 50>;
pub(in crate::config) type Checks = List<Check, 0, 16>;
pub(in crate::config) type Headers = List<HttpHeader, 0, 64>;
pub(in crate::config) type StatusRanges = List<StatusRange, 1, 64>;

record! {
    /// `health` of a service.
    Health {
        /// How its real servers are checked; one that has `checks` of its own is checked by those instead.
        default checks: Checks = json!([]);
        /// How many checks of a real server must pass.
        default require: Require = Require::All.word();
        /// What becomes of a real server that fails.
        default on_down: OnDown = OnDown::Remove.word();
        /// How long a real server that has recovered must stay so before it returns.
        default recovery_delay: Delay = 0;
        /// How long the weight of a real server that returns grows, in ten steps.
        default slow_start: Delay = 0;
        /// What is done about a real server that fails again and again.
        optional flaps: Flaps;
        /// Fewer real servers than this are not enough.
        default quorum: Servers = 1;
        /// So many are enough again: `quorum` if left out.
        optional quorum_recovery: Servers;
        /// Who serves while there are not enough.
        optional fallback: Fallback;
        /// When less than so many percent of the real servers are left, the checks are doubted and the others kept.
        default panic_threshold: Share = 0;
    }
}

record! {
    /// `flaps`: a real server that fails so often within a time returns only after it was well for long.
    Flaps {
        /// So many failures are too many.
        default limit: Count = 3;
        /// Within this time.
        default within: FlapTime = "10m";
        /// It then returns after so long.
        default hold: FlapTime = "5m";
    }
}

record! {
    /// `fallback`: who serves while there are not enough real servers.
    Fallback {
        /// Its address. Left out with `forward: local`, where it is the VIP.
        optional address: UnicastAddress;
        /// The port it listens on, if not the service's; only with `forward: nat`.
        optional port: RealServerPort;
        /// How a packet reaches it, if not as the service says.
        optional forward: Forward;
        /// A file that the director itself serves with status 503; only of a tcp service, and without the other keys.
        optional page: Path;
    }
}

variants! {
    /// One of `checks`.
    Check {
        Icmp = "icmp": IcmpCheck;
        Tcp = "tcp": TcpCheck;
        Udp = "udp": UdpCheck;
        Http = "http": HttpCheck;
        Https = "https": HttpsCheck;
        Dns = "dns": DnsCheck;
        Smtp = "smtp": SmtpCheck;
        Ftp = "ftp": FtpCheck;
        Imap = "imap": ImapCheck;
        Pop = "pop": PopCheck;
        Nntp = "nntp": NntpCheck;
        Exchange = "exchange": ExchangeCheck;
        Redis = "redis": RedisCheck;
        Mysql = "mysql": MysqlCheck;
        Pgsql = "pgsql": PgsqlCheck;
        Ldap = "ldap": LdapCheck;
        Radius = "radius": RadiusCheck;
        Sip = "sip": SipCheck;
        Grpc = "grpc": GrpcCheck;
        External = "external": ExternalCheck;
    }
}

impl Check {
    pub(super) fn common(&self) -> Common<'_> {
        match self {
            Self::Icmp(check) => check.common(),
            Self::Tcp(check) => check.common(),
            Self::Udp(check) => check.common(),
            Self::Http(check) => check.common(),
            Self::Https(check) => check.common(),
            Self::Dns(check) => check.common(),
            Self::Smtp(check) => check.common(),
            Self::Ftp(check) => check.common(),
            Self::Imap(check) => check.common(),
            Self::Pop(check) => check.common(),
            Self::Nntp(check) => check.common(),
            Self::Exchange(check) => check.common(),
            Self::Redis(check) => check.common(),
            Self::Mysql(check) => check.common(),
            Self::Pgsql(check) => check.common(),
            Self::Ldap(check) => check.common(),
            Self::Radius(check) => check.common(),
            Self::Sip(check) => check.common(),
            Self::Grpc(check) => check.common(),
            Self::External(check) => check.common(),
        }
    }
}

/// The keys that every check has.
pub(super) struct Common<'a> {
    pub(super) port: &'a Field<RealServerPort>,
    pub(super) address: &'a Field<UnicastAddress>,
    pub(super) source: &'a Field<UnicastAddress>,
    pub(super) interface: &'a Field<InterfaceName>,
    pub(super) via: &'a Field<Via>,
    pub(super) interval: &'a Field<Interval>,
    pub(super) fast_interval: &'a Field<Interval>,
    pub(super) timeout: &'a Field<Timeout>,
    pub(super) rise: &'a Field<Count>,
    pub(super) fall: &'a Field<Count>,
    pub(super) jitter: &'a Field<Percent>,
}

/// Declares one kind of check: its own keys, and those that all have.
macro_rules! check {
    ($(#[doc = $about:literal])+ $name:ident { $($own:tt)* }) => {
        record! {
            $(#[doc = $about])+
            $name {
                $($own)*
                /// The port that is probed, if not the real server's.
                optional port: RealServerPort;
                /// The address that is probed, if not the real server's.
                optional address: UnicastAddress;
                /// The address that probes are sent from, if not the one the kernel chooses.
                optional source: UnicastAddress;
                /// The interface that probes leave by, if not the one of the route.
                optional interface: InterfaceName;
                /// How probes get to the real server.
                default via: Via = Via::Address.word();
                /// From one probe to the next.
                default interval: Interval = "5s";
                /// The same while results contradict what is held true: the smaller of 1s and `interval` if left out.
                optional fast_interval: Interval;
                /// How long a whole probe may take.
                default timeout: Timeout = "2s";
                /// So many probes in a row must pass before a server that is down counts as up.
                default rise: Count = 2;
                /// So many probes in a row must fail before a server that is up counts as down.
                default fall: Count = 3;
                /// Intervals vary by up to so many percent, so that checks spread.
                default jitter: Percent = 10;
            }
        }

        impl $name {
            fn common(&self) -> Common<'_> {
                let Self {
                    port, address, source, interface, via, interval, fast_interval, timeout, rise, fall, jitter, ..
                } = self;
                Common { port, address, source, interface, via, interval, fast_interval, timeout, rise, fall, jitter }
            }
        }
    };
}

/// The keys of TLS; the mode is one of its own where there is a choice.
pub(super) struct TlsKeys<'a> {
    pub(super) tls: Option<&'a Field<TlsMode>>,
    pub(super) server_name: &'a Field<HostName>,
    pub(super) ca: &'a Field<Path>,
    pub(super) verify: &'a Field<Switch>,
    pub(super) certificate: &'a Field<Path>,
    pub(super) key: &'a Field<Path>,
    pub(super) expiry_warning: &'a Field<Expiry>,
}

/// As `check!`, with the keys of TLS.
macro_rules! secure_check {
    ($(#[doc = $about:literal])+ $name:ident $(mode $mode:ident)? { $($own:tt)* }) => {
        check! {
            $(#[doc = $about])+
            $name {
                $($own)*
                /// The name that is asked for by SNI and must be in the certificate, if not `host` or the address.
                optional server_name: HostName;
                /// PEM file of the authorities to trust, instead of the machine's.
                optional ca: Path;
                /// Whether the server's certificate must be right.
                default verify: Switch = true;
                /// PEM file of a certificate to show to the server.
                optional certificate: Path;
                /// PEM file of its key.
                optional key: Path;
                /// People are told when the server's certificate ends within this time.
                default expiry_warning: Expiry = "14d";
            }
        }

        impl $name {
            pub(super) fn tls(&self) -> TlsKeys<'_> {
                let Self { server_name, ca, verify, certificate, key, expiry_warning, .. } = self;
                let tls = secure_check!(@mode self $($mode)?);
                TlsKeys { tls, server_name, ca, verify, certificate, key, expiry_warning }
            }
        }
    };
    (@mode $self:ident $mode:ident) => {
        Some(&$self.$mode)
    };
    (@mode $self:ident) => {
        None
    };
}

check! {
    /// `type: icmp`: an echo request is answered.
    IcmpCheck {}
}

check! {
    /// `type: tcp`: a connection is accepted.
    TcpCheck {}
}

check! {
    /// `type: udp`: a datagram is answered, or at least not refused.
    UdpCheck {
        /// What the datagram holds.
        default send: Text = "";
        /// Regular expression that the answer must match; without one it is enough that the port is not refused.
        optional expect: Pattern;
    }
}

/// Declares a check by HTTP: both kinds have these keys.
macro_rules! http_check {
    ($declare:ident $(#[doc = $about:literal])+ $name:ident { $($own:tt)* }) => {
        $declare! {
            $(#[doc = $about])+
            $name {
                /// What is asked for: path and query.
                default path: HttpPath = "/";
                /// The method of the request.
                default method: HttpMethod = "GET";
                /// The virtual host that is asked, if not the address.
                optional host: HostName;
                /// Further headers, as `"Name: value"`.
                default headers: Headers = json!([]);
                /// Status codes that will do.
                default status: StatusRanges = json!(["200-299"]);
                /// Text that the answer's body must contain.
                optional body: Line;
                /// Regular expression that must match somewhere in the body.
                optional body_regex: Pattern;
                /// SHA-256 of the whole body, as sha256sum prints it.
                optional body_sha256: Sha256;
                /// HTTP/2 instead of HTTP/1.1.
                default http2: Switch = false;
                $($own)*
            }
        }

        impl $name {
            pub(super) fn http(&self) -> HttpKeys<'_> {
                let Self { path, method, host, headers, status, body, body_regex, body_sha256, http2, .. } = self;
                HttpKeys { path, method, host, headers, status, body, body_regex, body_sha256, http2 }
            }
        }
    };
}

/// The keys of http and https.
pub(super) struct HttpKeys<'a> {
    pub(super) path: &'a Field<HttpPath>,
    pub(super) method: &'a Field<HttpMethod>,
    pub(super) host: &'a Field<HostName>,
    pub(super) headers: &'a Field<Headers>,
    pub(super) status: &'a Field<StatusRanges>,
    pub(super) body: &'a Field<Line>,
    pub(super) body_regex: &'a Field<Pattern>,
    pub(super) body_sha256: &'a Field<Sha256>,
    pub(super) http2: &'a Field<Switch>,
}

http_check! {
    check
    /// `type: http`: a request is answered as it should be.
    HttpCheck {}
}

http_check! {
    secure_check
    /// `type: https`: the same over TLS.
    HttpsCheck {}
}

check! {
    /// `type: dns`: a question is answered.
    DnsCheck {
        /// The name that is asked for.
        required name: DnsName;
        /// The type of the record.
        default record: RecordType = "A";
        /// One of the answers, as zone files write it; any will do without.
        optional answer: Line;
        /// How the question is sent.
        default transport: Transport = Transport::Udp.word();
    }
}

/// Declares a check by a protocol of lines.
macro_rules! text_check {
    ($(#[doc = $about:literal])+ $name:ident { $($own:tt)* }) => {
        secure_check! {
            $(#[doc = $about])+
            $name mode tls {
                /// Whether the connection is encrypted.
                default tls: TlsMode = TlsMode::None.word();
                /// Name to log in with.
                optional user: Line;
                /// File with the password.
                optional password_file: Path;
                $($own)*
            }
        }
    };
}

text_check! {
    /// `type: smtp`: banner and EHLO.
    SmtpCheck {}
}

text_check! {
    /// `type: ftp`: banner, login, file.
    FtpCheck {
        /// A file that must be there.
        optional file: Line;
        /// Text that the file must contain.
        optional body: Line;
        /// Regular expression that must match somewhere in it.
        optional body_regex: Pattern;
    }
}

text_check! {
    /// `type: imap`: banner and login.
    ImapCheck {}
}

text_check! {
    /// `type: pop`: banner and login.
    PopCheck {}
}

text_check! {
    /// `type: nntp`: banner and login.
    NntpCheck {}
}

secure_check! {
    /// `type: exchange`: the server says what it should.
    ExchangeCheck mode tls {
        /// Regular expression for what the server says first.
        optional banner: Pattern;
        /// What is sent then.
        optional send: Text;
        /// Regular expression for the answer.
        optional expect: Pattern;
        /// Whether the connection is encrypted.
        default tls: TlsMode = TlsMode::None.word();
    }
}

check! {
    /// `type: redis`: PING.
    RedisCheck {
        /// Name to log in with.
        optional user: Line;
        /// File with the password.
        optional password_file: Path;
    }
}

check! {
    /// `type: mysql`: a handshake up to the question for a password.
    MysqlCheck {
        /// Name to begin with.
        default user: Line = "lvsd";
        /// The database to use.
        optional database: Line;
    }
}

check! {
    /// `type: pgsql`: a handshake up to the question for a password.
    PgsqlCheck {
        /// Name to begin with.
        default user: Line = "lvsd";
        /// The database to use.
        optional database: Line;
    }
}

secure_check! {
    /// `type: ldap`: a bind, anonymous without a user.
    LdapCheck mode tls {
        /// Distinguished name to bind as.
        optional user: Line;
        /// File with the password.
        optional password_file: Path;
        /// Whether the connection is encrypted.
        default tls: TlsMode = TlsMode::None.word();
    }
}

check! {
    /// `type: radius`: the server tells its status, or accepts a user.
    RadiusCheck {
        /// File with the secret that is shared with the server.
        required secret_file: Path;
        /// Name to log in with.
        optional user: Line;
        /// File with the password.
        optional password_file: Path;
    }
}

check! {
    /// `type: sip`: OPTIONS.
    SipCheck {
        /// How the request is sent.
        default transport: Transport = Transport::Udp.word();
        /// Status codes that will do.
        default status: StatusRanges = json!([200]);
    }
}

secure_check! {
    /// `type: grpc`: grpc.health.v1 says that it serves.
    GrpcCheck mode tls {
        /// Name of the service; the server as a whole without one.
        default service: Text = "";
        /// Whether the connection is encrypted.
        default tls: TlsMode = TlsMode::None.word();
    }
}

check! {
    /// `type: external`: a program finds out.
    ExternalCheck {
        /// How it tells what it found.
        required convention: Convention;
        /// The program and its arguments.
        required command: Command;
    }
}
