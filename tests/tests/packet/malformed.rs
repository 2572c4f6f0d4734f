//! Frames whose headers contradict their length or each other: to a service they are dropped with a cause,
//! never sent on, never answered, never given to the kernel.

use etherparse::err::{LenError, packet::SliceError};
use etherparse::{SlicedPacket, TransportSlice};
use lvs_common::cause::Cause;
use lvs_tests::lab::checksums::check_frame;
use lvs_tests::packet::frame::{Ip, Tcp, number, packet_of, tcp_flag};
use lvs_tests::packet::{Expect, Side, Verdict, World, show};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::traffic::*;

use Side::{Back, Front};

fn world() -> World {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            for (port, rest) in [
                (80, servers(&[family.back])),
                (81, format!("forward: nat, real_servers: [{{address: \"{}\", port: 8080}}]", family.back)),
                (82, format!("forward: ipip, {}", servers(&[family.back]))),
                (83, "real_servers: []".to_owned()),
            ] {
                let name = format!("{}-{protocol}-{port}", family.name);
                services += &service(&name, family.vip, port, protocol, &rest);
            }
        }
    }
    let mut world = World::new(&services);
    // Some of it is answered; the budget for that is not the subject here.
    world.settings(|settings| settings.errors_per_second = 1_000_000);
    world
}

/// A frame, where it comes in, and whether a VIP is its destination.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    side: Side,
    frame: Vec<u8>,
    to_vip: bool,
}

/// A valid frame of every kind that the program does something with. Run in this order, each finds what it
/// needs.
fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for family in FAMILIES {
        let mut add = |name: &str, side, frame: Vec<u8>| {
            let name = format!("{} {name}", family.name);
            samples.push(Sample { name, side, frame, to_vip: side == Front });
        };
        let ip = family.request();
        for (protocol, number) in PROTOCOLS {
            for port in 80..84 {
                let frame = FROM_CLIENT.frame(&opening(number, &ip, (4000, port), b"payload"));
                add(&format!("{protocol} to port {port}"), Front, frame);
            }
            let reply = opening(number, &family.reply(family.back), (8080, 4000), b"answer");
            add(&format!("{protocol} nat reply"), Back, link_from(Back, family.back).frame(&reply));
            let reply = opening(number, &family.reply(family.vip), (80, 4000), b"answer");
            add(&format!("{protocol} dr reply"), Back, link_from(Back, family.back).frame(&reply));
            let long = ip.with(|ip| {
                ip.options = vec![1; 12];
                ip.extensions =
                    vec![(number::HOP_BY_HOP, 0), (number::ROUTING, 1), (number::DESTINATION_OPTIONS, 0)];
            });
            for port in 80..83 {
                let frame = FROM_CLIENT.tagged(3).frame(&opening(number, &long, (4000, port), b"payload"));
                add(&format!("{protocol} with a tag and options to port {port}"), Front, frame);
            }
        }
        let options = Tcp { options: vec![1; 40], ..syn(4000, 80) };
        add("TCP options", Front, FROM_CLIENT.frame(&ip.tcp_packet(&options, b"")));
        let echo = ip.icmp_packet(family.echo_request, 0, [0, 1, 0, 2], b"ping");
        add("echo", Front, FROM_CLIENT.frame(&echo));
        for port in 80..83 {
            for (protocol, number) in PROTOCOLS {
                let mut quoted = opening(number, &family.reply(family.vip), (port, 4000), b"data");
                quoted.truncate(family.reply(family.vip).header_length() + 8);
                let (kind, code) = family.port_unreachable;
                let frame = FROM_CLIENT.frame(&ip.icmp_packet(kind, code, [0; 4], &quoted));
                add(&format!("an error about {protocol} port {port}"), Front, frame);
            }
        }
        let (kind, code) = family.port_unreachable;
        let mut quoted = opening(number::UDP, &ip.to(family.back), (4000, 8080), b"data");
        quoted.truncate(ip.header_length() + 8);
        let error = family.reply(family.back).icmp_packet(kind, code, [0; 4], &quoted);
        add("an error about nat", Back, link_from(Back, family.back).frame(&error));
        for port in 80..83 {
            let datagram = ip.udp((4000, port), &[7; 40]);
            for (offset, more, part) in [(0, true, &datagram[..24]), (3, false, &datagram[24..])] {
                let place = ip.with(|ip| {
                    ip.fragment = Some((offset, more));
                    ip.identification = u32::from(port);
                });
                let frame = FROM_CLIENT.frame(&place.packet(number::UDP, part));
                add(&format!("fragment {offset} to port {port}"), Front, frame);
            }
        }
    }
    samples
}

