//! `type: icmp`: an echo request is answered (RFC 792, RFC 4443 section 4).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use lvs_common::checksum;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Failure, udp};
use crate::config::model::Check;

/// Tells our requests apart: identifier and sequence number.
static NEXT: AtomicU32 = AtomicU32::new(1);
const PAYLOAD: &[u8; 16] = b"lvsd is checking";
const HEADER: usize = 8;

pub(super) async fn probe(check: &Check) -> Result<String, Failure> {
    let local = |what| move |error| Failure::Local { what, error };
    let (domain, protocol) = match check.address.is_ipv4() {
        true => (Domain::IPV4, Protocol::ICMPV4),
        false => (Domain::IPV6, Protocol::ICMPV6),
    };
    // A raw socket sees every answer to anybody on the machine; the other kind needs leave by
    // net.ipv4.ping_group_range, and lets the kernel choose the identifier.
    let (socket, is_raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => (socket, false),
        Err(_) => (Socket::new(domain, Type::RAW, Some(protocol)).map_err(local("no socket"))?, true),
    };
    socket.set_nonblocking(true).map_err(local("no socket"))?;
    if let Some(interface) = &check.interface {
        socket.bind_device(Some(interface.as_bytes())).map_err(local("cannot use the interface"))?;
    }
    if let Some(source) = check.source {
        socket.bind(&SocketAddr::new(source, 0).into()).map_err(local("cannot use the source address"))?;
    }
    socket.connect(&SocketAddr::new(check.address, 0).into()).map_err(Failure::Connecting)?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let request = request(check.address.is_ipv4(), number);
    // Sending and receiving are the same calls for both kinds of sockets.
    let socket = UdpSocket::from_std(socket.into()).map_err(local("cannot wait for the socket"))?;
    socket.send(&request).await.map_err(Failure::Connecting)?;
    loop {
        let answer = udp::receive(&socket).await?;
        if is_answer(&answer, check.address.is_ipv4(), is_raw, number) {
            return Ok("answered".to_owned());
        }
    }
}

fn request(is_ipv4: bool, number: u32) -> Vec<u8> {
    let mut packet = vec![if is_ipv4 { 8 } else { 128 }, 0, 0, 0];
    packet.extend(number.to_be_bytes());
    packet.extend(PAYLOAD);
    if is_ipv4 {
        // With ICMPv6 the kernel adds it, since it covers the addresses.
        let checksum = checksum::finish(checksum::add_bytes(0, &packet));
        packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

/// The kernel gives a raw IPv4 socket the IP header too, and sets the identifier of the other kind itself.
fn is_answer(packet: &[u8], is_ipv4: bool, is_raw: bool, number: u32) -> bool {
    let header = match packet.first() {
        Some(first) if is_ipv4 && is_raw => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let Some(message) = packet.get(header..).filter(|message| message.len() >= HEADER) else { return false };
    let [identifier_high, identifier_low, sequence @ ..] = number.to_be_bytes();
    let is_reply = message[0] == if is_ipv4 { 0 } else { 129 };
    let is_identifier = !is_raw || message[4..6] == [identifier_high, identifier_low];
    is_reply && is_identifier && message[6..8] == sequence && &message[HEADER..] == PAYLOAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing_and_its_echo_is_known() {
        let packet = request(true, 0x0102_0304);
        assert_eq!(checksum::finish(checksum::add_bytes(0, &packet)), 0);
        let mut reply = packet;
        reply[0] = 0;
        assert!(is_answer(&reply, true, false, 0x0102_0304));
        assert!(!is_answer(&reply, true, false, 0x0102_0305));
        assert!(is_answer(&reply, true, false, 0xffff_0304), "the identifier is the kernel's");
        let with_header = [&[0x45; 20][..], &reply].concat();
        assert!(is_answer(&with_header, true, true, 0x0102_0304));
        assert!(!is_answer(&with_header, true, true, 0xffff_0304));
        assert!(!is_answer(&[0x4f], true, true, 1) && !is_answer(&[], false, false, 1));
    }
}
