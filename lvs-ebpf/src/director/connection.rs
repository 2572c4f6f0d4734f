//! The connection table, whatever it is made of.
//!
//! Embryonic entries (one packet seen) have memory of their own and make room for newer ones in the order
//! they came; an entry moves to `CONNECTIONS` when its flow goes on. Whoever exchanges an entry's state
//! settles the counts the old state stood for. What is left open when memory is used again at once stands in
//! docs/decisions/0002.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use lvs_common::cause::Cause;
use lvs_common::connection::{Connection, Return, flags};
use lvs_common::destination::{Destination, destination_flags};
use lvs_common::flow::FlowKey;
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;

use crate::helpers;
use crate::lookup;
use crate::maps::{CONNECTIONS, EMBRYONIC, EMBRYONIC_CURSOR, EMBRYONIC_ORDER, LOADS, RETURNS};
use crate::scratch::scratch;
use crate::stats;

/// A value of one of the two tables. It stays readable until the program ends, also when another CPU
/// removes it. From Linux 6.1 on the memory may then hold another flow's entry at once: what acts on a
/// whole entry looks first whether the value is still its key's.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    value: *mut Connection,
    embryonic: bool,
}

#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<Entry> {
    if let Some(value) = CONNECTIONS.get_ptr_mut(key) {
        return Some(Entry { value, embryonic: false });
    }
    if let Some(value) = EMBRYONIC.get_ptr_mut(key) {
        return Some(Entry { value, embryonic: true });
    }
    // Another CPU may have moved it between the two look-ups: it is stored there before it goes here.
    CONNECTIONS.get_ptr_mut(key).map(|value| Entry { value, embryonic: false })
}

