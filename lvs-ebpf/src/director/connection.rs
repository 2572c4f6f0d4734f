//! Connections: what their packets do to them, and what they count for.
//!
//! An embryonic entry (one packet seen) stands in the table as any other; only so many of them may, and the
//! oldest makes room for the newest. It becomes established where it stands. Whoever takes a state out of an
//! entry settles the counts it stood for.

use lvs_common::cause::Cause;
use lvs_common::connection::{Control, Displaced, ENTRIES_PER_BUCKET, Entry, WINDOW, flags};
use lvs_common::destination::{Destination, destination_flags};
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;

use crate::maps::{CONNECTIONS, EMBRYONIC_ORDER, LOADS, TABLE};
use crate::scratch::scratch;
pub(crate) use crate::table::{Found, Wanted, find};
use crate::{helpers, lookup, stats, table};

/// Tries to change an entry that other CPUs change as well. Each of their changes is a packet.
const TRIES: u32 = 4;

impl Found {
    #[inline(always)]
    pub(crate) const fn state(&self) -> u32 {
        self.control.state()
    }

    /// The port the client dialled.
    #[inline(always)]
    pub(crate) fn virtual_port(&self) -> u16 {
        (table::ends_of(self.entry) >> 16) as u16
    }

    /// The destination, unless it is gone or its index has another owner by now.
    #[inline(always)]
    pub(crate) fn destination(&self) -> Option<&'static Destination> {
        let destination = lookup::destination(self.destination)?;
        (destination.generation == self.generation && !destination.has(destination_flags::REMOVED))
            .then_some(destination)
    }

    /// The same, unless it is down as well and resets its connections.
    #[inline(always)]
    pub(crate) fn serving(&self) -> Option<&'static Destination> {
        const NOT_SERVING: u8 = destination_flags::REMOVED | destination_flags::RESETS;
        let destination = lookup::destination(self.destination)?;
        (destination.generation == self.generation && destination.flags & NOT_SERVING == 0)
            .then_some(destination)
    }

    #[inline(always)]
    pub(crate) const fn is_expired(&self, now: u32, settings: &Settings) -> bool {
        let timeout = settings.timeouts[self.state() as usize & 15];
        // A packet on another CPU may have been later than our clock: then it is not idle.
        (now.wrapping_sub(self.control.last_seen()) as i32) > timeout as i32
    }

    /// Another packet of the flow has passed. Nothing is written while nothing changes, so that the line
    /// stays shared between CPUs.
    #[inline(always)]
    pub(crate) fn touch(&self, new: u32, now: u32) {
        let control = self.control;
        if self.state() != new || becomes_established(control, new) {
            // SAFETY: the entry is one of the table.
            unsafe { lvs_advance(self.place, control.0, new, now) };
        } else if control.last_seen() != now {
            // Nothing is lost where another CPU was faster: it has written a time as late.
            table::exchange(self.entry, control, control.seen(now));
        }
    }

    /// Ends the connection, whatever its packets do meanwhile; false when somebody else has.
    #[inline(always)]
    pub(crate) fn retire(&self) -> bool {
        // SAFETY: the entry is one of the table.
        unsafe { lvs_retire(self.place, self.control.0, 1) != 0 }
    }

    /// Ends it unless something has happened to it since it was found.
    #[inline(always)]
    pub(crate) fn retire_unchanged(&self) {
        // SAFETY: as in `retire`.
        unsafe { lvs_retire(self.place, self.control.0, 0) };
    }
}

#[inline(always)]
const fn becomes_established(control: Control, new: u32) -> bool {
    control.has(flags::EMBRYONIC) && matches!(new, state::ESTABLISHED | state::UDP)
}

/// A packet has brought the connection that `control` was read of into the state `new`. If its flow goes on, it is
/// embryonic no more, as far as there may be another established one.
///
/// # Safety
/// None but that the kernel calls it so.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn lvs_advance(place: u32, control: u64, new: u32, now: u32) -> u64 {
    let control = Control(control);
    change(place, control, control.advanced(new, now), becomes_established(control, new));
    0
}

