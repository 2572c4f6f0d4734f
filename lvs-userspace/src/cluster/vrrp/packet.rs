//! Advertisements as they are on the wire: VRRP version 3 (RFC 9568 section 5) and version 2 (RFC 3768 section 5).
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lvs_common::checksum;

use crate::config::model::VrrpVersion;

/// Its number among IP's protocols.
pub(super) const PROTOCOL: u8 = 112;
pub(super) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
pub(super) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// What no router has lowered. Whatever else comes was sent from another network.
pub(super) const HOPS: u8 = 255;

const ADVERTISEMENT: u8 = 1;
const HEADER: usize = 8;
/// Of the address of one IPv4 or IPv6 machine.
const V4: usize = 4;
const V6: usize = 16;
/// That version 2 has behind the addresses.
const AUTHENTICATION: usize = 8;
/// Version 2: none, the only type of RFC 3768. Who uses another one does not listen to us, and is not listened to.
const NO_AUTHENTICATION: u8 = 0;
/// Twelve bits.
const LONGEST_INTERVAL: u16 = 0x0fff;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub version: VrrpVersion,
    pub router_id: u8,
    /// 0: the sender gives up. 255: it owns the addresses.
    pub priority: u8,
    /// Between two of them; hundredths of a second in version 3, seconds in version 2.
    pub interval: Duration,
    /// All of the family they are sent over.
    pub addresses: Vec<IpAddr>,
}

/// An advertisement, and the addresses of the packet it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub advertisement: Advertisement,
    pub source: IpAddr,
    pub destination: IpAddr,
}

/// Why a packet is not listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is no whole VRRP packet")]
    Cut,
    #[error("it has come over a router (hop limit {0})")]
    Routed(u8),
    #[error("its version {0} is not known for this family of addresses")]
    Version(u8),
    #[error("its type {0} is not known")]
    Type(u8),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its interval is 0")]
    Interval,
    #[error(
        "it has authentication (type {kind}), and lvsd has none: remove it from the other machine, or both are active"
    )]
    Authentication { router_id: u8, kind: u8 },
}

