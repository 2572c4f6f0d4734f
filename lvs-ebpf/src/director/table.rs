//! The connection table's mechanics: buckets of entries in an array, found by a hash of the client's end.
//!
//! Both directions of a nat connection have the same client, so one entry serves both. An entry stands in its
//! home bucket or, when that was full, in one of the buckets behind it; the home knows in which.
//!
//! Nobody holds a lock. The first eight bytes of an entry ([`Control`]) change by compare-and-exchange alone:
//! who takes a free entry makes it `BUSY`, writes the rest, and publishes it; who gives it up raises its
//! version, so that a reader notices when what it has read belongs to two flows.

use lvs_common::address::Halves;
use lvs_common::connection::{
    BUCKETS_PER_WORD, Bucket, Control, Displaced, ENTRIES_PER_BUCKET, Entry, WINDOW, flags,
};
use lvs_common::destination::Destination;
use lvs_common::flow::{FlowKey, hash_client, slot_of};
use lvs_common::service::protocol;
use lvs_common::settings::{self, Settings};
use lvs_common::tcp_state::state;

use crate::maps::{CONNECTIONS, DIRTY};
use crate::scratch::scratch;
use crate::{helpers, lookup};

/// What an entry is looked for by.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    client: Halves,
    /// Client's port, virtual port and service, as they stand in the entry. In an answer: the client's port.
    ends: u64,
    /// Of an answer.
    server: Halves,
    server_port: u16,
    /// [`flags::UDP`] or 0.
    udp: u8,
    answer: bool,
    home: u32,
}

impl Wanted {
    /// A client's packet to a service.
    #[inline(always)]
    pub(crate) fn request(settings: &Settings, key: &FlowKey, service: u32) -> Self {
        let client = key.source.halves();
        Self {
            client,
            ends: key.source_port as u64 | (key.destination_port as u64) << 16 | (service as u64) << 32,
            server: Halves { high: 0, low: 0 },
            server_port: 0,
            udp: udp_flag(key.protocol),
            answer: false,
            home: home(settings, client, key.source_port, key.protocol),
        }
    }

    /// A real server's packet to a client. `key` is the packet's own direction.
    #[inline(always)]
    pub(crate) fn answer(settings: &Settings, key: &FlowKey) -> Self {
        let client = key.destination.halves();
        Self {
            client,
            ends: key.destination_port as u64,
            server: key.source.halves(),
            server_port: key.source_port,
            udp: udp_flag(key.protocol),
            answer: true,
            home: home(settings, client, key.destination_port, key.protocol),
        }
    }

    #[inline(always)]
    pub(crate) const fn home(&self) -> u32 {
        self.home
    }

    /// As they stand in an entry.
    #[inline(always)]
    pub(crate) const fn ends(&self) -> u64 {
        self.ends
    }

    #[inline(always)]
    pub(crate) const fn client(&self) -> Halves {
        self.client
    }

    /// [`flags::UDP`] or 0.
    #[inline(always)]
    pub(crate) const fn udp_flag(&self) -> u8 {
        self.udp
    }

    /// Whether `entry`, found with `control`, is it.
    #[inline(always)]
    fn is(&self, entry: *mut Entry, control: Control) -> bool {
        let ends = ends_of(entry);
        let same_ends = if self.answer { ends & 0xffff == self.ends } else { ends == self.ends };
        if !same_ends || client_of(entry) != self.client || !is_live(control) {
            return false;
        }
        !self.answer || self.is_answer_of(entry, control)
    }

    #[inline(always)]
    fn is_answer_of(&self, entry: *mut Entry, control: Control) -> bool {
        if control.flags() & (flags::NAT | flags::UDP) != flags::NAT | self.udp {
            return false;
        }
        let (index, generation) = reference_of(entry);
        let Some(destination) = lookup::destination(index) else { return false };
        destination.generation == generation
            && port_of(destination, ends_of(entry)) == self.server_port
            && destination.address.halves() == self.server
    }
}

/// What another entry is to a flow that is about to be stored.
pub(crate) enum Rival {
    None,
    /// An entry of the same flow.
    Same,
    /// An entry of a flow that looks the same to the real server, which sees no virtual address.
    Alike,
}

impl Wanted {
    #[inline(always)]
    pub(crate) fn rivals(&self, entry: *mut Entry, nat: bool, destination: &Destination) -> Rival {
        let control = control(entry);
        let ends = ends_of(entry);
        if ends & 0xffff != self.ends & 0xffff || client_of(entry) != self.client || !is_live(control) {
            return Rival::None;
        }
        if ends == self.ends {
            return Rival::Same;
        }
        if !nat || control.flags() & (flags::NAT | flags::UDP) != flags::NAT | self.udp {
            return Rival::None;
        }
        let (index, generation) = reference_of(entry);
        let Some(other) = lookup::destination(index) else { return Rival::None };
        let alike = other.generation == generation
            && port_of(destination, self.ends) == port_of(other, ends)
            && destination.address.halves() == other.address.halves();
        if alike { Rival::Alike } else { Rival::None }
    }
}