impl Entry {
    #[inline(always)]
    pub(crate) fn state(self) -> u32 {
        // SAFETY: a map value, see `Entry`.
        unsafe { (&raw const (*self.value).state).read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn destination_index(self) -> u32 {
        // SAFETY: as in `state`; the field never changes.
        unsafe { (*self.value).destination }
    }

    /// The destination, unless it is gone or its index has another owner by now.
    #[inline(always)]
    pub(crate) fn destination(self) -> Option<&'static Destination> {
        let destination = lookup::destination(self.destination_index())?;
        // SAFETY: as in `state`; the field never changes.
        let generation = unsafe { (*self.value).generation };
        (destination.generation == generation && !destination.has(destination_flags::REMOVED))
            .then_some(destination)
    }

    #[inline(always)]
    pub(crate) fn is_expired(self, now: u32, settings: &Settings) -> bool {
        // SAFETY: as in `state`.
        let last_seen = unsafe { (&raw const (*self.value).last_seen).read_volatile() };
        let timeout = settings.timeouts[self.state() as usize & 15];
        // A packet on another CPU may have been later than our clock: then it is not idle.
        (now.wrapping_sub(last_seen) as i32) > timeout as i32
    }

    #[inline(always)]
    fn is_counted(self) -> bool {
        // SAFETY: as in `state`; the field never changes.
        unsafe { (*self.value).flags & flags::COUNTED != 0 }
    }

    /// Takes `old` out and puts `new` in, if nobody was faster.
    #[inline(always)]
    fn exchange(self, old: u32, new: u32) -> bool {
        // SAFETY: as in `state`.
        unsafe { helpers::exchange_u32(&raw mut (*self.value).state, old, new) }
    }

    /// Another packet of the flow has passed.
    #[inline(always)]
    pub(crate) fn touch(self, key: &FlowKey, new: u32, now: u32) {
        // SAFETY: as in `state`. Written only when it changes: the line stays shared between CPUs.
        unsafe {
            let last_seen = &raw mut (*self.value).last_seen;
            if last_seen.read_volatile() != now {
                last_seen.write_volatile(now);
            }
        }
        let old = self.state();
        if self.embryonic && matches!(new, state::ESTABLISHED | state::UDP) {
            promote(key, self.value, new);
        } else if old != new && old != state::DEAD && self.exchange(old, new) && self.is_counted() {
            recount(self.destination_index(), old, new);
        }
    }

    /// Ends the connection: out of the counts, out of the tables.
    #[inline(always)]
    pub(crate) fn retire(self, key: &FlowKey) {
        retire(key, self.value, self.embryonic as u32);
    }
}

/// Moves one connection of a destination from the count `old` stands for to that of `new`.
#[inline(always)]
fn recount(destination: u32, old: u32, new: u32) {
    let (old_active, new_active) = (state::is_active(old), state::is_active(new));
    if old_active != new_active {
        add_load(destination, old_active, u32::MAX);
        add_load(destination, new_active, 1);
    }
}

/// Adds `by` (modulo 2^32) to the active or the inactive connections of a destination.
#[inline(always)]
fn add_load(destination: u32, active: bool, by: u32) {
    let Some(load) = LOADS.get_ptr_mut(destination) else { return };
    // SAFETY: the pointer is a map value's.
    unsafe {
        let count = if active { &raw mut (*load).active } else { &raw mut (*load).inactive };
        helpers::add_u32(count, by);
    }
}

/// Takes the state out for good; `None` when somebody else has.
#[inline(always)]
fn bury(entry: Entry) -> Option<u32> {
    // One other change may come between reading and exchanging; a second one at once is left to the
    // next packet or sweep.
    for _ in 0..2 {
        let old = entry.state();
        if old == state::DEAD {
            return None;
        }
        if entry.exchange(old, state::DEAD) {
            return Some(old);
        }
    }
    None
}

#[inline(never)]
fn retire(key: &FlowKey, value: *mut Connection, embryonic: u32) -> u32 {
    let entry = Entry { value, embryonic: embryonic != 0 };
    let Some(old) = bury(entry) else { return 0 };
    if entry.is_counted() {
        add_load(entry.destination_index(), state::is_active(old), u32::MAX);
    }
    // SAFETY: as in `Entry::state`; the fields never change.
    let (is_nat, generation) = unsafe { ((*value).flags & flags::NAT != 0, (*value).generation) };
    if is_nat
        && let Some(destination) = lookup::destination(entry.destination_index())
        && destination.generation == generation
    {
        let Ok(scratch) = scratch() else { return 0 };
        scratch.other = return_key(key, destination);
        // Another service's connection may have taken the place.
        // SAFETY: values are never changed in place.
        if let Some(value) = unsafe { RETURNS.get(&scratch.other) }
            && value.virtual_address == key.destination
            && value.virtual_port == key.destination_port
        {
            // Nothing to do if it is gone already.
            RETURNS.remove(&scratch.other).ok();
        }
    }
    // Nothing to do if it is gone already.
    if entry.embryonic { EMBRYONIC.remove(key) } else { CONNECTIONS.remove(key) }.ok();
    1
}

/// The key of the direction real server -> client.
#[inline(always)]
fn return_key(key: &FlowKey, destination: &Destination) -> FlowKey {
    let port = if destination.port == 0 { key.destination_port } else { destination.port };
    FlowKey::new(destination.address, port, key.source, key.source_port, key.protocol)
}

/// The flow goes on: its entry leaves the memory that a flood can reach.
#[inline(never)]
fn promote(key: &FlowKey, value: *mut Connection, new: u32) -> u32 {
    let entry = Entry { value, embryonic: true };
    // SAFETY: as in `Entry::state`.
    let mut connection = unsafe { *value };
    // Evicted, and the memory another flow's by now: looked for after the copy was made.
    if EMBRYONIC.get_ptr_mut(key) != Some(value) {
        return 0;
    }
    connection.state = new;
    connection.sequence = 0;
    match CONNECTIONS.insert(key, &connection, BPF_NOEXIST as u64) {
        Ok(()) => {
            let old = bury(entry);
            if old.is_none() && connection.flags & flags::NAT != 0 {
                // Evicted a moment ago, and its return with it: the client begins anew.
                CONNECTIONS.remove(key).ok();
            } else if connection.flags & flags::COUNTED != 0 {
                match old {
                    Some(old) => recount(connection.destination, old, new),
                    // Retired by somebody a moment ago: what we have stored counts anew.
                    None => add_load(connection.destination, state::is_active(new), 1),
                }
            }
            // Nothing to do if it is gone already.
            EMBRYONIC.remove(key).ok();
        }
        // Another CPU has promoted it.
        Err(error) if error == -(EEXIST) => {}
        Err(_) => {
            stats::count(Cause::EntryNotStored);
            let old = entry.state();
            if old != new && old != state::DEAD && entry.exchange(old, new) && entry.is_counted() {
                recount(connection.destination, old, new);
            }
        }
    }
    0
}

const EEXIST: i32 = 17;

/// A flow to be remembered.
pub(crate) struct Admission {
    pub(crate) destination: u32,
    pub(crate) generation: u32,
    pub(crate) state: u32,
    pub(crate) flags: u32,
    pub(crate) now: u32,
}

/// Remembers a flow of which one packet was seen. The oldest embryonic entry makes room.
#[inline(always)]
pub(crate) fn admit(key: &FlowKey, admission: &Admission, slots: u32) -> Result<(), Cause> {
    if admission.flags & flags::NAT != 0 {
        admit_return(key, admission)?;
    }
    let cursor = EMBRYONIC_CURSOR.get_ptr_mut(0).ok_or(Cause::Inconsistent)?;
    // SAFETY: the pointer is a map value's.
    let sequence = unsafe { helpers::fetch_add_u64(cursor, 1) } as u32;
    let place = EMBRYONIC_ORDER.get_ptr_mut(sequence & slots.wrapping_sub(1)).ok_or(Cause::Inconsistent)?;
    // SAFETY: the pointer is a map value's. Two CPUs meet here only when a whole round of the order
    // passes between their two instructions; then one key is evicted later than it should be.
    unsafe {
        let oldest = *place;
        if let Some(value) = EMBRYONIC.get_ptr_mut(&oldest)
            && (*value).sequence == sequence.wrapping_sub(slots)
        {
            retire(&oldest, value, 1);
            stats::count(Cause::EmbryonicEvicted);
        }
        *place = *key;
    }
    let connection = Connection {
        destination: admission.destination,
        generation: admission.generation,
        last_seen: admission.now,
        state: admission.state,
        flags: admission.flags,
        sequence,
    };
    match EMBRYONIC.insert(key, &connection, BPF_NOEXIST as u64) {
        Ok(()) => {
            if admission.flags & flags::COUNTED != 0 {
                add_load(admission.destination, state::is_active(admission.state), 1);
            }
            Ok(())
        }
        // Another CPU was faster with a packet of the same flow: its entry serves, unless it is just
        // being retired; then the client's next try begins anew.
        Err(error) if error == -(EEXIST) => match find(key) {
            Some(entry) if entry.state() != state::DEAD => Ok(()),
            _ => Err(Cause::NoConnection),
        },
        Err(_) => Err(Cause::ConnectionTableFull),
    }
}

/// Stores the other direction of a nat connection, unless a live one looks the same to the real server.
#[inline(always)]
fn admit_return(key: &FlowKey, admission: &Admission) -> Result<(), Cause> {
    let destination = lookup::destination(admission.destination).ok_or(Cause::Inconsistent)?;
    let value = Return { virtual_address: key.destination, virtual_port: key.destination_port, reserved: 0 };
    let scratch = scratch()?;
    scratch.other = return_key(key, destination);
    let return_key = &scratch.other;
    if RETURNS.insert(return_key, &value, BPF_NOEXIST as u64).is_ok() {
        return Ok(());
    }
    // SAFETY: values are never changed in place.
    let Some(existing) = (unsafe { RETURNS.get(return_key) }) else {
        return Err(Cause::ConnectionTableFull);
    };
    if *existing == value {
        return Ok(());
    }
    let other = client_key(return_key, existing);
    if find(&other).is_some_and(|entry| entry.state() != state::DEAD) {
        return Err(Cause::NatCollision);
    }
    RETURNS.insert(return_key, &value, BPF_ANY as u64).map_err(|_| Cause::ConnectionTableFull)
}

/// The key of the client's direction, from that of the real server's and what `RETURNS` holds for it.
#[inline(always)]
pub(crate) const fn client_key(return_key: &FlowKey, value: &Return) -> FlowKey {
    FlowKey::new(
        return_key.destination,
        return_key.destination_port,
        value.virtual_address,
        value.virtual_port,
        return_key.protocol,
    )
}

/// What a packet from a real server to a client belongs to, if it belongs to a nat connection.
#[inline(always)]
pub(crate) fn find_return(key: &FlowKey) -> Option<Return> {
    // SAFETY: values are never changed in place.
    unsafe { RETURNS.get(key) }.copied()
}
