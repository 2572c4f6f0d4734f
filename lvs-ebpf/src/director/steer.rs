//! Decides the destination of a flow: the table first where it is asked, then the ring or the scheduler.
//! Writes no header.

use lvs_common::cause::Cause;
use lvs_common::connection::flags;
use lvs_common::destination::{Destination, destination_flags, forward};
use lvs_common::flow::FlowKey;
use lvs_common::lease::standing;
use lvs_common::ring::Slot;
use lvs_common::service::{Service, protocol};
use lvs_common::settings::Settings;
use lvs_common::tcp_state::{self, Seen, state, tcp_flags};

use crate::connection::{self, Admission, Found, Wanted};
use crate::scratch::scratch;
use crate::{helpers, lease, lookup, schedule};

/// What the packet says about its flow: TCP with its flags, a datagram, or nothing. A number, since it
/// crosses between stages, and since of an enum the verifier would see parts that are not set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sign(u32);

impl Sign {
    const UDP: Self = Self(0x100);
    /// An ICMP error about the flow, or another packet that changes nothing.
    pub(crate) const RELATED: Self = Self(0x200);

    #[inline(always)]
    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn of(protocol_number: u8, tcp_flags: u8) -> Self {
        if protocol_number == protocol::TCP { Self(tcp_flags as u32) } else { Self::UDP }
    }

    #[inline(always)]
    const fn is_udp(self) -> bool {
        self.0 == Self::UDP.0
    }

    /// The first packet of a TCP connection.
    #[inline(always)]
    const fn is_syn(self) -> bool {
        const BEGINNING: u32 = (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST) as u32;
        self.0 & (BEGINNING | Self::UDP.0 | Self::RELATED.0) == tcp_flags::SYN as u32
    }