/// The port that a nat server is called at.
#[inline(always)]
const fn port_of(destination: &Destination, ends: u64) -> u16 {
    if destination.port == 0 { (ends >> 16) as u16 } else { destination.port }
}

#[inline(always)]
const fn udp_flag(protocol_number: u8) -> u8 {
    if protocol_number == protocol::UDP { flags::UDP } else { 0 }
}

#[inline(always)]
fn home(settings: &Settings, client: Halves, port: u16, protocol: u8) -> u32 {
    slot_of(hash_client(settings.seed, client, port, protocol), settings.buckets)
}

/// The home bucket of what stands in `entry`.
#[inline(always)]
pub(crate) fn home_of(entry: *mut Entry, control: Control, settings: &Settings) -> u32 {
    let protocol = if control.has(flags::UDP) { protocol::UDP } else { protocol::TCP };
    home(settings, client_of(entry), ends_of(entry) as u16, protocol)
}

/// An entry that was found, and what it said then.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) entry: *mut Entry,
    pub(crate) control: Control,
    /// Its place in the table.
    pub(crate) place: u32,
    pub(crate) destination: u32,
    pub(crate) generation: u32,
}

impl Found {
    /// Whatever stands at a place.
    #[inline(always)]
    pub(crate) fn at(place: u32) -> Option<Self> {
        let entry = at(place)?;
        let control = control(entry);
        let (destination, generation) = reference_of(entry);
        is_live(control).then_some(Self { entry, control, place, destination, generation })
    }
}

/// The entry of a flow.
#[inline(always)]
pub(crate) fn find(wanted: &Wanted) -> Option<Found> {
    let bucket = CONNECTIONS.get_ptr_mut(wanted.home)?;
    if let Some(found) = search(bucket, wanted.home, wanted) {
        return Some(found);
    }
    let displaced = displaced_of(bucket);
    if displaced.0 == 0 {
        return None;
    }
    scratch().ok()?.wanted = *wanted;
    // SAFETY: what it wants stands in the scratch value.
    let place = unsafe { lvs_displaced(displaced.0) };
    let found = at((place as u32).wrapping_sub(1))?;
    read(found, place as u32 - 1, wanted)
}

/// Looks through one bucket.
#[inline(always)]
fn search(bucket: *mut Bucket, number: u32, wanted: &Wanted) -> Option<Found> {
    for index in 0..ENTRIES_PER_BUCKET {
        // SAFETY: an entry of a bucket of the table.
        let entry = unsafe { &raw mut (*bucket).entries[index] };
        if let Some(found) = read(entry, number * ENTRIES_PER_BUCKET as u32 + index as u32, wanted) {
            return Some(found);
        }
    }
    None
}

/// Reads an entry if it is what is wanted. What was read between two looks at one version is of one flow.
#[inline(always)]
fn read(entry: *mut Entry, place: u32, wanted: &Wanted) -> Option<Found> {
    let control = control(entry);
    if !wanted.is(entry, control) {
        return None;
    }
    let (destination, generation) = reference_of(entry);
    let now = self::control(entry);
    let same = now.version() == control.version() && is_live(now);
    same.then_some(Found { entry, control: now, place, destination, generation })
}

/// Looks through the buckets behind the home of what the scratch value wants; answers the place of the entry
/// plus 1, or 0. A function of the kernel's own, verified once: few packets need it.
///
/// # Safety
/// None but that the kernel calls it so.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn lvs_displaced(displaced: u32) -> u64 {
    let (Ok(scratch), Ok(settings)) = (scratch(), lookup::settings()) else { return 0 };
    let wanted = &scratch.wanted;
    for distance in 1..WINDOW {
        if !Displaced(displaced).may_stand_at(distance) {
            continue;
        }
        let number = bucket_at(wanted.home, distance, settings);
        let Some(bucket) = CONNECTIONS.get_ptr_mut(number) else { continue };
        if let Some(found) = search(bucket, number, wanted) {
            return found.place as u64 + 1;
        }
    }
    0
}

/// The bucket so far behind `home`.
#[inline(always)]
pub(crate) const fn bucket_at(home: u32, distance: u32, settings: &Settings) -> u32 {
    let number = home.wrapping_add(distance);
    if number >= settings.buckets { number.wrapping_sub(settings.buckets) } else { number }
}

/// The entry at a place.
#[inline(always)]
pub(crate) fn at(place: u32) -> Option<*mut Entry> {
    let bucket = CONNECTIONS.get_ptr_mut(place / ENTRIES_PER_BUCKET as u32)?;
    let index = place as usize % ENTRIES_PER_BUCKET;
    // SAFETY: an entry of a bucket of the table.
    Some(unsafe { &raw mut (*bucket).entries[index] })
}

