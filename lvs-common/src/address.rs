//! One 16-byte form for IPv4 and IPv6 addresses.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

shared_pod! {
    /// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), in network
    /// byte order. Aligned to 4 so that the kernel's side copies words instead of bytes.
    #[derive(Hash, PartialOrd, Ord)]
    #[repr(align(4))]
    pub struct Address [16] {
        pub bytes: [u8; 16],
    }
}

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Address {
    /// `::`, which no packet and no service may carry; stands for "none".
    pub const UNSPECIFIED: Self = Self { bytes: [0; 16] };

    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self { bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] }
    }

    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self { bytes: octets }
    }

    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        let (high, mapped, _) = self.words();
        high == 0 && mapped == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }

    /// The four octets of an IPv4 address; of an IPv6 address, its last four.
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        [self.bytes[12], self.bytes[13], self.bytes[14], self.bytes[15]]
    }

    /// First 8 bytes, next 4, last 4, each as a number in the machine's order.
    #[inline(always)]
    fn words(&self) -> (u64, u32, u32) {
        let b = &self.bytes;
        (
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        )
    }

    /// Both halves as numbers in the machine's order, for hashing.
    #[inline(always)]
    pub fn halves(&self) -> (u64, u64) {
        let (high, middle, low) = self.words();
        (high, (middle as u64) << 32 | low as u64)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.bytes[..12] == V4_MAPPED {
            Self::V4(Ipv4Addr::from(address.v4_octets()))
        } else {
            Self::V6(Ipv6Addr::from(address.bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["10.0.0.3", "255.255.255.255", "2001:db8::3", "fe80::1"] {
            let address: IpAddr = text.parse().unwrap();
            let shared = Address::from(address);
            assert_eq!(IpAddr::from(shared), address);
            assert_eq!(shared.is_v4(), address.is_ipv4());
        }
    }
}
