//! What can go wrong between the agent and the kernel, told to the operator. A message is complete: it
//! contains its reasons, so none of these errors has a `source()`.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use lvs_common::names;
use thiserror::Error;

/// Reading or writing one map.
#[derive(Debug, Error)]
pub enum MapError {
    #[error("map {map} is full: it holds {capacity} entries; {}", remedy(map))]
    Full { map: &'static str, capacity: u32 },
    #[error(
        "map {} has no place for these {services} services together: please report them",
        names::SERVICE_LINES
    )]
    Crowded { services: usize },
    #[error("map {map} has {capacity} entries, so there is no number {index}; {}", remedy(map))]
    OutOfRange { map: &'static str, index: u32, capacity: u32 },
    #[error(
        "map {map} has keys of {key} and values of {value} bytes where {expected_key} and {expected_value} were expected"
    )]
    Layout { map: &'static str, key: usize, value: usize, expected_key: usize, expected_value: usize },
    #[error("cannot {action} map {map}: {reason}")]
    Io { map: &'static str, action: &'static str, reason: io::Error },
    #[error("cannot {action} map {map}: {}", chain(reason.as_ref()))]
    Aya { map: &'static str, action: &'static str, reason: Box<aya::maps::MapError> },
}

/// What raises the capacity of a map.
fn remedy(map: &str) -> &'static str {
    match map {
        names::CONNECTIONS | names::DIRTY => "raise limits.connections and restart without the old maps",
        names::EMBRYONIC_ORDER => "raise limits.embryonic and restart without the old maps",
        names::DESTINATIONS | names::LOADS | names::COUNTERS => {
            "raise limits.destinations and restart without the old maps"
        }
        _ => "the capacity is compiled in",
    }
}

/// An error with what caused it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A command that could not be carried out; those before it were, those after it were not.
#[derive(Debug, Error)]
#[error("command {position} of {count}, {command}, failed: {reason}")]
pub struct ApplyError {
    /// Counted from 1; 0 is what an earlier call had left to do.
    pub position: usize,
    pub count: usize,
    pub command: String,
    pub reason: MapError,
}

/// Loading the programs and taking over what an earlier agent left.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("the object of the director is empty: run `cargo xtask build-ebpf` and build again")]
    EmptyObject,
    #[error("instance name \"{0}\": use 1 to 64 letters, digits, `-` and `_`")]
    InstanceName(String),
    #[error("loading XDP programs needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")]
    NotPermitted,
    #[error("no BPF file system at {}, and it cannot be mounted: {reason}; try `mount -t bpf bpf {}`", path.display(), path.display())]
    NoBpffs { path: PathBuf, reason: io::Error },
    #[error("{}: {reason}", path.display())]
    Directory { path: PathBuf, reason: io::Error },
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    #[error("the object of the director cannot be read: {}", chain(_0.as_ref()))]
    Parse(Box<aya_obj::ParseError>),
    #[error("the object of the director has no {kind} {name}: it belongs to another version of lvsd")]
    Missing { kind: &'static str, name: &'static str },
    #[error(
        "the pinned map {} does not fit: its {property} is {found}, expected {expected}; stop every lvsd of this instance and remove {}",
        path.display(),
        directory.display()
    )]
    Mismatch { path: PathBuf, directory: PathBuf, property: &'static str, found: u32, expected: u32 },
    #[error("the director's maps cannot be made: {}{hint}", chain(reason.as_ref()))]
    Load { reason: Box<aya::EbpfError>, hint: String },
    #[error("the kernel refuses program {name}: {}", chain(reason.as_ref()))]
    Program { name: &'static str, reason: Box<aya::programs::ProgramError> },
    #[error("program {name} has no BTF, so rings cannot be made: {reason}")]
    Btf { name: &'static str, reason: io::Error },
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// Bringing the program to an interface, or taking it away.
#[derive(Debug, Error)]
pub enum AttachError {
    #[error("interface {0} does not exist")]
    NoInterface(String),
    #[error("interface {interface} cannot be asked for its state: {reason}")]
    Query { interface: String, reason: io::Error },
    #[error("{}: {reason}", path.display())]
    Pin { path: PathBuf, reason: io::Error },
    #[error(
        "{} is the link of another interface with the same index as {interface}: does an instance of the same name run in another network namespace? Give each its own --instance",
        path.display()
    )]
    Foreign { interface: String, path: PathBuf },
    #[error(
        "interface {interface} already runs XDP program {program}, which is not this instance's; remove it first (`bpftool net`, `ip link set dev {interface} xdp off`)"
    )]
    Occupied { interface: String, program: u32 },
    #[error(
        "interface {interface} has an MTU of {mtu} bytes: a driver takes XDP without fragments up to about 3500 ({reason}); lower the MTU"
    )]
    Mtu { interface: String, mtu: u32, reason: io::Error },
    #[error(
        "the driver of interface {interface} refuses native XDP: {reason}; the slower generic mode must be allowed (`lvsd --allow-generic`)"
    )]
    NotNative { interface: String, reason: io::Error },
    #[error("interface {interface} refuses generic XDP too: {reason}")]
    NotGeneric { interface: String, reason: io::Error },
    #[error("egress of interface {interface}: {reason}")]
    Egress { interface: String, reason: EgressError },
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    #[error("the program on interface {interface} cannot be replaced: {reason}")]
    Replace { interface: String, reason: io::Error },
}

/// Bringing the program to an interface's egress, or taking it away.
#[derive(Debug, Error)]
pub enum EgressError {
    #[error("the kernel does not tell what is there: {0}")]
    Query(io::Error),
    #[error(
        "the qdisc `{0}` is there, which sees only what comes in; replace it by `clsact`, which takes the same filters (`tc qdisc replace dev ... clsact`)"
    )]
    Qdisc(String),
    #[error(
        "the filter {name:?} of the classifier `{kind}` has the priority {priority} already, which the director needs; give it another one (`tc filter show dev ... egress`)"
    )]
    Occupied { kind: String, name: String, priority: u16 },
    #[error("the kernel refuses the filter (qdisc clsact, classifier bpf): {0}")]
    Add(io::Error),
    #[error("it cannot be removed: {0}")]
    Remove(io::Error),
    #[error("{}: {reason}", path.display())]
    Mark { path: PathBuf, reason: io::Error },
}

/// Why the program could not be told an interface's MAC.
#[derive(Debug, Error)]
pub enum RefreshError {
    #[error("interface {interface} cannot be asked for its MAC: {reason}")]
    Query { interface: String, reason: io::Error },
    #[error(transparent)]
    Map(#[from] MapError),
}