/// Whether a strict parser accepts the frame. It is more lenient in one place: UDP's length 0, which means a
/// jumbogram (RFC 2675), and more strict in another: where hop-by-hop options may stand.
fn is_valid(frame: &[u8]) -> bool {
    match SlicedPacket::from_ethernet(frame) {
        Ok(packet) => match packet.transport {
            Some(TransportSlice::Udp(udp)) => udp.length() >= 8,
            _ => true,
        },
        Err(error) => !is_of_length(&error) && !matches!(error, SliceError::Ip(_) | SliceError::Tcp(_)),
    }
}

fn is_of_length(error: &SliceError) -> bool {
    matches!(error, SliceError::Len(LenError { .. }))
}

#[test]
fn the_samples_are_what_they_should_be() {
    let mut world = world();
    for Sample { name, side, frame, .. } in samples() {
        world.check(&format!("{name} is valid"), is_valid(&frame) && check_frame(&frame).is_ok(), || {
            show::frame(&frame)
        });
        let outcome = world.run(side, &frame);
        let handled = matches!(outcome.verdict, Verdict::Transmit | Verdict::Redirect);
        world.check(&format!("{name} is handled"), handled, || format!("{outcome:?}"));
    }
}

/// What no frame may do, whatever is in it. The message says what it did.
fn harmless(world: &World, side: Side, frame: &[u8]) -> Result<Verdict, String> {
    let (verdict, out) = world.only_run(side, frame);
    let wrong = |what: &str| {
        Err(format!("{what}\n  sent     {}\n  result   {}", show::frame(frame), show::frame(&out)))
    };
    match verdict {
        Verdict::Aborted => wrong("aborted"),
        Verdict::Pass if out != frame => wrong("changed, and passed"),
        Verdict::Transmit | Verdict::Redirect if !is_valid(frame) => wrong("not valid, and sent"),
        Verdict::Transmit | Verdict::Redirect if check_frame(frame).is_ok() => match check_frame(&out) {
            Ok(()) => Ok(verdict),
            Err(error) => wrong(&format!("sent wrongly: {error:#}")),
        },
        _ => Ok(verdict),
    }
}

#[test]
fn frames_cut_off_at_every_byte() {
    let mut world = world();
    for Sample { name, side, frame, to_vip } in samples() {
        let packet = packet_of(&frame);
        let addresses = if packet[0] >> 4 == 4 { 20 } else { 40 };
        let readable = frame.len() - packet.len() + addresses;
        for length in 14..frame.len() {
            let cut = &frame[..length];
            let name = format!("{name}, {length} of {} bytes", frame.len());
            match harmless(&world, side, cut) {
                Err(reason) => world.check(&name, false, || reason),
                Ok(verdict) => {
                    // Without addresses nobody can know whom it is for.
                    let dropped = verdict == Verdict::Drop || !to_vip || length < readable;
                    let sent = matches!(verdict, Verdict::Transmit | Verdict::Redirect);
                    world.check(&name, dropped && !sent, || format!("{verdict:?} of {}", show::frame(cut)));
                }
            }
        }
        world.only_run(side, &frame);
    }
}

/// A frame to a service with a few bytes of its packet overwritten, and bytes behind the packet.
fn broken(packet: &[u8], at: usize, bytes: &[u8], trailer: usize) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet.resize(packet.len() + trailer, 0);
    // The Ethernet type stays when the version does not.
    let mut frame = FROM_CLIENT.frame(&packet);
    frame.truncate(14 + packet.len());
    frame
}

