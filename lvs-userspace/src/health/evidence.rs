//! Evidence from the data plane that a real server answers nobody. Pure. It decides nothing: the next probe of the
//! server comes sooner.

use std::collections::BTreeMap;

use lvs_common::counters::Counters;

/// So many new connections in a row without one that was accepted.
const UNANSWERED: u64 = 3;

/// Bytes of an IP packet with a TCP header and nothing else: a reset, an acknowledgement. Whoever accepts a
/// connection says how long its segments may be (RFC 9293 section 3.7.1), which is longer.
const BARE_V4: u64 = 40;
const BARE_V6: u64 = 60;

/// What was counted for one destination of a TCP service that is reached by nat.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Index of the destination, and who has it.
    pub index: u32,
    pub generation: u32,
    pub is_ipv4: bool,
    pub counters: Counters,
}

/// What is known of the destinations.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    seen: BTreeMap<u32, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    counted: Counted,
    /// New connections since one was accepted, or since it was said that none is.
    unanswered: u64,
}

impl Evidence {
    /// Takes what is counted by now; the indices of destinations that seem to accept no connection. Each is named
    /// again only for new connections.
    pub fn weigh(&mut self, counted: impl IntoIterator<Item = Counted>) -> Vec<u32> {
        let mut former = std::mem::take(&mut self.seen);
        let mut suspects = Vec::new();
        for now in counted {
            let before = former.remove(&now.index).filter(|seen| seen.counted.generation == now.generation);
            let mut unanswered = before.map_or(0, |seen| seen.after(&now));
            if unanswered >= UNANSWERED {
                suspects.push(now.index);
                unanswered = 0;
            }
            self.seen.insert(now.index, Seen { counted: now, unanswered });
        }
        suspects
    }
}

impl Seen {
    fn after(&self, now: &Counted) -> u64 {
        let (before, after) = (&self.counted.counters, &now.counters);
        let packets = after.packets_out.wrapping_sub(before.packets_out);
        let bytes = after.bytes_out.wrapping_sub(before.bytes_out);
        let bare = if now.is_ipv4 { BARE_V4 } else { BARE_V6 };
        if bytes > packets.saturating_mul(bare) {
            return 0;
        }
        self.unanswered.saturating_add(after.connections.wrapping_sub(before.connections))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections, packets and bytes out, all since the beginning.
    fn counted(connections: u64, packets_out: u64, bytes_out: u64) -> Counted {
        let counters = Counters { connections, packets_in: 0, bytes_in: 0, packets_out, bytes_out };
        Counted { index: 7, generation: 1, is_ipv4: true, counters }
    }

    #[test]
    fn who_accepts_no_connection_is_named_once_for_each_few() {
        for (what, rounds, expected) in [
            ("silent", &[(0, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (6, 0, 0)][..], &[2, 4][..]),
            ("resets", &[(0, 0, 0), (2, 2, 80), (4, 4, 160)], &[2]),
            ("accepts", &[(0, 0, 0), (2, 2, 88), (9, 9, 396)], &[]),
            ("accepts one of them", &[(0, 0, 0), (2, 0, 0), (4, 2, 84), (6, 2, 84), (7, 2, 84)], &[4]),
            ("nobody comes", &[(0, 0, 0), (0, 0, 0), (0, 9, 360)], &[]),
            ("known for the first time", &[(100, 0, 0), (100, 0, 0)], &[]),
        ] {
            let mut evidence = Evidence::default();
            let named: Vec<_> = (0..)
                .zip(rounds)
                .filter(|(_, (connections, packets, bytes))| {
                    !evidence.weigh([counted(*connections, *packets, *bytes)]).is_empty()
                })
                .map(|(round, _)| round)
                .collect();
            assert_eq!(named, expected, "{what}");
        }
    }

    #[test]
    fn headers_of_ipv6_are_longer() {
        let v6 =
            |connections, packets, bytes| Counted { is_ipv4: false, ..counted(connections, packets, bytes) };
        let mut evidence = Evidence::default();
        evidence.weigh([v6(0, 0, 0)]);
        assert_eq!(evidence.weigh([v6(3, 3, 180)]), [7]);
        assert_eq!(evidence.weigh([v6(6, 6, 372)]), [0; 0]);
    }

    #[test]
    fn another_owner_of_the_index_begins_anew() {
        let mut evidence = Evidence::default();
        evidence.weigh([counted(0, 0, 0)]);
        evidence.weigh([counted(2, 0, 0)]);
        assert_eq!(evidence.weigh([Counted { generation: 2, ..counted(9, 0, 0) }]), [0; 0]);
        evidence.weigh([]);
        assert_eq!(evidence.weigh([counted(20, 0, 0)]), [0; 0], "it was away");
    }
}
