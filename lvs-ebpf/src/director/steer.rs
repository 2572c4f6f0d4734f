//! Decides the destination of a flow: the table first where it is asked, then the ring or the scheduler.
//! Writes no header.

use lvs_common::cause::Cause;
use lvs_common::connection::flags;
use lvs_common::destination::{Destination, forward};
use lvs_common::flow::FlowKey;
use lvs_common::ring::Slot;
use lvs_common::service::{Service, protocol};
use lvs_common::settings::Settings;
use lvs_common::tcp_state::{self, Seen, state, tcp_flags};

use crate::connection::{self, Admission, Entry};
use crate::{helpers, lookup, schedule, stats};

/// What the packet says about its flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// TCP with these flags.
    Tcp(u8),
    Udp,
    /// An ICMP error about the flow, or another packet that changes nothing.
    Related,
}

impl Sign {
    /// As a number, to cross between stages.
    #[inline(always)]
    pub(crate) const fn to_bits(self) -> u32 {
        match self {
            Self::Tcp(flags) => flags as u32,
            Self::Udp => 0x100,
            Self::Related => 0x200,
        }
    }

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        match bits {
            0x100 => Self::Udp,
            0x200 => Self::Related,
            flags => Self::Tcp(flags as u8),
        }
    }

    #[inline(always)]
    pub(crate) const fn of(protocol_number: u8, tcp_flags: u8) -> Self {
        if protocol_number == protocol::TCP { Self::Tcp(tcp_flags) } else { Self::Udp }
    }

    /// The first packet of a TCP connection.
    #[inline(always)]
    const fn is_syn(self) -> bool {
        match self {
            Self::Tcp(flags) => flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) == tcp_flags::SYN,
            _ => false,
        }
    }

    /// The state after this packet.
    #[inline(always)]
    const fn next(self, current: u32, seen: Seen) -> u32 {
        match self {
            Self::Tcp(flags) => tcp_state::next(current, flags, seen),
            Self::Udp => state::UDP,
            Self::Related => current,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Steered {
    /// Index of the destination.
    pub(crate) index: u32,
    /// A connection begins.
    pub(crate) new: bool,
}

impl Steered {
    const NEW: u32 = 1 << 31;

    /// As a number, to cross between stages.
    #[inline(always)]
    pub(crate) const fn to_bits(self) -> u32 {
        self.index | if self.new { Self::NEW } else { 0 }
    }

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self { index: bits & !Self::NEW, new: bits & Self::NEW != 0 }
    }
}

/// What the director sees of a connection to this destination.
#[inline(always)]
const fn seen(destination: &Destination) -> Seen {
    if destination.forward == forward::NAT { Seen::FromClient } else { Seen::FromClientOnly }
}

/// What became of an entry.
enum Found {
    /// Goes on to the destination with this index.
    Live(u32),
    /// Idle for too long, or ended and begun anew.
    Over,
    /// Its destination was taken away: the flow may go elsewhere, where it is refused at once.
    Homeless,
}

#[inline(always)]
fn resume(key: &FlowKey, entry: Entry, sign: Sign, now: u32, settings: &Settings) -> Found {
    let current = entry.state();
    if current == state::DEAD {
        return Found::Over;
    }
    if entry.is_expired(now, settings) || (sign.is_syn() && state::is_closing(current)) {
        entry.retire(key);
        return Found::Over;
    }
    let Some(destination) = entry.destination() else {
        entry.retire(key);
        return Found::Homeless;
    };
    if sign != Sign::Related {
        entry.touch(key, sign.next(current, seen(destination)), now);
    }
    Found::Live(entry.destination_index())
}

/// The destination of a packet from a client. `key` is the client's direction, also for an ICMP error
/// about the flow.
#[inline(always)]
pub(crate) fn steer(key: &FlowKey, service: &Service, sign: Sign) -> Result<Steered, Cause> {
    let settings = lookup::settings()?;
    let now = helpers::now();
    let hashing = schedule::is_hashing(service);
    // Without a slot no new flow is taken; those that have an entry go on.
    let slot =
        if hashing && service.ring_slots != 0 { Some(schedule::hashed_slot(service, key)?) } else { None };
    let consult = service.is_tracked() || slot.is_none_or(|slot| slot.consults_table());
    let mut homeless = false;
    if consult && let Some(entry) = connection::find(key) {
        match resume(key, entry, sign, now, settings) {
            Found::Live(index) => return Ok(Steered { index, new: false }),
            Found::Over => {}
            Found::Homeless => homeless = true,
        }
    }
    let index = match slot {
        // UDP has no beginning: also what is said about it goes where its datagrams go.
        Some(slot) => holder(service, slot, begins(sign) || key.protocol == protocol::UDP)?,
        None if hashing || service.ring_slots == 0 => return Err(Cause::NoDestination),
        // In the middle of a flow nobody here knows: no scheduler may guess.
        None if !begins(sign) && (!homeless || sign == Sign::Related) => return Err(Cause::NoConnection),
        None => schedule::pick(service)?,
    };
    let destination = lookup::destination(index).ok_or(Cause::Inconsistent)?;
    let store = service.is_tracked() || slot.is_none_or(|slot| slot.is_dual());
    // Without entries every datagram would look like the first.
    let new = sign.is_syn() || (sign == Sign::Udp && store);
    if store {
        let state = sign.next(state::NONE, seen(destination));
        remember(key, service, index, destination, state, now, settings)?;
    }
    Ok(Steered { index, new })
}

/// A packet that may begin a flow.
#[inline(always)]
const fn begins(sign: Sign) -> bool {
    matches!(sign, Sign::Udp) || sign.is_syn()
}

/// Who holds a flow without an entry: of a dual slot `current` gets what begins, `base` what goes on.
#[inline(always)]
fn holder(service: &Service, slot: Slot, begins: bool) -> Result<u32, Cause> {
    let position = if begins { slot.current() } else { slot.base() };
    if position == Slot::NOBODY {
        return Err(Cause::NoDestination);
    }
    lookup::member(service, position).map(|member| member.destination).ok_or(Cause::Inconsistent)
}

/// Stores the flow, unless this packet ends it. Where the ring answers too, the flow goes on without an
/// entry when there is no room.
#[inline(always)]
fn remember(
    key: &FlowKey,
    service: &Service,
    index: u32,
    destination: &Destination,
    state: u32,
    now: u32,
    settings: &Settings,
) -> Result<(), Cause> {
    if matches!(state, state::NONE | state::CLOSE) {
        return Ok(());
    }
    let nat = destination.forward == forward::NAT;
    let admission = Admission {
        destination: index,
        generation: destination.generation,
        state,
        flags: if nat { flags::NAT } else { 0 } | if service.is_tracked() { flags::COUNTED } else { 0 },
        now,
    };
    match connection::admit(key, &admission, settings.embryonic_slots) {
        Err(Cause::ConnectionTableFull) if schedule::is_hashing(service) && !nat => {
            stats::count(Cause::EntryNotStored);
            Ok(())
        }
        other => other,
    }
}
