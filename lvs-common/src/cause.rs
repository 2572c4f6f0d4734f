//! Why a packet did not simply go to its destination. Every cause has a counter in `CAUSES`.

/// What happens to the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Handed to the kernel, untouched.
    Pass,
    Drop,
    /// Turned into an answer to its sender.
    Answer,
    /// Not the packet's fate: counted beside it.
    Note,
}

macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal, $text:literal, $verdict:ident;)+) => {
        /// Index into `CAUSES`; values are part of the layout.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Cause {
            $($(#[doc = $doc])+ $name = $value,)+
        }

        impl Cause {
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            #[inline(always)]
            pub const fn from_value(value: u32) -> Option<Self> {
                match value { $($value => Some(Self::$name),)+ _ => None }
            }

            /// The name in metrics, messages and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What the operator reads beside the counter.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }

            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)+ }
            }
        }
    };
}

causes! {
    /// Neither IPv4 nor IPv6 (ARP among them).
    NotIp = 0, "not_ip", Pass;
    /// For no service, and from no real server the director translates or routes for.
    NoService = 1, "no_service", Pass;
    /// For a destination on the director itself.
    Local = 2, "local", Pass;
    /// An echo request to a VIP, answered.
    EchoAnswered = 3, "echo_answered", Answer;
    /// No destination can take the flow: answered with an ICMP error as IPVS does.
    Refused = 4, "refused", Answer;
    /// Too big for the tunnel or the next link: the sender was told the size that fits.
    TooBigAnswered = 5, "too_big_answered", Answer;
    /// Time to live ran out where the director routes: the sender was told.
    TimeExceededAnswered = 6, "time_exceeded_answered", Answer;
    /// Headers to a service address that contradict the packet's length or each other.
    Malformed = 7, "malformed", Drop;
    /// A fragment to a service address that came before its first one.
    FragmentBeforeFirst = 8, "fragment_before_first", Drop;
    /// More IPv6 extension headers, or more of them in bytes, than are followed.
    TooManyHeaders = 9, "too_many_headers", Drop;
    /// No destination can take the flow, and the budget for answers is spent.
    NoDestination = 10, "no_destination", Drop;
    /// A TCP packet in the middle of a flow that a tracked service does not know.
    NoConnection = 11, "no_connection", Drop;
    /// The connection table is full: the new flow is not admitted.
    ConnectionTableFull = 12, "connection_table_full", Drop;
    /// Two nat connections would look the same to the real server.
    NatCollision = 13, "nat_collision", Drop;
    /// The next hop's MAC is not known yet.
    NoNeighbour = 14, "no_neighbour", Drop;
    /// The kernel has no route to the next hop, or forbids it.
    NoRoute = 15, "no_route", Drop;
    /// Too big for the tunnel or the next link, and the budget for answers is spent.
    TooBig = 16, "too_big", Drop;
    /// Time to live ran out where the director routes, and the budget for answers is spent.
    TimeExceeded = 17, "time_exceeded", Drop;
    /// The frame could not grow or shrink (no headroom).
    NoRoom = 18, "no_room", Drop;
    /// IPv6 UDP without a checksum, which RFC 8200 forbids and nat cannot mend.
    ZeroChecksum = 19, "zero_checksum", Drop;
    /// An ICMP error to a VIP about a flow that is not the director's.
    IcmpUnrelated = 20, "icmp_unrelated", Drop;
    /// A map did not have what another map referred to. Never expected; report it.
    Inconsistent = 21, "inconsistent", Drop;
    /// An embryonic entry made room for a newer one.
    EmbryonicEvicted = 22, "embryonic_evicted", Note;
    /// A flow went on without the entry it should have got, since the table is full.
    EntryNotStored = 23, "entry_not_stored", Note;
    /// Too big for the tunnel or the next link, and to be fragmented there, which XDP cannot do.
    Unfragmentable = 24, "unfragmentable", Drop;
    /// A real server's reply in a frame for another machine, which a switch had flooded.
    NotForUs = 25, "not_for_us", Pass;
    /// To an address of a group, or an answer from one, without the group's lease.
    NoLease = 26, "no_lease", Drop;
    /// Asks by ARP or NDP for an address of a group, without the group's lease.
    NoLeaseToAnswer = 27, "no_lease_to_answer", Drop;
    /// A new connection that needs an entry, under a lease not renewed lately.
    StaleLease = 28, "stale_lease", Drop;
    /// Sent by this machine itself from an address of a group, without the group's lease.
    NoLeaseToSend = 29, "no_lease_to_send", Drop;
    /// The answer to a health probe that took the path of the clients' packets.
    ProbeAnswered = 30, "probe_answered", Pass;
    /// A health probe's packet that cannot take the path of the clients' packets.
    ProbeLost = 31, "probe_lost", Drop;
    /// Of a TCP connection with a real server that is down: its client was sent a reset.
    Reset = 32, "reset", Answer;
    /// Of a flow with a real server that is down, and not to be answered, or the budget for resets is spent.
    ServerDown = 33, "server_down", Drop;
}

/// Counters in `CAUSES`; room for causes to come.
pub const CAUSE_SLOTS: u32 = 64;

const _: () = assert!(Cause::ALL.len() <= CAUSE_SLOTS as usize);

#[cfg(test)]
mod tests {
    use super::{Cause, Verdict};

    #[test]
    fn values_are_dense_and_names_distinct() {
        for (index, cause) in Cause::ALL.iter().enumerate() {
            assert_eq!(*cause as usize, index);
            assert!(Cause::ALL[..index].iter().all(|other| other.name() != cause.name()));
        }
    }

    #[test]
    fn what_loses_no_packet_is_no_drop() {
        let notes = Cause::ALL.iter().filter(|cause| cause.verdict() == Verdict::Note);
        assert!(notes.eq(&[Cause::EmbryonicEvicted, Cause::EntryNotStored]));
    }
}