#[test]
fn headers_that_contradict_each_other() {
    let mut world = world();
    let v4 = V4.request();
    let v6 = V6.request();
    let extended = v6.with(|ip| ip.extensions = vec![(number::DESTINATION_OPTIONS, 0)]);
    let tcp = |ip: &Ip| ip.tcp_packet(&syn(4000, 80), b"1234");
    let udp = |ip: &Ip| ip.udp_packet((4000, 80), b"1234");
    let echo_v4 = v4.icmp_packet(8, 0, [0; 4], b"");
    let echo_v6 = v6.icmp_packet(128, 0, [0; 4], b"");
    for (name, packet, at, bytes) in [
        ("IPv4: header of 16 bytes", tcp(&v4), 0, vec![0x44]),
        ("IPv4: header of 0 bytes", tcp(&v4), 0, vec![0x40]),
        ("IPv4: header beyond the packet", v4.udp_packet((4000, 80), b""), 0, vec![0x4f]),
        ("IPv4: total length below the header", tcp(&v4), 2, vec![0, 19]),
        ("IPv4: total length 0", tcp(&v4), 2, vec![0, 0]),
        ("IPv4: total length beyond the frame", tcp(&v4), 2, vec![0, 200]),
        ("IPv4: total length 65535", tcp(&v4), 2, vec![0xff, 0xff]),
        ("IPv4: TCP cut short by the total length", tcp(&v4), 2, vec![0, 39]),
        ("IPv4: UDP cut short by the total length", udp(&v4), 2, vec![0, 27]),
        ("IPv4: ports cut short by the total length", udp(&v4), 2, vec![0, 21]),
        ("IPv4: echo cut short by the total length", echo_v4, 2, vec![0, 24]),
        ("IPv4: TCP header of 16 bytes", tcp(&v4), 32, vec![0x40]),
        ("IPv4: TCP header of 60 bytes", tcp(&v4), 32, vec![0xf0]),
        ("IPv4: UDP length 0", udp(&v4), 24, vec![0, 0]),
        ("IPv4: UDP length 7", udp(&v4), 24, vec![0, 7]),
        ("IPv4: UDP length beyond the packet", udp(&v4), 24, vec![0, 13]),
        ("IPv4: UDP length 65535", udp(&v4), 24, vec![0xff, 0xff]),
        ("IPv6: payload length beyond the frame", tcp(&v6), 4, vec![0, 200]),
        ("IPv6: payload length 65535", tcp(&v6), 4, vec![0xff, 0xff]),
        ("IPv6: payload length 0", tcp(&v6), 4, vec![0, 0]),
        ("IPv6: TCP cut short by the payload length", tcp(&v6), 4, vec![0, 19]),
        ("IPv6: UDP cut short by the payload length", udp(&v6), 4, vec![0, 7]),
        ("IPv6: echo cut short by the payload length", echo_v6, 4, vec![0, 4]),
        ("IPv6: TCP header of 16 bytes", tcp(&v6), 52, vec![0x40]),
        ("IPv6: TCP header of 60 bytes", tcp(&v6), 52, vec![0xf0]),
        ("IPv6: UDP length 7", udp(&v6), 44, vec![0, 7]),
        ("IPv6: UDP length beyond the packet", udp(&v6), 44, vec![0, 13]),
        ("IPv6: extension header beyond the packet", udp(&extended), 41, vec![10]),
        ("IPv6: payload ends with the extension header", udp(&extended), 4, vec![0, 8]),
        ("IPv6: payload ends within the extension header", udp(&extended), 4, vec![0, 4]),
    ] {
        for trailer in [0, 64] {
            // With bytes behind it, what was too long for the frame may fit.
            let frame = broken(&packet, at, &bytes, trailer);
            let contradicts = trailer == 0 || !is_valid(&frame);
            if contradicts {
                let name = format!("{name}, {trailer} bytes behind the packet");
                world.row(&name, Front, &frame, &Expect::Drop(Cause::Malformed));
            }
        }
        // The same to another address is the kernel's business.
        let destination = if packet[0] >> 4 == 4 { 16..20 } else { 24..40 };
        let mut frame = broken(&packet, at, &bytes, 0);
        let other = if packet[0] >> 4 == 4 { v4.to(V4.front_self) } else { v6.to(V6.front_self) };
        frame[14..][destination.clone()].copy_from_slice(&other.udp_packet((1, 1), b"")[destination]);
        world.row(&format!("{name}, to another address"), Front, &frame, &Expect::Pass(Cause::NoService));
    }
    for (name, frame) in [
        (
            "IPv4 in an IPv6 frame",
            FROM_CLIENT.typed(0x86dd, &v6.with(|_| ()).packet(17, &[0; 40])[..]).tap(|f| f[14] = 0x45),
        ),
        ("IPv6's version in an IPv4 frame", FROM_CLIENT.typed(0x0800, &tcp(&v4)).tap(|f| f[14] = 0x65)),
    ] {
        world.row(name, Front, &frame, &Expect::Drop(Cause::Malformed));
    }
    // A fragment header that lies behind the packet's end names no fragment.
    let datagram = v6.udp((4000, 80), &[7; 40]);
    let place = |offset, more| v6.with(|ip| ip.fragment = Some((offset, more)));
    world.run(Front, &FROM_CLIENT.frame(&place(0, true).packet(number::UDP, &datagram[..24])));
    let later = place(3, false).packet(number::UDP, &datagram[24..]);
    for length in [0, 4, 7] {
        let frame = broken(&later, 4, &[0, length], 0);
        let name = format!("IPv6: payload of {length} bytes before a fragment header's end");
        world.row(&name, Front, &frame, &Expect::Drop(Cause::Malformed));
    }
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Vec<u8> {}

/// A field that says how long something is.
struct Field<'a> {
    name: &'static str,
    ip: &'a Ip,
    protocol: u8,
    /// In the IP packet.
    at: usize,
    values: &'a [Vec<u8>],
}

