//! Names of maps and programs, so that none is typed twice. The kernel keeps 15 characters of them.

pub const PROGRAM_DIRECTOR: &str = "lvs_director";
/// Retires connections named in its input; run by the agent, attached nowhere.
pub const PROGRAM_EXPIRE: &str = "lvs_expire";
/// Sees what leaves the machine itself, which XDP does not.
pub const PROGRAM_EGRESS: &str = "lvs_egress";
/// Takes over connections of another director, which stand in its input; run by the agent, attached nowhere.
pub const PROGRAM_ADOPT: &str = "lvs_adopt";
/// Passes everything. For the far end of a veth, which needs a program before it takes frames by XDP_TX.
pub const PROGRAM_PASS: &str = "lvs_pass";
pub const PROGRAM_DECAPSULATE: &str = "lvs_decapsulate";

pub const SETTINGS: &str = "SETTINGS";
/// MACs of the interfaces, by index.
pub const INTERFACES: &str = "INTERFACES";
pub const SERVICES: &str = "SERVICES";
/// Where packets find their service: the same as in `SERVICES`, in another form.
pub const SERVICE_LINES: &str = "SERVICE_LINES";
pub const SERVICE_STATES: &str = "SERVICE_STATES";
pub const VIPS: &str = "VIPS";
/// Rings of hashing schedulers, one map for each size.
pub const RINGS_SMALL: &str = "RINGS_SMALL";
pub const RINGS_MEDIUM: &str = "RINGS_MEDIUM";
pub const RINGS_LARGE: &str = "RINGS_LARGE";
/// The walked sequences of rr and wrr.
pub const SEQUENCES: &str = "SEQUENCES";
pub const MEMBERS: &str = "MEMBERS";
pub const DESTINATIONS: &str = "DESTINATIONS";
pub const LOADS: &str = "LOADS";
pub const COUNTERS: &str = "COUNTERS";
pub const CAUSES: &str = "CAUSES";
pub const CONNECTIONS: &str = "CONNECTIONS";
pub const EMBRYONIC_ORDER: &str = "EMBRYONIC_ORDER";
/// Which buckets of `CONNECTIONS` have changed.
pub const DIRTY: &str = "DIRTY";
/// How full `CONNECTIONS` is.
pub const TABLE: &str = "TABLE";
/// What the program knows of the packet under way.
pub const SCRATCH: &str = "SCRATCH";
pub const FRAGMENTS: &str = "FRAGMENTS";
pub const ERROR_BUDGET: &str = "ERROR_BUDGET";
pub const RESET_BUDGET: &str = "RESET_BUDGET";
/// Health probes that take the path of the clients' packets, by the mark of their sockets.
pub const PROBES: &str = "PROBES";
/// The flows of their answers.
pub const PROBE_FLOWS: &str = "PROBE_FLOWS";
pub const EVENTS: &str = "EVENTS";
/// Until when the groups of a cluster are held.
pub const LEASES: &str = "LEASES";
/// How many packets may yet take the last tick's time for the time.
pub const TICK_TRUST: &str = "TICK_TRUST";
/// To which group an address belongs.
pub const GROUP_ADDRESSES: &str = "GROUP_ADDRESSES";

/// Real server's object: addresses of the directors whose packets are unpacked.
pub const DIRECTORS: &str = "DIRECTORS";
/// Real server's object: packets by [`crate::decapsulation::Outcome`]. (Its VIPs are in a map named
/// [`VIPS`], as the director's.)
pub const DECAPSULATION: &str = "DECAPSULATION";

/// Every map of the director's object, in the order in which docs/bpftool.md explains them.
pub const DIRECTOR_MAPS: [&str; 29] = [
    SETTINGS,
    INTERFACES,
    SERVICES,
    SERVICE_LINES,
    SERVICE_STATES,
    VIPS,
    RINGS_SMALL,
    RINGS_MEDIUM,
    RINGS_LARGE,
    SEQUENCES,
    MEMBERS,
    DESTINATIONS,
    LOADS,
    COUNTERS,
    CAUSES,
    CONNECTIONS,
    EMBRYONIC_ORDER,
    DIRTY,
    TABLE,
    SCRATCH,
    FRAGMENTS,
    ERROR_BUDGET,
    RESET_BUDGET,
    PROBES,
    PROBE_FLOWS,
    EVENTS,
    LEASES,
    TICK_TRUST,
    GROUP_ADDRESSES,
];