/// Puts `next` in place of `control`, of which it differs in time and state; with `establish` it is embryonic no more,
/// if there is room. False when it was another connection's meanwhile.
#[inline(always)]
pub(crate) fn change(place: u32, control: Control, mut next: Control, establish: bool) -> bool {
    let (Some(entry), Ok(settings)) = (table::at(place), lookup::settings()) else { return false };
    let room = establish && take_room(settings);
    if room {
        next = next.without(flags::EMBRYONIC);
    }
    if establish && !room && control.state() != next.state() {
        stats::count(Cause::EntryNotStored);
    }
    if next == control {
        return true;
    }
    if !advance(entry, control, next) {
        if room {
            give_back();
        }
        return false;
    }
    if next.seen(0) != control.seen(0) {
        table::mark(place, settings);
    }
    true
}

/// One established connection more, if there may be.
#[inline(always)]
fn take_room(settings: &Settings) -> bool {
    let Some(shared) = TABLE.get_ptr_mut(0) else { return false };
    let limit = settings.connections as u64;
    // Read first: at the limit all CPUs would write the same line.
    // SAFETY: a number in a map value.
    if unsafe { (&raw const (*shared).established).read_volatile() } >= limit {
        return false;
    }
    // SAFETY: as above.
    let room = unsafe { helpers::fetch_add_u64(&raw mut (*shared).established, 1) } < limit;
    if !room {
        // Others took the last room meanwhile.
        give_back();
    }
    room
}

/// One established connection less.
#[inline(always)]
fn give_back() {
    let Some(shared) = TABLE.get_ptr_mut(0) else { return };
    // SAFETY: a number in a map value.
    unsafe { helpers::fetch_add_u64(&raw mut (*shared).established, u64::MAX) };
}

/// Puts `next` in place of `control`, also when a packet on another CPU has changed the time meanwhile,
/// and moves the connection between its counts.
#[inline(always)]
fn advance(entry: *mut Entry, control: Control, next: Control) -> bool {
    // Before the exchange, which proves that it was this connection's: afterwards it may be another's.
    let reference = table::reference_of(entry);
    let mut seen = control;
    for _ in 0..TRIES {
        if table::exchange(entry, seen, next) {
            let (old, new) = (control.state(), next.state());
            if control.has(flags::COUNTED) && state::is_active(old) != state::is_active(new) {
                add_load(reference, state::is_active(old), u32::MAX);
                add_load(reference, state::is_active(new), 1);
            }
            return true;
        }
        seen = table::control(entry);
        if seen.seen(0) != control.seen(0) {
            return false;
        }
    }
    false
}

/// Adds `by` (modulo 2^32) to the active or the inactive connections of a destination, unless its index has
/// another owner by now.
#[inline(always)]
fn add_load((index, generation): (u32, u32), active: bool, by: u32) {
    if lookup::destination(index).is_none_or(|destination| destination.generation != generation) {
        return;
    }
    let Some(load) = LOADS.get_ptr_mut(index) else { return };
    // SAFETY: the pointer is a map value's.
    unsafe {
        let count = if active { &raw mut (*load).active } else { &raw mut (*load).inactive };
        helpers::add_u32(count, by);
    }
}

/// Takes `control` out of the entry for good, settles what it stood for, and frees the entry.
#[inline(always)]
fn retire(entry: *mut Entry, place: u32, control: Control, settings: &Settings) -> bool {
    let old = control.state();
    if !table::is_live(control) || !table::exchange(entry, control, control.with_state(state::DEAD)) {
        return false;
    }
    if control.has(flags::COUNTED) {
        // Nobody writes to it before it is free.
        add_load(table::reference_of(entry), state::is_active(old), u32::MAX);
    }
    if !control.has(flags::EMBRYONIC) {
        give_back();
    }
    let home = table::home_of(entry, control, settings);
    if home != place / ENTRIES_PER_BUCKET as u32 {
        // Left undone the home is looked behind in vain, no more.
        table::update_displaced(home, Displaced::minus_one);
    }
    table::publish(entry, control.freed());
    table::mark(place, settings);
    true
}

