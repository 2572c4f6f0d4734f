//! Every map of the director, one by one: who writes it, who reads it, why this type and size. Layouts
//! are `lvs_common`'s, names are the statics' own (see `lvs_common::names`).

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use lvs_common::address::Address;
use lvs_common::cause::CAUSE_SLOTS;
use lvs_common::connection::{BUCKETS_PER_WORD, Bucket, TableState, buckets_for};
use lvs_common::counters::{Budget, Counters};
use lvs_common::destination::{Destination, Load};
use lvs_common::flow::FlowKey;
use lvs_common::fragment::{FragmentHead, FragmentKey};
use lvs_common::lease::{GroupAddress, Lease};
use lvs_common::limits;
use lvs_common::probe::{self, Probe, ProbeFlow};
use lvs_common::ring::{RingLine, SLOTS_PER_LINE};
use lvs_common::service::{MemberChunk, Service, ServiceKey, ServiceLine, ServiceState, Vip};
use lvs_common::settings::{Interface, Settings};

use crate::scratch::Scratch;

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;
/// The agent maps it into its memory. Values begin with a page, and so with a cache line.
const MAPPED: usize = BPF_F_MMAPABLE as usize;

const BUCKETS: u32 = buckets_for(limits::CONNECTIONS as u64 + limits::EMBRYONIC as u64);

/// Inner maps of one outer map may differ in length only with this flag, on the template and on each.
const INNER: usize = BPF_F_INNER_MAP as usize;

/// Written by the agent, read for every packet.
#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();

/// Written by the agent. Small: memory as it is used.
#[btf_map]
pub(crate) static INTERFACES: HashMap<u32, Interface, { limits::INTERFACES as usize }, NO_PREALLOC> =
    HashMap::new();

/// Written by the agent, read by it and by people: packets find their service in `SERVICE_LINES`.
#[btf_map]
pub(crate) static SERVICES: HashMap<ServiceKey, Service, { limits::SERVICES as usize }, NO_PREALLOC> =
    HashMap::new();

/// Written by the agent: a whole new table is the last step of a change, which makes it visible. All tables
/// are of one size, so that looking into one takes no call.
#[btf_map]
pub(crate) static SERVICE_LINES: ArrayOfMaps<Array<ServiceLine, { limits::SERVICE_LINES as usize }>, 1> =
    ArrayOfMaps::new();

/// Written by the program.
#[btf_map]
pub(crate) static SERVICE_STATES: Array<ServiceState, { limits::SERVICES as usize }> = Array::new();

/// Written by the agent.
#[btf_map]
pub(crate) static VIPS: HashMap<Address, Vip, { limits::SERVICES as usize }, NO_PREALLOC> = HashMap::new();

/// Written by the agent: always a whole new inner map, so that a packet sees one plan. One map for each size of
/// ring, since looking into inner maps of one known size takes no call.
#[btf_map]
pub(crate) static RINGS_SMALL: ArrayOfMaps<Array<RingLine, { lines(0) }>, { limits::RINGS as usize }> =
    ArrayOfMaps::new();
#[btf_map]
pub(crate) static RINGS_MEDIUM: ArrayOfMaps<Array<RingLine, { lines(1) }>, { limits::RINGS as usize }> =
    ArrayOfMaps::new();
#[btf_map]
pub(crate) static RINGS_LARGE: ArrayOfMaps<Array<RingLine, { lines(2) }>, { limits::RINGS as usize }> =
    ArrayOfMaps::new();

/// As the rings: sequences of rr and wrr, of any length.
#[btf_map]
pub(crate) static SEQUENCES: ArrayOfMaps<Array<RingLine, 1, INNER>, { limits::RINGS as usize }> =
    ArrayOfMaps::new();

/// Lines of a ring of this size.
const fn lines(size: usize) -> usize {
    (limits::RING_SIZES[size] as usize).div_ceil(SLOTS_PER_LINE)
}

/// Written by the agent.
#[btf_map]
pub(crate) static MEMBERS: Array<MemberChunk, { limits::MEMBER_CHUNKS as usize }> = Array::new();

/// Written by the agent.
#[btf_map]
pub(crate) static DESTINATIONS: Array<Destination, { limits::DESTINATIONS as usize }> = Array::new();

/// Written by the program with atomics, set to zero by the agent.
#[btf_map]
pub(crate) static LOADS: Array<Load, { limits::DESTINATIONS as usize }> = Array::new();

/// Written by the program, set to zero by the agent.
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counters, { limits::DESTINATIONS as usize }> = PerCpuArray::new();

/// Written by the program.
#[btf_map]
pub(crate) static CAUSES: PerCpuArray<u64, { CAUSE_SLOTS as usize }> = PerCpuArray::new();

/// Written by the program. An array, so that a look-up is a multiplication and the memory is one piece; the
/// agent sets its length.
#[btf_map]
pub(crate) static CONNECTIONS: Array<Bucket, { BUCKETS as usize }, MAPPED> = Array::new();

/// A bit for each bucket of `CONNECTIONS`: set by the program when an entry has begun, changed its state or
/// ended, cleared by the agent when it has read it.
#[btf_map]
pub(crate) static DIRTY: Array<u64, { BUCKETS.div_ceil(BUCKETS_PER_WORD) as usize }, MAPPED> = Array::new();

/// Written by the program: places plus 1 of embryonic entries in the order in which they came, walked to make
/// room.
#[btf_map]
pub(crate) static EMBRYONIC_ORDER: Array<u32, { limits::EMBRYONIC as usize }> = Array::new();

/// Written by the program.
#[btf_map]
pub(crate) static TABLE: Array<TableState, 1> = Array::new();

/// Written and read by the program while it works on one packet.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Written by the program; the oldest datagram makes room.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentHead, { limits::FRAGMENTS as usize }> =
    LruHashMap::new();

/// Written by the program.
#[btf_map]
pub(crate) static ERROR_BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Written by the program.
#[btf_map]
pub(crate) static RESET_BUDGET: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// Written by the agent for each connection of a probe; the program adds what it learns when packets leave.
/// Memory as it is used.
#[btf_map]
pub(crate) static PROBES: HashMap<u32, Probe, { probe::SLOTS as usize }, NO_PREALLOC> = HashMap::new();

/// Written by the program for what leaves, read for what comes in, deleted by the agent.
#[btf_map]
pub(crate) static PROBE_FLOWS: HashMap<FlowKey, ProbeFlow, { probe::SLOTS as usize }, NO_PREALLOC> =
    HashMap::new();

/// From the program to the agent: `Unresolved` records. Untyped, since libbpf refuses a value size here.
#[btf_map]
pub(crate) static EVENTS: RingBuf<(), 65_536> = RingBuf::new();

/// Written by the agent, from a thread of its own: one entry at a time, which no packet waits for.
#[btf_map]
pub(crate) static LEASES: Array<Lease, { limits::LEASES as usize }> = Array::new();

/// Written and read by the program: how many packets may yet take the last tick's time, see `lvs_common::lease::tick`.
#[btf_map]
pub(crate) static TICK_TRUST: PerCpuArray<u32, 1> = PerCpuArray::new();

/// Written by the agent.
#[btf_map]
pub(crate) static GROUP_ADDRESSES: HashMap<
    Address,
    GroupAddress,
    { limits::GROUP_ADDRESSES as usize },
    NO_PREALLOC,
> = HashMap::new();
