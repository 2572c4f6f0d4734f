//! Transport checksums on their way through the director.

use lvs_common::cause::Cause;
use lvs_tests::lab::checksums::check_frame;
use lvs_tests::packet::frame::{Ip, number, udp_without_checksum};
use lvs_tests::packet::{Expect, Side, World, show};

use crate::traffic::*;

use Side::{Back, Front};

#[test]
fn udp_checksums_that_are_zero() {
    let mut services = String::new();
    for family in FAMILIES {
        let rest = format!("forward: nat, real_servers: [{{address: \"{}\", port: 5353}}]", family.back);
        services += &service(&format!("{}-nat", family.name), family.vip, 53, "udp", &rest);
        services += &service(&format!("{}-dr", family.name), family.vip, 54, "udp", &servers(&[family.back]));
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        let ip = family.request();
        let none = |ip: &Ip, ports| ip.packet(number::UDP, &udp_without_checksum(ports, b"data"));
        // dr: none of the director's business.
        let left = link_to(Back, family.back).frame(&none(&ip.routed(), (4000, 54)));
        let name = format!("{} dr, no checksum", family.name);
        world.row(&name, Front, &FROM_CLIENT.frame(&none(&ip, (4000, 54))), &Expect::Out(Back, left));

        let sent = FROM_CLIENT.frame(&none(&ip, (4000, 53)));
        let left = link_to(Back, family.back).frame(&none(&ip.to(family.back).routed(), (4000, 5353)));
        let expect = if ip.is_v4() { Expect::Out(Back, left) } else { Expect::Drop(Cause::ZeroChecksum) };
        world.row(&format!("{} nat in, no checksum", family.name), Front, &sent, &expect);

        // A flow that is there, whatever became of the one above.
        let opening = FROM_CLIENT.frame(&ip.udp_packet((4001, 53), b""));
        let left =
            link_to(Back, family.back).frame(&ip.to(family.back).routed().udp_packet((4001, 5353), b""));
        world.row(&format!("{} nat in", family.name), Front, &opening, &Expect::Out(Back, left));
        let reply = family.reply(family.back);
        let sent = link_from(Back, family.back).frame(&none(&reply, (5353, 4001)));
        let left = TO_CLIENT.frame(&none(&reply.from(family.vip).routed(), (53, 4001)));
        let expect = if ip.is_v4() { Expect::Out(Front, left) } else { Expect::Drop(Cause::ZeroChecksum) };
        world.row(&format!("{} nat out, no checksum", family.name), Back, &sent, &expect);

        // Payloads for which the translated checksum comes to 0, which is sent as all ones.
        for (name, ports, translated, header, after, inbound) in [
            ("nat in", (4001, 53), (4001, 5353), ip.clone(), ip.to(family.back), true),
            ("nat out", (5353, 4001), (53, 4001), reply.clone(), reply.from(family.vip), false),
        ] {
            let payload = (0..=u16::MAX)
                .map(u16::to_be_bytes)
                .find(|payload| after.udp(translated, payload)[6..8] == [0xff, 0xff])
                .expect("one of all words completes the sum");
            let (side, link, out, out_link) = if inbound {
                (Front, FROM_CLIENT, Back, link_to(Back, family.back))
            } else {
                (Back, link_from(Back, family.back), Front, TO_CLIENT)
            };
            let left = out_link.frame(&after.routed().udp_packet(translated, &payload));
            let sent = link.frame(&header.udp_packet(ports, &payload));
            let name = format!("{} {name}, a checksum that comes to 0", family.name);
            world.row(&name, side, &sent, &Expect::Out(out, left));
        }
    }
}

/// One service for each method, the real servers on a link of their own.
fn by_each_method() -> World {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            let name = |method: &str| format!("{}-{protocol}-{method}", family.name);
            let by = |method: &str| format!("forward: {method}, {}", servers(&[family.back]));
            for (port, method) in [(80, "dr"), (81, "nat"), (82, "ipip")] {
                services += &service(&name(method), family.vip, port, protocol, &by(method));
            }
        }
    }
    World::new(&services)
}

/// What a packet becomes on its way by port 80 (dr), 81 (nat) and 82 (ipip) of [`by_each_method`].
fn leaving(family: Family, port: u16, packet: impl Fn(&Ip) -> Vec<u8>) -> Vec<u8> {
    let ip = family.request();
    let packet = match port {
        81 => packet(&ip.to(family.back).routed()),
        82 => outer(family.back_self, family.back, &ip).tunnel(&packet(&ip.routed())),
        _ => packet(&ip.routed()),
    };
    link_to(Back, family.back).frame(&packet)
}

/// Small frames are padded to 60 bytes; the padding is no part of the packet.
#[test]
fn padding_stays_behind_the_packet() {
    let mut world = by_each_method();
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for port in 80..83 {
                for padding in [1, 6, 18] {
                    let packet = |ip: &Ip| opening(number, ip, (4000, port), b"");
                    let mut sent = FROM_CLIENT.frame(&packet(&family.request()));
                    let mut left = leaving(family, port, packet);
                    for frame in [&mut sent, &mut left] {
                        frame.resize(frame.len() + padding, 0);
                    }
                    let name = format!("{} {protocol} port {port}, {padding} bytes", family.name);
                    world.row(&name, Front, &sent, &Expect::Out(Back, left));
                }
            }
        }
    }
}

/// Who receives a packet with a wrong checksum must be able to see that.
#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut world = by_each_method();
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for port in 80..83 {
                for bit in [0x01, 0x80] {
                    let mut sent =
                        FROM_CLIENT.frame(&opening(number, &family.request(), (4000, port), b"data"));
                    let last = sent.len() - 1;
                    sent[last] ^= bit;
                    let outcome = world.run(Front, &sent);
                    let name = format!("{} {protocol} port {port}, bit {bit:#04x}", family.name);
                    world.equal(&format!("{name}: goes out"), outcome.causes.len(), 0);
                    let found = check_frame(&outcome.frame).is_err();
                    world.check(&format!("{name}: wrong as before"), found, || show::frame(&outcome.frame));
                    // The IPv4 header's own, too.
                    if family.name == "v4" {
                        let mut sent =
                            FROM_CLIENT.frame(&opening(number, &family.request(), (4000, port), b""));
                        sent[14 + 10] ^= bit;
                        let outcome = world.run(Front, &sent);
                        let found = check_frame(&outcome.frame).is_err();
                        world.check(&format!("{name}: header"), found, || show::frame(&outcome.frame));
                    }
                }
            }
        }
    }
}

/// Whatever the payload does to the sum, the checksum is the one a sender would have computed.
#[test]
fn checksums_of_many_payloads() {
    let mut world = by_each_method();
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for step in 0..600_u32 {
                let payload = (step.wrapping_mul(0x9e37_79b9)).to_be_bytes();
                let payload = &payload[..(step % 5) as usize];
                let source = 1024 + (step * 97 % 60_000) as u16;
                let packet = |ip: &Ip| opening(number, ip, (source, 81), payload);
                let left = leaving(family, 81, packet);
                let sent = FROM_CLIENT.frame(&packet(&family.request()));
                let (_, found) = world.only_run(Front, &sent);
                let name = format!("{} {protocol} from port {source}, {payload:x?}", family.name);
                world.check(&name, found == left, || show::difference(&left, &found));
            }
        }
    }
}