    /// The state after this packet.
    #[inline(always)]
    const fn next(self, current: u32, seen: Seen) -> u32 {
        match self {
            Self::UDP => state::UDP,
            Self::RELATED => current,
            Self(flags) => tcp_state::next(current, flags as u8, seen),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Steered {
    /// Index of the destination.
    pub(crate) index: u32,
    /// A connection begins.
    pub(crate) new: bool,
    /// The flow is to be remembered: what of it stands in the scratch value.
    pub(crate) admit: bool,
}

impl Steered {
    const NEW: u32 = 1 << 31;
    const ADMIT: u32 = 1 << 30;

    /// As a number, to cross between stages.
    #[inline(always)]
    pub(crate) const fn to_bits(self) -> u32 {
        self.index | if self.new { Self::NEW } else { 0 } | if self.admit { Self::ADMIT } else { 0 }
    }

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self {
            index: bits & !(Self::NEW | Self::ADMIT),
            new: bits & Self::NEW != 0,
            admit: bits & Self::ADMIT != 0,
        }
    }
}

/// What the director sees of a connection to this destination.
#[inline(always)]
const fn seen(destination: &Destination) -> Seen {
    if destination.forward == forward::NAT { Seen::FromClient } else { Seen::FromClientOnly }
}

/// What became of an entry.
enum Resumed {
    /// Goes on to the destination with this index.
    Live(u32),
    /// Idle for too long, or ended and begun anew.
    Over,
    /// Its destination was taken away: the flow may go elsewhere, where it is refused at once.
    Homeless,
    /// Its destination is down, and has its connections reset.
    Reset,
}

#[inline(always)]
fn resume(found: &Found, sign: Sign, settings: &Settings) -> Resumed {
    let now = helpers::now();
    if found.is_expired(now, settings) || (sign.is_syn() && state::is_closing(found.state())) {
        return Resumed::Over;
    }
    let Some(destination) = found.serving() else {
        // There is nothing to reset of what begins, nor of datagrams.
        let is_lost = begins(sign) || found.destination().is_none();
        return if is_lost { Resumed::Homeless } else { Resumed::Reset };
    };
    if sign != Sign::RELATED {
        found.touch(sign.next(found.state(), seen(destination)), now);
    }
    Resumed::Live(found.destination)
}

/// The destination where ring or table answer alone, which is for most packets. `None` also without the lease:
/// that is for [`steer`] to say, as is whether a new flow may be stored.
#[inline(always)]
pub(crate) fn at_once(key: &FlowKey, service: &Service, sign: Sign) -> Option<Steered> {
    if schedule::is_hashing(service) && !service.is_tracked() && service.ring_slots != 0 {
        let slot = schedule::hashed_slot(service, key).ok()?;
        if !slot.consults_table() {
            let index = holder(service, slot, true).ok()?;
            if !lease::is_held(service.lease) {
                return None;
            }
            return Some(Steered { index, new: sign.is_syn(), admit: false });
        }
    }
    let settings = lookup::settings().ok()?;
    let found = connection::find(&Wanted::request(settings, key, service.index))?;
    if !lease::is_held(service.lease) {
        return None;
    }
    match resume(&found, sign, settings) {
        Resumed::Live(index) => Some(Steered { index, new: false, admit: false }),
        _ => None,
    }
}

/// The destination of any packet from a client. `key` is the client's direction, also for an ICMP error
/// about the flow.
#[inline(always)]
pub(crate) fn steer(key: &FlowKey, service: &Service, sign: Sign) -> Result<Steered, Cause> {
    let settings = lookup::settings()?;
    let lease = lease::standing_of(service.lease);
    if lease == standing::NOT_HELD {
        return Err(Cause::NoLease);
    }
    let hashing = schedule::is_hashing(service);
    // Without a slot no new flow is taken; those that have an entry go on.
    let has_slot = hashing && service.ring_slots != 0;
    let slot = if has_slot { schedule::hashed_slot(service, key)? } else { Slot::single(Slot::NOBODY) };
    let consult = service.is_tracked() || !has_slot || slot.consults_table();
    let wanted = Wanted::request(settings, key, service.index);
    let mut homeless = false;
    if consult && let Some(found) = connection::find(&wanted) {
        match resume(&found, sign, settings) {
            Resumed::Live(index) => return Ok(Steered { index, new: false, admit: false }),
            Resumed::Over => {}
            Resumed::Homeless => homeless = true,
            Resumed::Reset => {
                if sign != Sign::RELATED {
                    // It stays for a while: the reset may be lost, and the client asks again.
                    found.touch(state::CLOSE, helpers::now());
                }
                return Err(Cause::ServerDown);
            }
        }
        found.retire();
    }
    let store = service.is_tracked() || !has_slot || slot.is_dual();
    // Its entry might not reach the other director before that one takes over. The client tries again there.
    // A datagram without an entry goes where the ring says, there as here.
    if lease == standing::STALE && ((sign.is_syn() && store) || (sign.is_udp() && service.is_tracked())) {
        return Err(Cause::StaleLease);
    }
    let index = if has_slot {
        // UDP has no beginning: also what is said about it goes where its datagrams go.
        holder(service, slot, begins(sign) || key.protocol == protocol::UDP)?
    } else if hashing || service.ring_slots == 0 {
        return Err(Cause::NoDestination);
    } else if !begins(sign) && (!homeless || sign == Sign::RELATED) {
        // In the middle of a flow nobody here knows: no scheduler may guess.
        return Err(Cause::NoConnection);
    } else {
        schedule::pick(service)?
    };
    let destination = lookup::destination(index).ok_or(Cause::Inconsistent)?;
    if destination.has(destination_flags::RESETS) && !begins(sign) {
        return Err(Cause::ServerDown);
    }
    // Without entries every datagram would look like the first.
    let new = sign.is_syn() || (sign.is_udp() && store);
    let admit = store && remember(&wanted, service, index, destination, sign)?;
    Ok(Steered { index, new, admit })
}

/// A packet that may begin a flow.
#[inline(always)]
const fn begins(sign: Sign) -> bool {
    sign.is_udp() || sign.is_syn()
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

/// Prepares the admission of the flow, unless this packet ends it.
#[inline(always)]
fn remember(
    wanted: &Wanted,
    service: &Service,
    index: u32,
    destination: &Destination,
    sign: Sign,
) -> Result<bool, Cause> {
    let state = sign.next(state::NONE, seen(destination));
    if matches!(state, state::NONE | state::CLOSE) {
        return Ok(false);
    }
    let nat = destination.forward == forward::NAT;
    let scratch = scratch()?;
    scratch.wanted = *wanted;
    scratch.admission = Admission {
        destination: index,
        generation: destination.generation,
        state,
        flags: wanted.udp_flag()
            | if nat { flags::NAT } else { 0 }
            | if service.is_tracked() { flags::COUNTED } else { 0 },
        needed: (nat || !schedule::is_hashing(service)) as u8,
    };
    Ok(true)
}
