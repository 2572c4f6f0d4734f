//! What a packet does to a connection: pure, the same rules as IPVS's state tables.
//!
//! A director sees both directions of a nat connection, but only the client's packets with dr and ipip;
//! a FIN from the client is then all it will ever learn of the end.

/// States. Values are part of the layout; all are below 16.
pub mod state {
    pub const NONE: u32 = 0;
    pub const ESTABLISHED: u32 = 1;
    /// The real server called the client.
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECEIVED: u32 = 3;
    pub const FIN_WAIT: u32 = 4;
    pub const TIME_WAIT: u32 = 5;
    pub const CLOSE: u32 = 6;
    pub const CLOSE_WAIT: u32 = 7;
    pub const LAST_ACK: u32 = 8;
    pub const SYN_ACK: u32 = 9;
    pub const UDP: u32 = 10;
    /// Being written: no connection yet.
    pub const BUSY: u32 = 14;
    /// Retired: whoever put this in has settled the counts; the entry is about to go.
    pub const DEAD: u32 = 15;

    /// The name `ipvsadm -Lc` gives the state.
    pub const fn name(state: u32) -> &'static str {
        match state {
            ESTABLISHED => "ESTABLISHED",
            SYN_SENT => "SYN_SENT",
            SYN_RECEIVED => "SYN_RECV",
            FIN_WAIT => "FIN_WAIT",
            TIME_WAIT => "TIME_WAIT",
            CLOSE => "CLOSE",
            CLOSE_WAIT => "CLOSE_WAIT",
            LAST_ACK => "LAST_ACK",
            SYN_ACK => "SYNACK",
            UDP => "UDP",
            DEAD => "DEAD",
            _ => "NONE",
        }
    }

    /// An entry in this state holds a connection.
    #[inline(always)]
    pub const fn is_live(state: u32) -> bool {
        !matches!(state, NONE | BUSY | DEAD)
    }

    /// Counts as an active connection; every other state but [`DEAD`] counts as inactive.
    #[inline(always)]
    pub const fn is_active(state: u32) -> bool {
        matches!(state, ESTABLISHED | SYN_SENT | SYN_RECEIVED | SYN_ACK)
    }

    /// Over for the client: a new SYN begins a new connection.
    #[inline(always)]
    pub const fn is_closing(state: u32) -> bool {
        matches!(state, FIN_WAIT | TIME_WAIT | CLOSE | CLOSE_WAIT | LAST_ACK | DEAD)
    }
}

/// TCP flags as they stand in the header's 14th byte (RFC 9293 section 3.1).
pub mod tcp_flags {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const RST: u8 = 0x04;
    pub const ACK: u8 = 0x10;
}

/// Who sent the packet, and what the director gets to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// From the client; the real server's packets pass the director too (nat).
    FromClient,
    /// From the real server (nat).
    FromServer,
    /// From the client; the real server answers past the director (dr, ipip).
    FromClientOnly,
}

/// The state after a TCP packet with `flags`. A packet with none of RST, SYN, FIN, ACK changes nothing;
/// of several flags the first in that order counts.
#[inline(always)]
pub const fn next(current: u32, flags: u8, seen: Seen) -> u32 {
    use state::*;
    let from_server = matches!(seen, Seen::FromServer);
    if flags & tcp_flags::RST != 0 {
        return match (current, from_server) {
            (SYN_RECEIVED, false) => SYN_RECEIVED,
            (TIME_WAIT, true) => TIME_WAIT,
            (SYN_SENT, true) => SYN_SENT,
            (LAST_ACK, false) => LAST_ACK,
            _ => CLOSE,
        };
    }
    if flags & tcp_flags::SYN != 0 {
        return match (current, from_server) {
            (ESTABLISHED, _) => ESTABLISHED,
            (SYN_SENT, false) => ESTABLISHED,
            (_, false) => SYN_RECEIVED,
            (SYN_RECEIVED | SYN_ACK, true) => SYN_RECEIVED,
            (_, true) => SYN_SENT,
        };
    }
    if flags & tcp_flags::FIN != 0 {
        return match (current, seen) {
            (NONE, Seen::FromServer) => TIME_WAIT,
            (NONE, _) => CLOSE,
            (ESTABLISHED, Seen::FromClient) => CLOSE_WAIT,
            (ESTABLISHED, _) => FIN_WAIT,
            (SYN_RECEIVED | SYN_ACK | TIME_WAIT, _) => TIME_WAIT,
            (FIN_WAIT, Seen::FromClient) => TIME_WAIT,
            (CLOSE_WAIT, Seen::FromServer) => TIME_WAIT,
            (other, _) => other,
        };
    }
    if flags & tcp_flags::ACK != 0 {
        return match (current, from_server) {
            (NONE | SYN_RECEIVED | SYN_ACK, _) => ESTABLISHED,
            (LAST_ACK, false) => CLOSE,
            (other, _) => other,
        };
    }
    current
}

#[cfg(test)]
mod tests {
    use super::{Seen::*, next, state::*, tcp_flags::*};

    fn run(seen: impl Fn(usize) -> super::Seen, flags: &[u8]) -> Vec<u32> {
        let mut state = NONE;
        flags
            .iter()
            .enumerate()
            .map(|(index, &flags)| {
                state = next(state, flags, seen(index));
                state
            })
            .collect()
    }

    #[test]
    fn dr_sees_one_side_of_a_whole_life() {
        let states = run(|_| FromClientOnly, &[SYN, ACK, ACK, FIN | ACK, ACK]);
        assert_eq!(states, [SYN_RECEIVED, ESTABLISHED, ESTABLISHED, FIN_WAIT, FIN_WAIT]);
    }

    #[test]
    fn nat_sees_both_sides_client_closes_first() {
        let sides = [FromClient, FromServer, FromClient, FromClient, FromServer, FromClient];
        let states = run(|i| sides[i], &[SYN, SYN | ACK, ACK, FIN | ACK, FIN | ACK, ACK]);
        assert_eq!(states, [SYN_RECEIVED, SYN_RECEIVED, ESTABLISHED, CLOSE_WAIT, TIME_WAIT, TIME_WAIT]);
    }

    #[test]
    fn nat_sees_both_sides_server_closes_first() {
        let sides = [FromClient, FromServer, FromClient, FromServer, FromClient];
        let states = run(|i| sides[i], &[SYN, SYN | ACK, ACK, FIN | ACK, FIN | ACK]);
        assert_eq!(states, [SYN_RECEIVED, SYN_RECEIVED, ESTABLISHED, FIN_WAIT, TIME_WAIT]);
    }

    #[test]
    fn a_reset_ends_it() {
        assert_eq!(next(ESTABLISHED, RST, FromClientOnly), CLOSE);
        assert_eq!(next(ESTABLISHED, RST | ACK, FromServer), CLOSE);
        assert_eq!(next(TIME_WAIT, RST, FromServer), TIME_WAIT);
    }

    #[test]
    fn the_port_of_a_closed_connection_serves_again() {
        for closed in [FIN_WAIT, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK] {
            assert_eq!(next(closed, SYN, FromClientOnly), SYN_RECEIVED);
        }
        assert_eq!(next(ESTABLISHED, SYN, FromClientOnly), ESTABLISHED, "a late or forged SYN");
    }

    #[test]
    fn every_state_and_flag_stays_in_range() {
        for state in 0..16 {
            for flags in 0..=u8::MAX {
                for seen in [FromClient, FromServer, FromClientOnly] {
                    assert!(next(state, flags, seen) < 16);
                }
            }
        }
    }
}
