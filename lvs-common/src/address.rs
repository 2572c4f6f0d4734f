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

/// An address as two numbers. Of an IPv4 address `high` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halves {
    pub high: u64,
    pub low: u64,
}

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Address {
    /// `::`, which no packet and no service may carry; stands for "none".
    pub const UNSPECIFIED: Self = Self { bytes: [0; 16] };

    /// Made of words, not of bytes: the kernel's side keeps it in registers.
    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
        Self { bytes: zerocopy::transmute!([0, 0, mapped, u32::from_ne_bytes(octets)]) }
    }

    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self { bytes: octets }
    }

    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        let halves = self.halves();
        halves.high == 0 && halves.low as u32 == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }

    /// The four octets of an IPv4 address; of an IPv6 address, its last four.
    #[inline(always)]
    pub const fn v4_octets(&self) -> [u8; 4] {
        [self.bytes[12], self.bytes[13], self.bytes[14], self.bytes[15]]
    }

    /// The bytes, four at a time.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        zerocopy::transmute!(self.bytes)
    }

    /// Both halves as numbers in the machine's order, for comparing and hashing.
    #[inline(always)]
    pub const fn halves(&self) -> Halves {
        let words = self.words();
        Halves {
            high: words[0] as u64 | (words[1] as u64) << 32,
            low: words[2] as u64 | (words[3] as u64) << 32,
        }
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
