//! Every key of alerts, declared once.

use serde_json::json;

use super::scalar::{Facility, MailAddress, Path, PeriodText, Url};
use crate::config::health::raw::{Count, Delay, FlapTime};
use crate::config::health::scalar::{HostName, Line, Span};
use crate::config::model::TlsMode;
use crate::config::raw::RealServerPort;
use crate::config::record::{Field, List, record, variants};
use crate::config::scalar::{ServiceName, Switch, UnicastAddress};

pub(in crate::config) type Alerts = List<Alert, 0, 256>;
pub(in crate::config) type Names = List<ServiceName, 0, 16_384>;
pub(in crate::config) type Addresses = List<UnicastAddress, 0, 4_096>;
pub(in crate::config) type Command = List<Line, 1, 64>;
pub(in crate::config) type Receivers = List<MailAddress, 1, 64>;
pub(in crate::config) type Group = Span<0, 3_600_000>;

variants! {
    /// One of `alerts`.
    Alert {
        Program = "program": ProgramAlert;
        Mail = "mail": MailAlert;
        Webhook = "webhook": WebhookAlert;
        Syslog = "syslog": SyslogAlert;
    }
}

impl Alert {
    pub(super) fn common(&self) -> Common<'_> {
        match self {
            Self::Program(alert) => alert.common(),
            Self::Mail(alert) => alert.common(),
            Self::Webhook(alert) => alert.common(),
            Self::Syslog(alert) => alert.common(),
        }
    }
}

/// The keys that every alert has.
pub(super) struct Common<'a> {
    pub(super) name: &'a Field<ServiceName>,
    pub(super) services: &'a Field<Names>,
    pub(super) real_servers: &'a Field<Addresses>,
    pub(super) cluster: &'a Field<Switch>,
    pub(super) period: &'a Field<PeriodText>,
    pub(super) after: &'a Field<Delay>,
    pub(super) failures: &'a Field<Count>,
    pub(super) every: &'a Field<FlapTime>,
    pub(super) up: &'a Field<Switch>,
    pub(super) group: &'a Field<Group>,
}

/// Declares one kind of alert: its own keys, and those that all have.
macro_rules! alert {
    ($(#[doc = $about:literal])+ $name:ident { $($own:tt)* }) => {
        record! {
            $(#[doc = $about])+
            $name {
                /// What messages and the log call it.
                required name: ServiceName;
                $($own)*
                /// Names of the services it is about. `[]` for all.
                default services: Names = json!([]);
                /// Addresses of the real servers it is about. `[]` for all.
                default real_servers: Addresses = json!([]);
                /// Whether it is about what happens between directors too. If left out: unless it is about some services or real servers only.
                optional cluster: Switch;
                /// When it may be told, in mon's grammar: `wd {Mon-Fri} hr {9am-6pm}`.
                default period: PeriodText = "";
                /// How long it must have been wrong.
                default after: Delay = 0;
                /// How often a real server's checks must have failed in a row.
                default failures: Count = 1;
                /// How often it is told again while it lasts; once if left out.
                optional every: FlapTime;
                /// Whether it is told that it is right again.
                default up: Switch = true;
                /// How long others are waited for, to be told together.
                default group: Group = "5s";
            }
        }

        impl $name {
            fn common(&self) -> Common<'_> {
                let Self {
                    name, services, real_servers, cluster, period, after, failures, every, up, group, ..
                } = self;
                Common { name, services, real_servers, cluster, period, after, failures, every, up, group }
            }
        }
    };
}

alert! {
    /// `type: program`: a program is run, as mon runs its alerts.
    ProgramAlert {
        /// The program, and arguments that follow mon's own.
        required command: Command;
    }
}

alert! {
    /// `type: mail`: a mail is sent by SMTP.
    MailAlert {
        /// Who gets it.
        required to: Receivers;
        /// Who it is from.
        required from: MailAddress;
        /// The mail server: name or address.
        required server: HostName;
        /// Its port.
        default port: RealServerPort = 25;
        /// Whether the connection is encrypted.
        default tls: TlsMode = TlsMode::None.word();
        /// PEM file of the authorities to trust, instead of the machine's.
        optional ca: Path;
        /// Whether the server's certificate must be right.
        default verify: Switch = true;
        /// Name to log in with.
        optional user: Line;
        /// File with the password.
        optional password_file: Path;
    }
}

alert! {
    /// `type: webhook`: JSON is posted to a web server.
    WebhookAlert {
        /// Where to: `http://` or `https://`.
        required url: Url;
        /// PEM file of the authorities to trust, instead of the machine's.
        optional ca: Path;
        /// Whether the server's certificate must be right.
        default verify: Switch = true;
        /// File with the secret that signs.
        optional secret_file: Path;
    }
}

alert! {
    /// `type: syslog`: a line goes to the machine's syslog.
    SyslogAlert {
        /// The facility, as syslog.conf names it.
        default facility: Facility = "daemon";
        /// The socket that syslog listens on.
        default socket: Path = "/dev/log";
    }
}