/// Retires the entry at `place` if it still is what `control` says; `anyhow`: also when packets of the same flow
/// have changed it.
///
/// # Safety
/// None but that the kernel calls it so.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn lvs_retire(place: u32, control: u64, anyhow: u32) -> u64 {
    let (Some(entry), Ok(settings)) = (table::at(place), lookup::settings()) else { return 0 };
    let mut control = Control(control);
    if !table::is_live(control) {
        // Free or busy under this version it may become another flow's, also under this version.
        return 0;
    }
    for _ in 0..TRIES {
        if retire(entry, place, control, settings) {
            return 1;
        }
        let now = table::control(entry);
        if anyhow == 0 || now.version() != control.version() {
            return 0;
        }
        control = now;
    }
    0
}

/// A flow to be remembered.
#[derive(Clone, Copy)]
pub(crate) struct Admission {
    pub(crate) destination: u32,
    pub(crate) generation: u32,
    pub(crate) state: u32,
    pub(crate) flags: u8,
    /// 1 = without an entry the flow cannot go on; else the ring answers too.
    pub(crate) needed: u8,
}

/// Remembers the flow that the scratch value wants admitted, of which one packet was seen.
#[inline(always)]
pub(crate) fn admit() -> Result<u32, Cause> {
    let admission = &scratch()?.admission;
    match store(admission, helpers::now()) {
        Ok(_) => Ok(0),
        Err(Cause::ConnectionTableFull) if admission.needed == 0 => {
            stats::count(Cause::EntryNotStored);
            Ok(0)
        }
        Err(cause) => Err(cause),
    }
}

/// Stores an embryonic entry for what the scratch value wants; answers where and under which version.
#[inline(always)]
pub(crate) fn store(admission: &Admission, last_seen: u32) -> Result<Stored, Cause> {
    let (wanted, settings) = (&scratch()?.wanted, lookup::settings()?);
    let shared = TABLE.get_ptr_mut(0).ok_or(Cause::Inconsistent)?;
    let slots = settings.embryonic_slots;
    // SAFETY: a number in a map value.
    let sequence = unsafe { helpers::fetch_add_u64(&raw mut (*shared).admitted, 1) } as u32;
    let order = EMBRYONIC_ORDER.get_ptr_mut(sequence & slots.wrapping_sub(1)).ok_or(Cause::Inconsistent)?;
    // SAFETY: a number in a map value. Two CPUs meet here only when a whole round of the order passes between
    // two instructions; then one entry is not evicted but ends by its timeout.
    evict(unsafe { order.read_volatile() }, sequence.wrapping_sub(slots));

    let place = take_place(wanted, settings)?;
    let entry = table::at(place).ok_or(Cause::Inconsistent)?;
    write(entry, wanted, admission, sequence);
    // SAFETY: a number in a map value. The order refers to places from 1 on.
    unsafe { order.write_volatile(place + 1) };
    publish(entry, place, admission, flags::EMBRYONIC, last_seen)
}

/// The same of an entry that is established, if there may be one more.
#[inline(always)]
pub(crate) fn store_established(admission: &Admission, last_seen: u32) -> Result<Stored, Cause> {
    let (wanted, settings) = (&scratch()?.wanted, lookup::settings()?);
    if !take_room(settings) {
        return Err(Cause::ConnectionTableFull);
    }
    let Ok(place) = take_place(wanted, settings) else {
        give_back();
        return Err(Cause::ConnectionTableFull);
    };
    let entry = table::at(place).ok_or(Cause::Inconsistent)?;
    write(entry, wanted, admission, 0);
    publish(entry, place, admission, 0, last_seen)
}

/// Where an entry was stored, and under which version.
#[derive(Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) place: u32,
    pub(crate) version: u16,
}

/// Takes a free entry for `wanted`.
#[inline(always)]
fn take_place(wanted: &Wanted, settings: &Settings) -> Result<u32, Cause> {
    let (place, distance) = table::claim(wanted.home(), settings).ok_or(Cause::ConnectionTableFull)?;
    if distance != 0 && !table::update_displaced(wanted.home(), |displaced| displaced.plus(distance)) {
        let entry = table::at(place).ok_or(Cause::Inconsistent)?;
        table::publish(entry, table::control(entry).freed());
        return Err(Cause::ConnectionTableFull);
    }
    Ok(place)
}

/// Fills in an entry that was taken.
#[inline(always)]
fn write(entry: *mut Entry, wanted: &Wanted, admission: &Admission, sequence: u32) {
    table::write_key(entry, wanted);
    // SAFETY: the entry is ours: it is busy by our doing.
    unsafe {
        (&raw mut (*entry).destination).write_volatile(admission.destination);
        (&raw mut (*entry).generation).write_volatile(admission.generation);
        (&raw mut (*entry).sequence).write_volatile(sequence);
    }
}

