//! Every key of checks, declared once.

use lvs_common::limits;
use serde_json::json;

use super::scalar::{HostName, HttpHeader, HttpMethod, HttpPath, Line, Pattern, Sha256, Span, StatusRange};
use crate::config::model::{Forward, OnDown, Require};
use crate::config::raw::RealServerPort;
use crate::config::record::{Field, List, record, variants};
use crate::config::scalar::{InterfaceName, Number, UnicastAddress};

/// A day: whoever looks less often does not watch.
const LONGEST: u32 = 86_400_000;

pub(in crate::config) type Interval = Span<50, LONGEST>;
/// What waits longer than ten minutes for an answer holds its socket for as long.
pub(in crate::config) type Timeout = Span<10, 600_000>;
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
    }
}

variants! {
    /// One of `checks`.
    Check {
        Tcp = "tcp": TcpCheck;
        Http = "http": HttpCheck;
    }
}

impl Check {
    pub(super) fn common(&self) -> Common<'_> {
        match self {
            Self::Tcp(check) => check.common(),
            Self::Http(check) => check.common(),
        }
    }
}

/// The keys that every check has.
pub(super) struct Common<'a> {
    pub(super) port: &'a Field<RealServerPort>,
    pub(super) address: &'a Field<UnicastAddress>,
    pub(super) source: &'a Field<UnicastAddress>,
    pub(super) interface: &'a Field<InterfaceName>,
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
                    port, address, source, interface, interval, fast_interval, timeout, rise, fall, jitter, ..
                } = self;
                Common { port, address, source, interface, interval, fast_interval, timeout, rise, fall, jitter }
            }
        }
    };
}

check! {
    /// `type: tcp`: a connection is accepted.
    TcpCheck {}
}

check! {
    /// `type: http`: a request is answered as it should be.
    HttpCheck {
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
    }
}
