//! Flows: the 5-tuple, and the one hash both directors and both sides of the kernel agree on.

use crate::address::{Address, Halves};

shared_pod! {
    /// One direction of a flow: the 5-tuple.
    #[derive(Hash)]
    pub struct FlowKey [40] {
        pub source: Address,
        pub destination: Address,
        /// Ports in the machine's byte order.
        pub source_port: u16,
        pub destination_port: u16,
        pub protocol: u8,
        pub reserved: u8,
        /// Apart from `reserved`, since three bytes would be cleared by a call of `memset`.
        pub reserved_tail: u16,
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[inline(always)]
const fn mix(state: u64, word: u64) -> u64 {
    let product = (state ^ word).wrapping_mul(MULTIPLIER);
    product ^ (product >> 29)
}

/// The upper bits are the better ones.
#[inline(always)]
const fn finish(state: u64) -> u64 {
    (state ^ (state >> 32)).wrapping_mul(MULTIPLIER)
}

/// One step for an IPv4 address, two for an IPv6 one.
#[inline(always)]
const fn mix_address(state: u64, address: Halves) -> u64 {
    let state = if address.high == 0 { state } else { mix(state, address.high) };
    mix(state, address.low)
}

impl FlowKey {
    #[inline(always)]
    pub const fn new(
        source: Address,
        source_port: u16,
        destination: Address,
        destination_port: u16,
        protocol: u8,
    ) -> Self {
        Self { source, destination, source_port, destination_port, protocol, reserved: 0, reserved_tail: 0 }
    }

    /// The other direction of the same flow.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self::new(self.destination, self.destination_port, self.source, self.source_port, self.protocol)
    }

    /// Hash of the whole flow, for `mh`.
    #[inline(always)]
    pub fn hash(&self) -> u32 {
        let ports =
            (self.source_port as u64) << 32 | (self.destination_port as u64) << 16 | self.protocol as u64;
        let (source, destination) = (self.source.halves(), self.destination.halves());
        let state = if source.high | destination.high == 0 {
            // Two IPv4 addresses in one step: all that tells them from others is in the upper half of `low`.
            mix(MULTIPLIER, (source.low & V4_OCTETS) | (destination.low >> 32))
        } else {
            mix_address(mix_address(MULTIPLIER, source), destination)
        };
        (finish(mix(state, ports)) >> 32) as u32
    }
}

const V4_OCTETS: u64 = 0xffff_ffff << 32;

/// Hash of one address, for `sh` and `dh`.
#[inline(always)]
pub fn hash_address(address: &Address) -> u32 {
    (finish(mix_address(MULTIPLIER, address.halves())) >> 32) as u32
}

/// Hash of the client's end of a flow, the same in both directions, for the connection table. `seed` keeps
/// strangers from choosing flows that collide.
#[inline(always)]
pub const fn hash_client(seed: u64, client: Halves, port: u16, protocol: u8) -> u32 {
    // Where an IPv4 address has nothing but a constant.
    let ends = client.low ^ (port as u64 | (protocol as u64) << 16);
    let state = if client.high == 0 { seed } else { mix(seed, client.high) };
    (finish(mix(state, ends)) >> 32) as u32
}

/// Hash of an address, port and protocol, of which all 64 bits are to be used from the top.
#[inline(always)]
pub const fn hash_endpoint(address: Halves, port: u16, protocol: u8) -> u64 {
    let ends = address.low ^ (port as u64 | (protocol as u64) << 16);
    let state = if address.high == 0 { MULTIPLIER } else { mix(MULTIPLIER, address.high) };
    finish(mix(state, ends))
}

/// Spreads a hash evenly over `0..slots` without a division.
#[inline(always)]
pub const fn slot_of(hash: u32, slots: u32) -> u32 {
    ((hash as u64 * slots as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    fn flow(client: &str, port: u16) -> FlowKey {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        FlowKey::new(address(client), port, address("10.0.0.3"), 80, 6)
    }

    /// curl's source ports are all even: a hash that leans on one bit would use half of the ring.
    #[test]
    fn even_ports_and_neighbouring_clients_use_the_whole_ring() {
        let slots = 4093;
        let mut hits = vec![0u32; slots as usize];
        for client in 1..=250u8 {
            for port in (32768..=60999).step_by(200) {
                let key = flow(&format!("10.1.0.{client}"), port);
                hits[slot_of(key.hash(), slots) as usize] += 1;
            }
        }
        let flows: u32 = hits.iter().sum();
        let mean = f64::from(flows) / f64::from(slots);
        let chi_square: f64 = hits.iter().map(|&n| (f64::from(n) - mean).powi(2) / mean).sum();
        // Chi-square with 4092 degrees of freedom: mean 4092, standard deviation 90.
        assert!((3600.0..4600.0).contains(&chi_square), "chi-square {chi_square}");
    }

    #[test]
    fn slots_are_in_range() {
        for hash in [0, 1, u32::MAX / 2, u32::MAX] {
            assert!(slot_of(hash, 65537) < 65537);
        }
    }

    #[test]
    fn reversed_twice_is_the_same() {
        let key = flow("10.1.0.1", 4000);
        assert_eq!(key.reversed().reversed(), key);
        assert_ne!(key.reversed(), key);
    }
}
