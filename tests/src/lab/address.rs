//! Who has which address. The same plan in every shape, since every lab has namespaces of its own:
//!
//! | net     | IPv4          | IPv6       | who                                                          |
//! |---------|---------------|------------|--------------------------------------------------------------|
//! | clients | 10.1.0.0/24   | fd01::/64  | client .1, director .2, VIPs from .100 on                      |
//! | servers | 10.0.0.0/24   | fd00::/64  | director .2, router .3, real servers from .11 on               |
//! | far     | 10.2.0.0/24   | fd02::/64  | router .3, real servers behind it from .11 on                  |
//! | distant | 10.3.0.0/24   | fd03::/64  | a client (.1) whose router (.3) is the other client            |

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The flag of `ip`, `dig` and others.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    /// What `ip -family` calls it.
    pub const fn ip_name(self) -> &'static str {
        match self {
            Self::V4 => "inet",
            Self::V6 => "inet6",
        }
    }

    /// Prefix length of a single address.
    pub const fn host_bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// Prefix length of the lab's nets.
    pub const fn net_bits(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One of the lab's nets. The number is its place in the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    Servers = 0,
    Clients = 1,
    Far = 2,
    Distant = 3,
}

impl Net {
    /// The net itself, as `ip route` wants it.
    pub fn prefix(self, family: Family) -> String {
        format!("{}/{}", host(self, family, 0), family.net_bits())
    }
}

/// The director's host number.
pub const DIRECTOR: u8 = 2;

/// Address of host number `host` of a net. IPv6 addresses show the same digits as IPv4 ones.
pub fn host(net: Net, family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, net as u8, 0, host).into(),
        Family::V6 => Ipv6Addr::new(0xfd00 + net as u16, 0, 0, 0, 0, 0, 0, decimal_as_hex(host)).into(),
    }
}

pub fn client(family: Family) -> IpAddr {
    host(Net::Clients, family, 1)
}

/// The director, seen from one of its nets.
pub fn director(net: Net, family: Family) -> IpAddr {
    host(net, family, DIRECTOR)
}

/// The router, seen from one of its nets.
pub fn router(net: Net, family: Family) -> IpAddr {
    host(net, family, 3)
}

/// Virtual address number `index`, from 0.
pub fn vip(family: Family, index: u8) -> IpAddr {
    host(Net::Clients, family, 100 + index)
}

/// Real server number `number`, from 1, in the servers' net or behind the router.
pub fn real_server(net: Net, family: Family, number: usize) -> IpAddr {
    // The lab has a handful of servers; more than 89 would run into the VIPs' digits.
    host(net, family, 10 + u8::try_from(number).unwrap_or(u8::MAX - 10))
}

/// 100 becomes 0x100, which IPv6 notation shows as `100`.
fn decimal_as_hex(number: u8) -> u16 {
    let number = u16::from(number);
    ((number / 100) << 8) | ((number / 10 % 10) << 4) | (number % 10)
}

/// `[fd01::100]:80` or `10.1.0.100:80`.
pub fn with_port(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_show_the_same_digits() {
        assert_eq!(vip(Family::V4, 1).to_string(), "10.1.0.101");
        assert_eq!(vip(Family::V6, 1).to_string(), "fd01::101");
        assert_eq!(real_server(Net::Far, Family::V6, 2).to_string(), "fd02::12");
        assert_eq!(Net::Servers.prefix(Family::V4), "10.0.0.0/24");
        assert_eq!(Net::Servers.prefix(Family::V6), "fd00::/64");
    }
}
