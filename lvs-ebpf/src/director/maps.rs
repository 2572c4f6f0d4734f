//! Every map of the director, one by one: who writes it, who reads it, why this type and size. Layouts
//! are `lvs_common`'s, names are the statics' own (see `lvs_common::names`).

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps, HashMap, LruHashMap, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use lvs_common::address::Address;
use lvs_common::cause::CAUSE_SLOTS;
use lvs_common::connection::{Connection, Return};
use lvs_common::counters::{Counters, ErrorBudget};
use lvs_common::destination::{Destination, Load};
use lvs_common::flow::FlowKey;
use lvs_common::fragment::{FragmentHead, FragmentKey};
use lvs_common::limits;
use lvs_common::ring::RingLine;
use lvs_common::service::{MemberChunk, Service, ServiceKey, ServiceState, Source, Vip};
use lvs_common::settings::{Interface, Settings};

use crate::scratch::Scratch;

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

/// Inner maps of one outer map may differ in length only with this flag, on the template and on each.
const INNER: usize = BPF_F_INNER_MAP as usize;

/// Written by the agent, read for every packet.
#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();

/// Written by the agent. Small: memory as it is used.
#[btf_map]
pub(crate) static INTERFACES: HashMap<u32, Interface, { limits::INTERFACES as usize }, NO_PREALLOC> =
    HashMap::new();

/// Written by the agent: the last step of a change, which makes it visible.
#[btf_map]
pub(crate) static SERVICES: HashMap<ServiceKey, Service, { limits::SERVICES as usize }> = HashMap::new();

/// Written by the program.
#[btf_map]
pub(crate) static SERVICE_STATES: Array<ServiceState, { limits::SERVICES as usize }> = Array::new();

/// Written by the agent.
#[btf_map]
pub(crate) static VIPS: HashMap<Address, Vip, { limits::SERVICES as usize }> = HashMap::new();

/// Written by the agent.
#[btf_map]
pub(crate) static SOURCES: HashMap<ServiceKey, Source, { limits::SOURCES as usize }> = HashMap::new();

/// Written by the agent: always a whole new inner map, so that a packet sees one plan.
#[btf_map]
pub(crate) static RINGS: ArrayOfMaps<Array<RingLine, 1, INNER>, { limits::RINGS as usize }> =
    ArrayOfMaps::new();

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

/// Written by the program. A plain hash: nothing is evicted behind our back; memory comes as it is used.
#[btf_map]
pub(crate) static CONNECTIONS: HashMap<FlowKey, Connection, { limits::CONNECTIONS as usize }, NO_PREALLOC> =
    HashMap::new();

/// Written by the program: memory of its own, so that a flood of SYNs evicts nothing established.
#[btf_map]
pub(crate) static EMBRYONIC: HashMap<FlowKey, Connection, { limits::EMBRYONIC as usize }, NO_PREALLOC> =
    HashMap::new();

/// Keys of `EMBRYONIC` in the order in which they came, walked to make room.
#[btf_map]
pub(crate) static EMBRYONIC_ORDER: Array<FlowKey, { limits::EMBRYONIC as usize }> = Array::new();

/// Written by the program: one per nat connection, embryonic or established.
#[btf_map]
pub(crate) static RETURNS: HashMap<
    FlowKey,
    Return,
    { (limits::CONNECTIONS + limits::EMBRYONIC) as usize },
    NO_PREALLOC,
> = HashMap::new();

/// Written and read by the program while it works on one packet.
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Written by the program; the oldest datagram makes room.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentHead, { limits::FRAGMENTS as usize }> =
    LruHashMap::new();

/// Written by the program: where in `EMBRYONIC_ORDER` the next key goes.
#[btf_map]
pub(crate) static EMBRYONIC_CURSOR: Array<u64, 1> = Array::new();

/// Written by the program.
#[btf_map]
pub(crate) static ERROR_BUDGET: PerCpuArray<ErrorBudget, 1> = PerCpuArray::new();

/// From the program to the agent: `Unresolved` records. Untyped, since libbpf refuses a value size here.
#[btf_map]
pub(crate) static EVENTS: RingBuf<(), 65_536> = RingBuf::new();
