//! What a scheduler needs to know of a destination.

use std::net::IpAddr;

use crate::config::model::RealServer;

/// One destination of a service, as a scheduler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub key: StableKey,
    /// Its position within the service, as rings name it.
    pub position: u16,
    /// 0 = takes no new flow.
    pub weight: u32,
}

/// What a real server is known by on every director: its address and port, whatever its position here,
/// its weight or its forwarding method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StableKey {
    address: IpAddr,
    port: u16,
}

impl StableKey {
    pub const fn new(address: IpAddr, port: u16) -> Self {
        Self { address, port }
    }

    /// A number that depends on the key and `seed` alone: two directors must build the same rings, so
    /// neither the machine nor the compiler may have a say in it.
    pub fn hash(&self, seed: u64) -> u64 {
        let bits = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        [(bits >> 64) as u64, bits as u64, u64::from(self.port)]
            .into_iter()
            .fold(scramble(seed), |state, word| scramble(state ^ word))
    }
}

impl From<&RealServer> for StableKey {
    fn from(server: &RealServer) -> Self {
        Self::new(server.address, server.port)
    }
}

/// The output function of SplitMix64: every bit of the result depends on every bit of `word`.
const fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Members that take new flows, in an order that does not depend on the caller's.
pub(super) fn in_stable_order(members: &[Member]) -> Vec<Member> {
    let mut sorted: Vec<Member> = members.iter().copied().filter(|member| member.weight > 0).collect();
    sorted.sort_unstable_by_key(|member| (member.key, member.position));
    sorted
}

#[cfg(test)]
mod tests {
    use super::StableKey;

    /// Directors of different versions share rings: these values may never change.
    #[test]
    fn the_hash_is_fixed() {
        let v4 = StableKey::new("192.0.2.1".parse().unwrap(), 80);
        let v6 = StableKey::new("2001:db8::1".parse().unwrap(), 0);
        assert_eq!(
            (v4.hash(1), v4.hash(2), v6.hash(1)),
            (9_082_096_485_599_243_412, 7_862_550_039_967_781_323, 821_449_497_233_973_781)
        );
    }
}
