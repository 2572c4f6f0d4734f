//! Capacities of the maps as compiled in. The agent may set others when it loads the object.

/// Services, and so VIPs at the most.
pub const SERVICES: u32 = 16_384;
/// Lines of the table in which packets find their service; a power of two. With three places for each
/// service, twice as many lines are always enough.
pub const SERVICE_LINES: u32 = 2 * SERVICES;
/// Destinations over all services, those that still hold flows after their removal included.
pub const DESTINATIONS: u32 = 32_768;
/// Chunks of [`crate::service::MEMBERS_PER_CHUNK`] members.
pub const MEMBER_CHUNKS: u32 = SERVICES + DESTINATIONS / 16;
/// Rings in use at one time.
pub const RINGS: u32 = 16_384;
/// Established connections.
pub const CONNECTIONS: u32 = 262_144;
/// Connections of which only a SYN, or one packet of an unknown old flow, was seen.
pub const EMBRYONIC: u32 = 32_768;
/// Datagrams whose fragments are under way.
pub const FRAGMENTS: u32 = 4_096;

/// Places of entries in one input of the program `lvs_expire`.
pub const EXPIRE_PLACES: usize = 32;
/// Records of one input of the program `lvs_adopt`: within the reach of `lvs_ebpf::packet`.
pub const ADOPTIONS: usize = 21;

/// Interfaces of one director.
pub const INTERFACES: u32 = 1_024;

/// Entries of `LEASES`: groups of a cluster and index 0, which stands for none.
pub const LEASES: u32 = 64;
/// Addresses of all groups together.
pub const GROUP_ADDRESSES: u32 = SERVICES;

/// Ring sizes: primes, so that every permutation of Maglev visits every slot.
pub const RING_SIZES: [u32; 3] = [4_093, 16_381, 65_537];
/// Members of one service: a position must fit a slot's u16.
pub const MEMBERS_PER_SERVICE: u32 = 4_096;
/// Largest weight of a destination.
pub const WEIGHT: u32 = 65_535;

const _: () = assert!(MEMBERS_PER_SERVICE <= u16::MAX as u32);
