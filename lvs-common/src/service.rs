//! Services: what clients dial, and how their destinations are chosen.

use crate::address::{Address, Halves};
use crate::flow::hash_endpoint;
use crate::limits::SERVICE_LINES;

/// Protocol numbers (IANA "Protocol Numbers").
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ICMPV6: u8 = 58;
}

shared_pod! {
    /// Key of `SERVICES`: an address, a port (0 = every port) and a protocol.
    #[derive(Hash, PartialOrd, Ord)]
    pub struct ServiceKey [20] {
        pub address: Address,
        /// In the machine's byte order, so that a map dump shows `80`.
        pub port: u16,
        /// [`protocol::TCP`] or [`protocol::UDP`].
        pub protocol: u8,
        pub reserved: u8,
    }
}

impl ServiceKey {
    #[inline(always)]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self { address, port, protocol, reserved: 0 }
    }
}

/// How a destination is chosen for a new flow. Values are part of the layout.
pub mod scheduler {
    /// The ring is a sequence, walked by one shared cursor.
    pub const RR: u8 = 1;
    pub const WRR: u8 = 2;
    /// The member with the least connections, scanned for each new flow.
    pub const LC: u8 = 3;
    pub const WLC: u8 = 4;
    /// The ring answers by a hash of: the source address,
    pub const SH: u8 = 5;
    /// the destination address,
    pub const DH: u8 = 6;
    /// the whole flow.
    pub const MH: u8 = 7;
}

/// Bits of [`Service::flags`].
pub mod service_flags {
    /// Every flow has an entry in the connection table (rr wrr lc wlc, a nat server among the
    /// destinations, or `track: always`). Without it the ring answers alone where its slot is single.
    pub const TRACKED: u8 = 1 << 0;
    /// Some server answers by itself (dr, ipip): where the director is its gateway, the answer is routed.
    pub const ANSWERS_ROUTED: u8 = 1 << 1;
}

shared_pod! {
    /// Value of `SERVICES`, and a part of its line in `SERVICE_LINES`. Lines are replaced all at once, so a
    /// packet sees the old plan or the new one and nothing between.
    pub struct Service [24] {
        /// Index of the service in `SERVICE_STATES`.
        pub index: u32,
        /// Index of the ring in the outer map of its size (`RINGS_SMALL` and others, `SEQUENCES`), or
        /// [`Service::NO_RING`].
        pub ring: u32,
        /// Number of slots of that ring; lc and wlc have none and scan the members: there the number of
        /// members that take new flows. 0 = no destination can take a new flow.
        pub ring_slots: u32,
        /// First chunk of the service's members in `MEMBERS`.
        pub members: u32,
        /// Positions in use: a position of the ring is below this.
        pub member_count: u32,
        /// One of [`scheduler`].
        pub scheduler: u8,
        /// Bits of [`service_flags`].
        pub flags: u8,
        pub owner: u8,
        /// Index in `LEASES` of the VIP's group; 0 = none.
        pub lease: u8,
    }
}

shared_pod! {
    /// One line of `SERVICE_LINES`, where packets find their service: one cache line.
    ///
    /// The table is made whole by the agent from `SERVICES`, and replaced whole: a packet sees the old plan
    /// or the new one. A service stands at one of three places ([`line_places`]), the first if possible.
    #[repr(align(8))]
    pub struct ServiceLine [64] {
        pub address: Address,
        pub port: u16,
        pub protocol: u8,
        /// 1 = taken.
        pub taken: u8,
        /// 1 = a service whose first place is this line stands at its second or third.
        pub displaced: u32,
        pub service: Service,
        pub reserved: [u64; 2],
    }
}

impl ServiceLine {
    pub const FREE: Self = Self {
        address: Address::UNSPECIFIED,
        port: 0,
        protocol: 0,
        taken: 0,
        displaced: 0,
        service: Service {
            index: 0,
            ring: Service::NO_RING,
            ring_slots: 0,
            members: 0,
            member_count: 0,
            scheduler: 0,
            flags: 0,
            owner: 0,
            lease: 0,
        },
        reserved: [0; 2],
    };
}

/// The three lines at which a service may stand, the best first.
#[inline(always)]
pub const fn line_places(address: Halves, port: u16, protocol: u8) -> [u32; 3] {
    const MASK: u32 = SERVICE_LINES - 1;
    const BITS: u32 = MASK.count_ones();
    let hash = hash_endpoint(address, port, protocol);
    [
        (hash >> (64 - BITS)) as u32 & MASK,
        (hash >> (64 - 2 * BITS)) as u32 & MASK,
        (hash >> (64 - 3 * BITS)) as u32 & MASK,
    ]
}

const _: () = assert!(SERVICE_LINES.is_power_of_two());

/// Who made a service; a reload of the file replaces only what the file owns.
pub mod owner {
    pub const FILE: u8 = 1;
    pub const COMMAND_LINE: u8 = 2;
}

impl Service {
    pub const NO_RING: u32 = u32::MAX;

    #[inline(always)]
    pub const fn is_tracked(&self) -> bool {
        self.flags & service_flags::TRACKED != 0
    }
}

/// Destinations of one chunk of `MEMBERS`. A service owns whole chunks, so that a scan for the least
/// connections looks up one map value for this many members.
pub const MEMBERS_PER_CHUNK: usize = 16;

shared_pod! {
    /// One position of a service.
    pub struct Member [8] {
        /// Index in `DESTINATIONS`, or [`Member::NO_DESTINATION`] while the position is free.
        pub destination: u32,
        /// Weight for `lc` (1) and `wlc`; 0 = takes no new flow.
        pub weight: u32,
    }
}

impl Member {
    pub const NO_DESTINATION: u32 = u32::MAX;
    pub const FREE: Self = Self { destination: Self::NO_DESTINATION, weight: 0 };
}

shared_pod! {
    /// Value of `MEMBERS`: position `p` of a service is member `p % 16` of chunk `members + p / 16`.
    pub struct MemberChunk [128] {
        pub members: [Member; MEMBERS_PER_CHUNK],
    }
}

shared_pod! {
    /// Value of `SERVICE_STATES`: what the data plane itself changes.
    pub struct ServiceState [8] {
        /// New flows scheduled so far; `rr` and `wrr` take it modulo the ring's length.
        pub cursor: u64,
    }
}

shared_pod! {
    /// Value of `VIPS`: an address that at least one service listens on.
    pub struct Vip [4] {
        /// Number of services on this address.
        pub services: u32,
    }
}