/// Every value of every length there is: nothing is sent that is not valid, and what is not valid is
/// dropped.
#[test]
fn hostile_lengths() {
    let mut world = world();
    for family in FAMILIES {
        let ip = family.request();
        let header = ip.header_length();
        let extended = ip.with(|ip| ip.extensions = vec![(number::ROUTING, 0)]);
        let bytes: Vec<Vec<u8>> = (0..=255).map(|value| vec![value]).collect();
        let words: Vec<Vec<u8>> = (0..200_u16)
            .chain([0x7fff, 0x8000, 0xfff0, 0xffff])
            .map(|word| word.to_be_bytes().to_vec())
            .collect();
        let field = |name, ip, protocol, at, values| Field { name, ip, protocol, at, values };
        let mut fields = vec![
            field("TCP offset", &ip, number::TCP, header + 12, bytes.as_slice()),
            field("UDP length", &ip, number::UDP, header + 4, &words),
        ];
        for (_, number) in PROTOCOLS {
            if ip.is_v4() {
                fields.push(field("version and header length", &ip, number, 0, &bytes));
                fields.push(field("total length", &ip, number, 2, &words));
            } else {
                fields.push(field("payload length", &ip, number, 4, &words));
                fields.push(field("extension header's length", &extended, number, 41, &bytes));
            }
        }
        for Field { name: field, ip, protocol: number, at, values } in fields {
            for port in 80..84 {
                let packet = opening(number, ip, (4000, port), &[0x11; 44]);
                for value in values {
                    for trailer in [0, 30] {
                        let mut frame = FROM_CLIENT.frame(&packet);
                        frame[14 + at..][..value.len()].copy_from_slice(value);
                        frame.resize(frame.len() + trailer, 0);
                        let name =
                            format!("{} {field} of {value:x?}, protocol {number}, port {port}", family.name);
                        match harmless(&world, Front, &frame) {
                            Err(reason) => world.check(&name, false, || reason),
                            Ok(verdict) => {
                                let right = is_valid(&frame) || verdict == Verdict::Drop;
                                world.check(&name, right, || {
                                    format!("{verdict:?} of {}", show::frame(&frame))
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn random_changes_do_no_harm() {
    let world = world();
    let samples = samples();
    for sample in &samples {
        world.only_run(sample.side, &sample.frame);
    }
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5);
    let input = (0..samples.len(), changes, prop::option::of(any::<prop::sample::Index>()), 0..40_usize);
    let mut runner = TestRunner::new(Config { cases: 6000, failure_persistence: None, ..Config::default() });
    let result = runner.run(&input, |(index, changes, cut, trailer)| {
        let sample = &samples[index];
        let mut frame = sample.frame.clone();
        for (at, value) in changes {
            // Link addresses do not matter to the program.
            let at = 12 + at.index(frame.len() - 12);
            frame[at] = value;
        }
        if let Some(cut) = cut {
            frame.truncate(14 + cut.index(frame.len() - 13));
        }
        frame.resize(frame.len() + trailer, 0);
        harmless(&world, sample.side, &frame)
            .map(drop)
            .map_err(|reason| TestCaseError::fail(format!("from {}: {reason}", sample.name)))
    });
    drop(world);
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Flags that no host sends. They change no header, and no state beyond the table's.
#[test]
fn every_combination_of_tcp_flags() {
    let mut world = world();
    for family in FAMILIES {
        for flags in 0..=u8::MAX {
            let ip = family.request();
            let packet = ip.tcp_packet(&Tcp::new(6000 + u16::from(flags), 80, flags), b"");
            let left = ip.routed().tcp_packet(&Tcp::new(6000 + u16::from(flags), 80, flags), b"");
            let expect = Expect::Out(Back, link_to(Back, family.back).frame(&left));
            let outcome = world.row(
                &format!("{} flags {flags:#04x}", family.name),
                Front,
                &FROM_CLIENT.frame(&packet),
                &expect,
            );
            let begun: u64 = outcome.counters.values().map(|counters| counters.connections).sum();
            let begins = flags & (tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == tcp_flag::SYN;
            world.equal(
                &format!("{} connections by flags {flags:#04x}", family.name),
                begun,
                u64::from(begins),
            );
        }
    }
}
