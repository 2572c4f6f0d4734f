//! Every key of the cluster, declared once.

use serde_json::json;

use super::scalar::{Baud, BroadcastAddress, FailbackTime, Label, MulticastAddress, Name};
use crate::cluster::beat;
use crate::config::alerts::raw::Command;
use crate::config::alerts::scalar::Path;
use crate::config::health::raw::Interval;
use crate::config::health::scalar::Span;
use crate::config::model;
use crate::config::raw::RealServerPort;
use crate::config::record::{List, record, variants};
use crate::config::scalar::{InterfaceName, Number, Switch, UnicastAddress};

/// An hour: who is silent for longer is not waited for.
const LONGEST: u32 = 3_600_000;

pub(in crate::config) type Keepalive = Span<10, 300_000>;
pub(in crate::config) type Silence = Span<10, LONGEST>;
/// The agent's main task has work of its own, so that a shorter time would find it hung when it is busy.
pub(in crate::config) type Watchdog = Span<1_000, 600_000>;
pub(in crate::config) type Hold = Span<1_000, LONGEST>;
pub(in crate::config) type Refresh = Span<1_000, 86_400_000>;
pub(in crate::config) type Patience = Span<100, LONGEST>;
pub(in crate::config) type Hops = Number<1, 255>;
pub(in crate::config) type Prefix = Number<1, 128>;

pub(in crate::config) type Nodes = List<Node, 2, { beat::NODES }>;
pub(in crate::config) type NodeAddresses = List<UnicastAddress, 0, 8>;
pub(in crate::config) type Paths = List<HeartbeatPath, 0, 8>;
pub(in crate::config) type Groups = List<Group, 1, { beat::GROUPS }>;
pub(in crate::config) type Order = List<Name, 2, { beat::NODES }>;
pub(in crate::config) type GroupAddresses = List<GroupAddress, 1, 1_024>;
pub(in crate::config) type Resources = List<Resource, 0, 64>;
pub(in crate::config) type TrackInterfaces = List<InterfaceName, 0, 64>;
pub(in crate::config) type Gateways = List<UnicastAddress, 0, { model::Track::MOST_GATEWAYS }>;
pub(in crate::config) type Scripts = List<TrackScript, 0, { model::Track::MOST_SCRIPTS }>;
pub(in crate::config) type Files = List<Path, 0, { model::Track::MOST_FILES }>;

record! {
    /// `cluster`: directors of which one holds each group of addresses.
    Cluster {
        /// This director's name among `nodes`; the host name if left out.
        optional node: Name;
        /// File with the keys that authenticate every message.
        default key_file: Path = "/etc/lvs-xdp/cluster.key";
        /// UDP port of the beats.
        default port: RealServerPort = 694;
        /// The directors, the preferred one first.
        required nodes: Nodes;
        /// Ways beside the nodes' addresses on which beats travel.
        default paths: Paths = json!([]);
        /// A third party that breaks ties.
        optional voter: Voter;
        /// Time between two beats.
        default keepalive: Keepalive = "100ms";
        /// A node that is silent for so long on a path is told of; half of `deadtime` if left out.
        optional warntime: Silence;
        /// A node that is silent for so long on all paths is dead.
        default deadtime: Silence = "500ms";
        /// How long a director that starts waits for the others; four times `deadtime`, at least 2s, if left
        /// out.
        optional initdead: Silence;
        /// How long the agent's main task may be busy before its director counts as hung.
        default watchdog: Watchdog = "10s";
        /// How long a planned restart may take; 10s, at least `deadtime`, if left out.
        optional hold: Hold;
        /// Whether a director that is preferred takes a group back.
        default auto_failback: FailbackTime = "off";
        /// How often addresses that are held are announced again; if left out, only when they come and after
        /// anything that may have taught the network something else.
        optional refresh: Refresh;
        /// What makes a director fit to serve.
        default track: Track = json!({});
        /// Addresses that move from director to director.
        required groups: Groups;
    }
}

record! {
    /// One of `nodes`: a director.
    Node {
        /// Its name, which the others know it by.
        required name: Name;
        /// Where it is reached, each by a path of its own. `[]` where beats have other paths.
        default addresses: NodeAddresses = json!([]);
    }
}

variants! {
    /// One of `paths`.
    HeartbeatPath {
        Multicast = "multicast": MulticastPath;
        Broadcast = "broadcast": BroadcastPath;
        Serial = "serial": SerialPath;
    }
}

record! {
    /// `type: multicast`: to a group of an interface's network.
    MulticastPath {
        /// The interface.
        required interface: InterfaceName;
        /// The group's address.
        required group: MulticastAddress;
        /// How many routers it may pass, and one.
        default ttl: Hops = 1;
    }
}

record! {
    /// `type: broadcast`: to everybody on an interface's network.
    BroadcastPath {
        /// The interface.
        required interface: InterfaceName;
        /// The address that means everybody.
        default address: BroadcastAddress = "255.255.255.255";
    }
}

record! {
    /// `type: serial`: over a null modem cable.
    SerialPath {
        /// The port's device.
        required device: Path;
        /// Bits a second.
        default baud: Baud = 19_200;
    }
}

record! {
    /// `voter`: who is asked when the directors do not hear each other.
    Voter {
        /// Its name, which no director has.
        required name: Name;
        /// Where it is reached.
        required address: UnicastAddress;
        /// Its UDP port; the cluster's if left out.
        optional port: RealServerPort;
    }
}

record! {
    /// `track`: what makes a director fit to serve.
    Track {
        /// Interfaces that must be up, with a carrier: a director without them is unfit.
        default interfaces: TrackInterfaces = json!([]);
        /// Addresses that must answer a ping: a director that reaches none of them is unfit, one that reaches fewer is less fit.
        default gateways: Gateways = json!([]);
        /// Programs that must exit with 0: without one, a director is less fit.
        default scripts: Scripts = json!([]);
        /// Files that must exist: without one, a director is less fit.
        default files: Files = json!([]);
    }
}

record! {
    /// One of `scripts`.
    TrackScript {
        /// The program, and its arguments.
        required command: Command;
        /// How often it is run.
        default interval: Interval = "5s";
        /// It has failed if it has not ended after so long.
        default timeout: Patience = "2s";
    }
}

record! {
    /// One of `groups`: addresses that move as one.
    Group {
        /// Its name in messages and commands.
        required name: Name;
        /// Names of all nodes, the preferred one first; as in `nodes` if left out.
        optional order: Order;
        /// The addresses.
        required addresses: GroupAddresses;
        /// Programs that are started when the group comes, and stopped in reverse when it goes.
        default resources: Resources = json!([]);
        /// What is run before the group is taken from a director that does not answer.
        optional fence: Fence;
    }
}

record! {
    /// One of `addresses` of a group.
    GroupAddress {
        /// The address.
        required address: UnicastAddress;
        /// Bits of its network; all, if left out.
        optional prefix: Prefix;
        /// The interface that gets it.
        required interface: InterfaceName;
        /// What `ip address` calls it; only of an IPv4 address.
        optional label: Label;
    }
}

record! {
    /// One of `resources`.
    Resource {
        /// The program and its arguments, which `start` or `stop` follows.
        required command: Command;
        /// It has failed if it has not ended after so long.
        default timeout: Patience = "20s";
    }
}

record! {
    /// `fence`: cuts off a director that does not answer.
    Fence {
        /// The program and its arguments, which the director's name follows.
        required command: Command;
        /// It has failed if it has not ended after so long.
        default timeout: Patience = "10s";
        /// Whether the group is taken although the program has failed.
        default take_on_failure: Switch = false;
    }
}
