//! Datagrams that say to come from somebody else, and those that were recorded and are sent again.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::namespace::Namespace;

/// RFC 791: the header without options, and what it says of the packet.
const IP_HEADER: usize = 20;
const IP_VERSION_AND_LENGTH: u8 = 0x45;
const HOPS: u8 = 64;
/// RFC 768.
const UDP_HEADER: usize = 8;
/// Addresses of the link, and the EtherType.
const FRAME_HEADER: usize = 14;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// UDP over IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub payload: Vec<u8>,
}

impl Datagram {
    /// What a frame carries, if it is one.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let (from, to, transport) = transport(frame, UDP)?;
        Some(Self { from, to, payload: transport.get(UDP_HEADER..)?.to_vec() })
    }

    /// The packet as it is, without a UDP checksum.
    fn packet(&self) -> Result<Vec<u8>> {
        let length = u16::try_from(UDP_HEADER + self.payload.len()).context("too long a datagram")?;
        // The kernel fills in the length, the number and the checksum (raw(7)).
        let mut packet = vec![IP_VERSION_AND_LENGTH, 0, 0, 0, 0, 0, 0, 0, HOPS, UDP, 0, 0];
        packet.extend(self.from.ip().octets());
        packet.extend(self.to.ip().octets());
        for field in [self.from.port(), self.to.port(), length, 0] {
            packet.extend(field.to_be_bytes());
        }
        packet.extend(&self.payload);
        Ok(packet)
    }
}

/// Sends what it is given, whoever it says to come from.
#[derive(Debug)]
pub struct Forger(Socket);

impl Forger {
    pub fn start(machine: &Namespace) -> Result<Self> {
        // 255 (IPPROTO_RAW) comes with its own header.
        let open = || Ok(Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?);
        machine.enter(open).map(Self).with_context(|| format!("in namespace {}", machine.name()))
    }

    pub fn send(&self, datagram: &Datagram) -> Result<()> {
        self.0.send_to(&datagram.packet()?, &datagram.to.into())?;
        Ok(())
    }
}

/// What a frame with a TCP segment carries, and from where to where; nothing of one that carries nothing.
pub fn segment(frame: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4, &[u8])> {
    let (from, to, transport) = transport(frame, TCP)?;
    let header = usize::from(transport.get(12)? >> 4) * 4;
    let payload = transport.get(header..)?;
    (!payload.is_empty()).then_some((from, to, payload))
}

/// The transport header and what follows, and from where to where it goes.
fn transport(frame: &[u8], protocol: u8) -> Option<(SocketAddrV4, SocketAddrV4, &[u8])> {
    let packet = frame.get(FRAME_HEADER..)?;
    if packet.first() != Some(&IP_VERSION_AND_LENGTH) || packet.get(9) != Some(&protocol) {
        return None;
    }
    let length = u16::from_be_bytes([packet[2], packet[3]]);
    let transport = packet.get(IP_HEADER..usize::from(length))?;
    let socket = |address: usize, port: usize| -> Option<SocketAddrV4> {
        let address: [u8; 4] = packet.get(address..address + 4)?.try_into().ok()?;
        let port: [u8; 2] = transport.get(port..port + 2)?.try_into().ok()?;
        Some(SocketAddrV4::new(Ipv4Addr::from(address), u16::from_be_bytes(port)))
    };
    Some((socket(12, 0)?, socket(16, 2)?, transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_was_recorded() {
        let socket = |text: &str| text.parse().unwrap();
        let datagram = Datagram {
            from: socket("10.9.0.2:694"),
            to: socket("10.9.0.1:695"),
            payload: b"a beat".to_vec(),
        };
        let mut packet = datagram.packet().unwrap();
        packet[3] = packet.len() as u8;
        let mut frame = [0; FRAME_HEADER].to_vec();
        frame.extend(&packet);
        // The link fills a short frame up.
        frame.extend([0; 12]);
        assert_eq!(Datagram::of(&frame), Some(datagram));
        assert_eq!(segment(&frame), None, "it is no TCP");
        assert_eq!(Datagram::of(&frame[..FRAME_HEADER + 10]), None);
    }
}
