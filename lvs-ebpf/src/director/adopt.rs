//! Takes over connections from another director. The agent says which they are, in this director's own indices;
//! entries are written here, in the kernel, so that they and their counts have one writer.

use core::mem::offset_of;

use lvs_common::address::Address;
use lvs_common::adoption::{Adoption, action, outcome};
use lvs_common::cause::Cause;
use lvs_common::connection::{Control, flags};
use lvs_common::destination::{Destination, destination_flags, forward};
use lvs_common::flow::FlowKey;
use lvs_common::limits::ADOPTIONS;
use lvs_common::service::protocol;
use lvs_common::settings::Settings;
use lvs_common::tcp_state::state;
use lvs_ebpf::packet::{Bytes as _, Packet, REACH};

use crate::connection::{self, Admission, Found, Stored, Wanted};
use crate::lookup;
use crate::scratch::{Scratch, scratch};

#[inline(always)]
pub(crate) fn run(packet: &Packet) -> Result<(), Cause> {
    let scratch = scratch()?;
    for index in 0..ADOPTIONS {
        let at = index * size_of::<Adoption>();
        let Ok(words) = packet.read::<[u64; 6]>(at) else { break };
        scratch.adoption = zerocopy::transmute!(words);
        // SAFETY: what is to be done stands in the scratch value.
        let answer = Answer(unsafe { lvs_take_over() });
        let about = scratch.adoption.about(answer.outcome());
        let written = packet.write(at + offset_of!(Adoption, state), about).is_ok()
            && packet.write(at + offset_of!(Adoption, place), answer.place_and_version()).is_ok();
        if !written {
            break;
        }
    }
    Ok(())
}

/// What became of a record, as a number.
#[derive(Clone, Copy)]
struct Answer(u64);

impl Answer {
    #[inline(always)]
    const fn new(outcome: u8, place: u32, version: u16) -> Self {
        Self(place as u64 | (version as u64) << 32 | (outcome as u64) << 48)
    }

    #[inline(always)]
    const fn only(outcome: u8) -> Self {
        Self::new(outcome, 0, 0)
    }

    #[inline(always)]
    const fn outcome(self) -> u8 {
        (self.0 >> 48) as u8
    }

    /// As they stand at the end of an [`Adoption`].
    #[inline(always)]
    const fn place_and_version(self) -> u64 {
        self.0 & 0xffff_ffff_ffff
    }
}

/// Carries out the record in the scratch value. A function of the kernel's own, verified once and not for every record.
///
/// # Safety
/// None but that the kernel calls it so.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn lvs_take_over() -> u64 {
    let (Ok(scratch), Ok(settings)) = (scratch(), lookup::settings()) else { return 0 };
    let answer = match scratch.adoption.action {
        action::HOLD => hold(scratch, settings),
        action::DROP => drop(&scratch.adoption),
        _ => Answer::only(outcome::NONE),
    };
    answer.0
}

#[inline(always)]
fn drop(adoption: &Adoption) -> Answer {
    let Some(found) = Found::at(adoption.place) else { return Answer::only(outcome::ABSENT) };
    if found.control.version() != adoption.version || !found.retire() {
        return Answer::only(outcome::ABSENT);
    }
    Answer::only(outcome::REMOVED)
}

#[inline(always)]
fn hold(scratch: &mut Scratch, settings: &Settings) -> Answer {
    let adoption = &scratch.adoption;
    if adoption.state as u32 > state::UDP || !state::is_live(adoption.state as u32) {
        return Answer::only(outcome::REFUSED);
    }
    let Some(destination) = destination(adoption) else { return Answer::only(outcome::UNKNOWN_DESTINATION) };
    let protocol = if adoption.flags & flags::UDP != 0 { protocol::UDP } else { protocol::TCP };
    let (client, nobody) = (adoption.client, Address::UNSPECIFIED);
    let key = FlowKey::new(client, adoption.client_port, nobody, adoption.virtual_port, protocol);
    let wanted = Wanted::request(settings, &key, adoption.service);
    if let Some(found) = connection::find(&wanted) {
        if is_same(&found, adoption) {
            return update(&found, adoption);
        }
        found.retire();
    }
    scratch.wanted = wanted;
    insert(&scratch.adoption, destination, &mut scratch.admission)
}

#[inline(always)]
fn destination(adoption: &Adoption) -> Option<&'static Destination> {
    let destination = lookup::destination(adoption.destination)?;
    let valid = destination.generation == adoption.generation
        && destination.service == adoption.service
        && !destination.has(destination_flags::REMOVED);
    valid.then_some(destination)
}

/// Whether the entry can become what the record says: a connection that has begun anew is another one.
#[inline(always)]
fn is_same(found: &Found, adoption: &Adoption) -> bool {
    let begins = adoption.flags & flags::EMBRYONIC != 0;
    found.destination == adoption.destination
        && found.generation == adoption.generation
        && (!begins || found.control.has(flags::EMBRYONIC))
}

#[inline(always)]
fn update(found: &Found, adoption: &Adoption) -> Answer {
    let control = found.control;
    let state = adoption.state as u32;
    let next = Control::new(adoption.last_seen, control.version(), state, control.flags());
    let establish = control.has(flags::EMBRYONIC) && adoption.flags & flags::EMBRYONIC == 0;
    let outcome = if connection::change(found.place, control, next, establish) {
        outcome::UPDATED
    } else {
        outcome::CONTENDED
    };
    Answer::new(outcome, found.place, control.version())
}

#[inline(always)]
fn insert(adoption: &Adoption, destination: &Destination, admission: &mut Admission) -> Answer {
    let nat = if destination.forward == forward::NAT { flags::NAT } else { 0 };
    *admission = Admission {
        destination: adoption.destination,
        generation: adoption.generation,
        state: adoption.state as u32,
        flags: adoption.flags & (flags::UDP | flags::COUNTED) | nat,
        needed: 0,
    };
    let stored = if adoption.flags & flags::EMBRYONIC != 0 {
        connection::store(admission, adoption.last_seen)
    } else {
        connection::store_established(admission, adoption.last_seen)
    };
    match stored {
        Ok(Stored { place, version }) => Answer::new(outcome::INSERTED, place, version),
        Err(Cause::ConnectionTableFull) => Answer::only(outcome::FULL),
        // A nat server could not tell it from another.
        Err(_) => Answer::only(outcome::REFUSED),
    }
}

const _: () = assert!(ADOPTIONS * size_of::<Adoption>() <= REACH);