impl Advertisement {
    /// What follows the IP header.
    pub fn encode(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let count = self.addresses.len() as u8;
        let mut message =
            vec![self.version.number() << 4 | ADVERTISEMENT, self.router_id, self.priority, count];
        match self.version {
            VrrpVersion::V2 => message.extend([0, self.interval.as_secs().clamp(1, 255) as u8]),
            VrrpVersion::V3 => message.extend(centiseconds(self.interval).to_be_bytes()),
        }
        message.extend([0, 0]);
        for address in &self.addresses {
            match address {
                IpAddr::V4(v4) => message.extend(v4.octets()),
                IpAddr::V6(v6) => message.extend(v6.octets()),
            }
        }
        if self.version == VrrpVersion::V2 {
            message.extend([0; AUTHENTICATION]);
        }
        let sum = checksum::finish(sum(self.version, source, destination, &message));
        message[6..HEADER].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

fn centiseconds(interval: Duration) -> u16 {
    let centiseconds = u16::try_from(interval.as_millis() / 10).unwrap_or(LONGEST_INTERVAL);
    centiseconds.clamp(1, LONGEST_INTERVAL)
}

/// Version 3 includes the pseudo-header, of IPv4 as well (RFC 9568 section 5.2.8); version 2 does not.
fn sum(version: VrrpVersion, source: IpAddr, destination: IpAddr, message: &[u8]) -> u64 {
    let mut sum = 0;
    if version == VrrpVersion::V3 {
        sum = message.len() as u64 + u64::from(PROTOCOL);
        for address in [source, destination] {
            sum = match address {
                IpAddr::V4(v4) => checksum::add_bytes(sum, &v4.octets()),
                IpAddr::V6(v6) => checksum::add_bytes(sum, &v6.octets()),
            };
        }
    }
    checksum::add_bytes(sum, message)
}

/// An IP packet of protocol 112, its header included, checked as RFC 9568 section 7.1 asks.
pub fn decode(packet: &[u8]) -> Result<Received, Refusal> {
    let header = Header::read(packet).ok_or(Refusal::Cut)?;
    if header.hops != HOPS {
        return Err(Refusal::Routed(header.hops));
    }
    let Header { source, destination, message, .. } = header;
    let [kind, router_id, priority, count, a, b, _, _, ..] = *message else { return Err(Refusal::Cut) };
    let version = match (kind >> 4, source) {
        (2, IpAddr::V4(_)) => VrrpVersion::V2,
        (3, _) => VrrpVersion::V3,
        (other, _) => return Err(Refusal::Version(other)),
    };
    if kind & 0x0f != ADVERTISEMENT {
        return Err(Refusal::Type(kind & 0x0f));
    }
    let length = if source.is_ipv4() { V4 } else { V6 };
    let addresses =
        message.get(HEADER..HEADER + usize::from(count) * length).filter(|bytes| !bytes.is_empty());
    let addresses = addresses.ok_or(Refusal::Cut)?;
    if checksum::finish(sum(version, source, destination, message)) != 0 {
        return Err(Refusal::Checksum);
    }
    let interval = match version {
        VrrpVersion::V2 if a != NO_AUTHENTICATION => {
            return Err(Refusal::Authentication { router_id, kind: a });
        }
        VrrpVersion::V2 => Duration::from_secs(b.into()),
        VrrpVersion::V3 => {
            Duration::from_millis(u64::from(u16::from_be_bytes([a, b]) & LONGEST_INTERVAL) * 10)
        }
    };
    if interval.is_zero() {
        return Err(Refusal::Interval);
    }
    let addresses = addresses.chunks_exact(length).filter_map(address).collect();
    let advertisement = Advertisement { version, router_id, priority, interval, addresses };
    Ok(Received { advertisement, source, destination })
}

/// Of the packet.
struct Header<'a> {
    source: IpAddr,
    destination: IpAddr,
    hops: u8,
    message: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let header = packet.get(..20)?;
                let start = usize::from(header[0] & 0x0f) * 4;
                let message = packet.get(start.max(20)..u16::from_be_bytes([header[2], header[3]]).into())?;
                // Advertisements are never so long that they come in fragments.
                let is_whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
                let (source, destination) = (address(&header[12..16])?, address(&header[16..20])?);
                (is_whole && header[9] == PROTOCOL).then_some(Self {
                    source,
                    destination,
                    hops: header[8],
                    message,
                })
            }
            6 => {
                let (header, rest) = packet.split_at_checked(40)?;
                let message = rest.get(..u16::from_be_bytes([header[4], header[5]]).into())?;
                let (source, destination) = (address(&header[8..24])?, address(&header[24..40])?);
                (header[6] == PROTOCOL).then_some(Self { source, destination, hops: header[7], message })
            }
            _ => None,
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        V4 => Some(<[u8; V4]>::try_from(bytes).ok()?.into()),
        V6 => Some(<[u8; V6]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn advertisement(version: VrrpVersion, addresses: &[&str]) -> Advertisement {
        let addresses = addresses.iter().map(|address| ip(address)).collect();
        Advertisement { version, router_id: 51, priority: 150, interval: Duration::from_secs(1), addresses }
    }

    /// The message with an IP header in front.
    fn packet(message: &[u8], source: IpAddr, destination: IpAddr, hops: u8) -> Vec<u8> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = (20 + message.len() as u16).to_be_bytes();
                let header = [0x45, 0xc0, length[0], length[1], 0, 1, 0, 0, hops, PROTOCOL, 0, 0];
                [&header[..], &source.octets(), &destination.octets(), message].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let length = (message.len() as u16).to_be_bytes();
                let header = [0x60, 0, 0, 0, length[0], length[1], PROTOCOL, hops];
                [&header[..], &source.octets(), &destination.octets(), message].concat()
            }
            _ => panic!("two families"),
        }
    }

    #[test]
    fn version_2_is_as_in_the_rfc() {
        let one = advertisement(VrrpVersion::V2, &["192.0.2.10"]);
        let message = one.encode(ip("10.0.0.1"), GROUP_V4.into());
        // The checksum by hand: 2133 + 9601 + 0001 + c000 + 020a = 1793f, folded 7940.
        let expected = [0x21, 51, 150, 1, 0, 1, 0x86, 0xbf, 192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(message, expected);
        let received = decode(&packet(&message, ip("10.0.0.1"), GROUP_V4.into(), 255)).unwrap();
        assert_eq!(received.advertisement, one);
        assert_eq!((received.source, received.destination), (ip("10.0.0.1"), GROUP_V4.into()));
    }

    #[test]
    fn version_3_is_as_in_the_rfc() {
        let one = advertisement(VrrpVersion::V3, &["192.0.2.10"]);
        let message = one.encode(ip("10.0.0.1"), GROUP_V4.into());
        // As above without authentication: 3133 + 9601 + 0064 + c000 + 020a = 189a2, and the pseudo-header:
        // 0a00 + 0001 + e000 + 0012 + 0070 + 000c = ea8f, together 27431, folded 7433.
        assert_eq!(message, [0x31, 51, 150, 1, 0, 100, 0x8b, 0xcc, 192, 0, 2, 10]);
        let (source, group) = (ip("fe80::1"), IpAddr::from(GROUP_V6));
        let one = advertisement(VrrpVersion::V3, &["fe80::51", "2001:db8::10"]);
        let message = one.encode(source, group);
        assert_eq!(message.len(), 8 + 32);
        assert_eq!(decode(&packet(&message, source, group, 255)).unwrap().advertisement, one);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_refused() {
        let (source, group) = (ip("10.0.0.1"), IpAddr::from(GROUP_V4));
        let good = advertisement(VrrpVersion::V3, &["192.0.2.10"]).encode(source, group);
        let refusal = |message: &[u8], hops| decode(&packet(message, source, group, hops)).unwrap_err();
        let with = |position: usize, value: u8| {
            let mut message = good.clone();
            message[position] = value;
            message[6..8].fill(0);
            let version = if message[0] >> 4 == 2 { VrrpVersion::V2 } else { VrrpVersion::V3 };
            let sum = checksum::finish(sum(version, source, group, &message));
            message[6..8].copy_from_slice(&sum.to_be_bytes());
            message
        };
        assert_eq!(refusal(&good, 254), Refusal::Routed(254));
        assert_eq!(refusal(&with(0, 0x41), 255), Refusal::Version(4));
        assert_eq!(refusal(&with(0, 0x32), 255), Refusal::Type(2));
        assert_eq!(refusal(&with(3, 2), 255), Refusal::Cut, "more addresses than there are");
        assert_eq!(refusal(&with(3, 0), 255), Refusal::Cut, "none at all");
        assert_eq!(refusal(&with(5, 0), 255), Refusal::Interval);
        let mut changed = good.clone();
        changed[2] ^= 1;
        assert_eq!(refusal(&changed, 255), Refusal::Checksum);
        let mut authenticated = advertisement(VrrpVersion::V2, &["192.0.2.10"]).encode(source, group);
        for kind in 0..=2 {
            let router_id = authenticated[1];
            let refusal = Refusal::Authentication { router_id, kind };
            let outcome = if kind == 0 { Ok(()) } else { Err(refusal) };
            authenticated[4] = kind;
            authenticated[6..8].fill(0);
            let sum = checksum::finish(checksum::add_bytes(0, &authenticated));
            authenticated[6..8].copy_from_slice(&sum.to_be_bytes());
            assert_eq!(decode(&packet(&authenticated, source, group, 255)).map(drop), outcome);
        }
        let (source, group) = (ip("fe80::1"), IpAddr::from(GROUP_V6));
        let old = Advertisement { version: VrrpVersion::V2, ..advertisement(VrrpVersion::V3, &["fe80::51"]) };
        let message = old.encode(source, group);
        assert_eq!(decode(&packet(&message, source, group, 255)), Err(Refusal::Version(2)));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            (is_v6, is_v2) in prop_oneof![Just((false, true)), Just((false, false)), Just((true, false))],
            router_id in 1..=255_u8,
            priority: u8,
            interval in 1..=4095_u64,
            addresses in prop::collection::vec(any::<u128>(), 1..20),
        ) {
            let family = |bits: u128| match is_v6 {
                true => IpAddr::from(Ipv6Addr::from(bits)),
                false => IpAddr::from(Ipv4Addr::from(bits as u32)),
            };
            let (version, interval) = match is_v2 {
                true => (VrrpVersion::V2, Duration::from_secs(interval % 255 + 1)),
                false => (VrrpVersion::V3, Duration::from_millis(interval * 10)),
            };
            let (source, destination) = (family(addresses[0]), family(!addresses[0]));
            let addresses = addresses.into_iter().map(family).collect();
            let one = Advertisement { version, router_id, priority, interval, addresses };
            let bytes = packet(&one.encode(source, destination), source, destination, HOPS);
            prop_assert_eq!(decode(&bytes), Ok(Received { advertisement: one, source, destination }));
        }

        #[test]
        fn nothing_on_the_wire_breaks_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let mut bytes = bytes;
            for first in [0x45, 0x60] {
                if let Some(byte) = bytes.first_mut() {
                    *byte = first;
                }
                let before = bytes.clone();
                let outcome = decode(&bytes);
                prop_assert!(outcome.is_err() || bytes.len() > 28, "{:?}", before);
            }
        }
    }
}