/// Takes a free entry in the window behind `home`: its place and how far behind it stands, or none. The caller writes it, and publishes it.
#[inline(always)]
pub(crate) fn claim(home: u32, settings: &Settings) -> Option<(u32, u32)> {
    for distance in 0..WINDOW {
        let number = bucket_at(home, distance, settings);
        let bucket = CONNECTIONS.get_ptr_mut(number)?;
        for index in 0..ENTRIES_PER_BUCKET {
            // SAFETY: an entry of a bucket of the table.
            let entry = unsafe { &raw mut (*bucket).entries[index] };
            let control = control(entry);
            if control.state() == state::NONE && exchange(entry, control, control.with_state(state::BUSY)) {
                return Some((number * ENTRIES_PER_BUCKET as u32 + index as u32, distance));
            }
        }
    }
    None
}

#[inline(always)]
pub(crate) const fn is_live(control: Control) -> bool {
    state::is_live(control.state())
}

/// Index and generation of the destination. Whose they are is only known while the control word has not changed
/// since before.
#[inline(always)]
pub(crate) fn reference_of(entry: *mut Entry) -> (u32, u32) {
    // SAFETY: an entry of the table.
    unsafe {
        ((&raw const (*entry).destination).read_volatile(), (&raw const (*entry).generation).read_volatile())
    }
}

#[inline(always)]
pub(crate) fn control(entry: *mut Entry) -> Control {
    // SAFETY: an entry of the table; the first eight bytes are its control word.
    Control(unsafe { entry.cast::<u64>().read_volatile() })
}

/// Puts `new` in place of `old`; whether it was `old`.
#[inline(always)]
pub(crate) fn exchange(entry: *mut Entry, old: Control, new: Control) -> bool {
    // SAFETY: a number in a map value.
    unsafe { helpers::exchange_u64(entry.cast(), old.0, new.0) }
}

/// Gives a taken entry its control word, after everything else was written. A full barrier: who looks for
/// others afterwards sees them, or they see this one.
#[inline(always)]
pub(crate) fn publish(entry: *mut Entry, control: Control) {
    // SAFETY: a number in a map value.
    unsafe { helpers::swap_u64(entry.cast(), control.0) };
}

/// Notes for whoever follows the table that the entry at `place` is another than before. After its control word was
/// exchanged, which is a full barrier: who finds the mark and takes it away reads the new entry, and who takes it
/// away before leaves the bit for us to set.
#[inline(always)]
pub(crate) fn mark(place: u32, settings: &Settings) {
    if settings.flags & settings::flags::FOLLOWED == 0 {
        return;
    }
    let bucket = place / ENTRIES_PER_BUCKET as u32;
    let Some(word) = DIRTY.get_ptr_mut(bucket / BUCKETS_PER_WORD) else { return };
    let bit = 1 << (bucket % BUCKETS_PER_WORD);
    // SAFETY: a number in a map value. Read first: a flood would have all CPUs write the same line.
    unsafe {
        if word.read_volatile() & bit == 0 {
            helpers::or_u64(word, bit);
        }
    }
}

/// Client's port, virtual port and service as one number.
#[inline(always)]
pub(crate) fn ends_of(entry: *mut Entry) -> u64 {
    // SAFETY: an entry of the table; the eight bytes from `client_port` on, which are aligned.
    unsafe { (&raw const (*entry).client_port).cast::<u64>().read_volatile() }
}

#[inline(always)]
pub(crate) fn client_of(entry: *mut Entry) -> Halves {
    // SAFETY: an entry of the table; an address stands at a multiple of eight bytes.
    unsafe {
        let client = (&raw const (*entry).client).cast::<u64>();
        Halves { high: client.read_volatile(), low: client.add(1).read_volatile() }
    }
}

/// Writes what an entry is found by.
#[inline(always)]
pub(crate) fn write_key(entry: *mut Entry, wanted: &Wanted) {
    // SAFETY: an entry of the table that is the caller's own.
    unsafe {
        let client = (&raw mut (*entry).client).cast::<u64>();
        client.write_volatile(wanted.client.high);
        client.add(1).write_volatile(wanted.client.low);
        (&raw mut (*entry).client_port).cast::<u64>().write_volatile(wanted.ends);
    }
}

const _: () = assert!(core::mem::offset_of!(Entry, client) % 8 == 0);
const _: () = assert!(core::mem::offset_of!(Entry, client_port) % 8 == 0);

#[inline(always)]
pub(crate) fn displaced_of(bucket: *mut Bucket) -> Displaced {
    // SAFETY: a bucket of the table.
    Displaced(unsafe { (&raw const (*bucket).entries[0].displaced).read_volatile() })
}

/// Changes what the home bucket knows of entries behind it; false when others changed it again and again.
#[inline(always)]
pub(crate) fn update_displaced(home: u32, change: impl Fn(Displaced) -> Displaced) -> bool {
    let Some(bucket) = CONNECTIONS.get_ptr_mut(home) else { return false };
    for _ in 0..8 {
        let old = displaced_of(bucket);
        // SAFETY: a number in a map value.
        if unsafe { helpers::exchange_u32(&raw mut (*bucket).entries[0].displaced, old.0, change(old).0) } {
            return true;
        }
    }
    false
}