/// Makes an entry that was filled in one of the table's.
#[inline(always)]
fn publish(
    entry: *mut Entry,
    place: u32,
    admission: &Admission,
    class: u8,
    last_seen: u32,
) -> Result<Stored, Cause> {
    let (wanted, settings) = (&scratch()?.wanted, lookup::settings()?);
    if admission.flags & flags::COUNTED != 0 {
        add_load((admission.destination, admission.generation), state::is_active(admission.state), 1);
    }
    let version = table::control(entry).version();
    let control = Control::new(last_seen, version, admission.state, admission.flags | class);
    table::publish(entry, control);
    table::mark(place, settings);
    settle_rivals(wanted, place, control, admission)?;
    Ok(Stored { place, version })
}

/// The oldest embryonic entry makes room, if it still is one.
#[inline(always)]
fn evict(place: u32, sequence: u32) {
    let Some(entry) = table::at(place.wrapping_sub(1)) else { return };
    let control = table::control(entry);
    // SAFETY: an entry of the table.
    let same = unsafe { (&raw const (*entry).sequence).read_volatile() } == sequence;
    // SAFETY: as above.
    if same && control.has(flags::EMBRYONIC) && unsafe { lvs_retire(place - 1, control.0, 0) } != 0 {
        stats::count(Cause::EmbryonicEvicted);
    }
}

/// Another CPU may have admitted the same flow at the same time, or another flow that a nat server could not
/// tell from it. Of two entries of one flow the one at the lower place stays, whoever notices first.
#[inline(always)]
fn settle_rivals(wanted: &Wanted, place: u32, control: Control, admission: &Admission) -> Result<(), Cause> {
    // SAFETY: what it wants stands in the scratch value.
    let rival = unsafe { lvs_rival(place, (admission.flags & flags::NAT) as u32, admission.destination) };
    let other = (rival as u32).wrapping_sub(1);
    if rival == 0 {
        return Ok(());
    }
    if rival & ALIKE != 0 {
        // SAFETY: an entry of the table.
        unsafe { lvs_retire(place, control.0, 1) };
        return Err(Cause::NatCollision);
    }
    let loser = if other < place { place } else { other };
    let Some(entry) = table::at(loser) else { return Ok(()) };
    // Looked at again, and retired only as what it is now: it may have become another flow's.
    let control = table::control(entry);
    if table::ends_of(entry) == wanted.ends() && table::client_of(entry) == wanted.client() {
        // SAFETY: as above.
        unsafe { lvs_retire(loser, control.0, 1) };
    }
    Ok(())
}

/// Marks the place of a rival that is no entry of the same flow.
const ALIKE: u64 = 1 << 32;

/// Looks in the window of what the scratch value wants for another entry of the same flow: its place plus 1. With
/// [`ALIKE`], if it is no entry of the same flow but of one that looks the same to the real server of `destination`.
///
/// # Safety
/// None but that the kernel calls it so.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn lvs_rival(own: u32, nat: u32, destination: u32) -> u64 {
    let (Ok(scratch), Ok(settings)) = (scratch(), lookup::settings()) else { return 0 };
    let wanted = &scratch.wanted;
    let Some(destination) = lookup::destination(destination) else { return 0 };
    let Some(home) = CONNECTIONS.get_ptr_mut(wanted.home()) else { return 0 };
    let displaced = table::displaced_of(home);
    for distance in 0..WINDOW {
        if distance != 0 && !displaced.may_stand_at(distance) {
            continue;
        }
        let number = table::bucket_at(wanted.home(), distance, settings);
        for index in 0..ENTRIES_PER_BUCKET as u32 {
            let place = number * ENTRIES_PER_BUCKET as u32 + index;
            let Some(entry) = table::at(place) else { continue };
            if place == own {
                continue;
            }
            match wanted.rivals(entry, nat != 0, destination) {
                table::Rival::None => {}
                table::Rival::Same => return place as u64 + 1,
                table::Rival::Alike => return ALIKE | (place as u64 + 1),
            }
        }
    }
    0
}
