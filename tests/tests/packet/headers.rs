//! Headers between the network's and the transport's: options, extension headers, fragments.

use lvs_common::cause::Cause;
use lvs_tests::packet::frame::{Ip, Link, number};
use lvs_tests::packet::{Expect, Side, World};

use crate::traffic::*;

use Side::{Back, Front};

const DR: u16 = 80;
const NAT: u16 = 81;
const IPIP: u16 = 82;
/// The port behind `NAT` on the real server.
const TARGET: u16 = 8080;

fn world() -> World {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            let nat =
                format!("forward: nat, real_servers: [{{address: \"{}\", port: {TARGET}}}]", family.back);
            for (port, rest) in [
                (DR, servers(&[family.back])),
                (NAT, nat),
                (IPIP, format!("forward: ipip, {}", servers(&[family.back]))),
            ] {
                let name = format!("{}-{protocol}-{port}", family.name);
                services += &service(&name, family.vip, port, protocol, &rest);
            }
        }
    }
    World::new(&services)
}

/// What a client's packet becomes at the director: header and port.
fn translated(family: Family, ip: &Ip, port: u16) -> (Ip, u16) {
    match port {
        NAT => (ip.to(family.back).routed(), TARGET),
        _ => (ip.routed(), port),
    }
}

/// The frame around it.
fn leaving(family: Family, port: u16, packet: &[u8]) -> Vec<u8> {
    let link = link_to(Back, family.back);
    if port != IPIP {
        return link.frame(packet);
    }
    let outer = Ip::new(family.back_self, family.back).with(|ip| ip.identification = 0);
    link.frame(&outer.tunnel(packet))
}

/// A client's packet with any header goes out by every method, and its answer comes back.
fn goes_both_ways(world: &mut World, family: Family, what: &str, change: impl Fn(&mut Ip)) {
    for (protocol, number) in PROTOCOLS {
        for port in [DR, NAT, IPIP] {
            let ip = family.request().with(&change);
            let (after, target) = translated(family, &ip, port);
            let sent = FROM_CLIENT.frame(&opening(number, &ip, (4000, port), b"data"));
            let left = leaving(family, port, &opening(number, &after, (4000, target), b"data"));
            let name = format!("{} {protocol} port {port} {what}", family.name);
            world.row(&name, Front, &sent, &Expect::Out(Back, left));
            if port == NAT {
                let ip = family.reply(family.back).with(&change);
                let sent = link_from(Back, family.back).frame(&opening(number, &ip, (TARGET, 4000), b""));
                let left = opening(number, &ip.from(family.vip).routed(), (NAT, 4000), b"");
                let expect = Expect::Out(Front, TO_CLIENT.frame(&left));
                world.row(&format!("{name}, back"), Back, &sent, &expect);
            }
        }
    }
}

#[test]
fn ipv4_options_travel_along() {
    let mut world = world();
    for length in (4..=40).step_by(4) {
        goes_both_ways(&mut world, V4, &format!("{length} bytes of options"), |ip| {
            ip.options = (0..length).map(|index| if index % 5 == 4 { 0 } else { 1 }).collect();
        });
    }
}

#[test]
fn extension_headers_are_followed() {
    let mut world = world();
    let (options, routing, hop) = (number::DESTINATION_OPTIONS, number::ROUTING, number::HOP_BY_HOP);
    for (what, chain) in [
        ("hop-by-hop options", vec![(hop, 0)]),
        ("long hop-by-hop options", vec![(hop, 2)]),
        ("a routing header", vec![(routing, 2)]),
        ("destination options", vec![(options, 1)]),
        ("all three", vec![(hop, 0), (routing, 0), (options, 0)]),
        ("six headers", vec![(hop, 0), (options, 0), (routing, 0), (options, 1), (routing, 0), (options, 2)]),
        ("256 bytes", vec![(options, 31)]),
    ] {
        goes_both_ways(&mut world, V6, what, |ip| ip.extensions = chain.clone());
    }
    // A "fragment" that is the whole packet (RFC 6946).
    goes_both_ways(&mut world, V6, "an atomic fragment", |ip| ip.fragment = Some((0, false)));
    goes_both_ways(&mut world, V6, "options and an atomic fragment", |ip| {
        ip.extensions = vec![(hop, 0), (options, 0)];
        ip.fragment = Some((0, false));
    });
}

#[test]
fn too_many_extension_headers() {
    let mut world = world();
    let options = number::DESTINATION_OPTIONS;
    for (what, chain) in [
        ("seven headers", vec![(options, 0); 7]),
        ("twenty headers", vec![(options, 0); 20]),
        ("three headers of 280 bytes", vec![(options, 16), (options, 16), (options, 0)]),
        ("one header of 1000 bytes", vec![(options, 124)]),
        ("one header of 1200 bytes", vec![(options, 149)]),
    ] {
        for (protocol, number) in PROTOCOLS {
            let ip = V6.request().with(|ip| ip.extensions = chain.clone());
            let name = |to: &str| format!("{protocol} {what} to {to}");
            let sent = FROM_CLIENT.frame(&opening(number, &ip, (4000, DR), b""));
            world.row(&name("a VIP"), Front, &sent, &Expect::Drop(Cause::TooManyHeaders));
            let sent = FROM_CLIENT.frame(&opening(number, &ip.to(V6.front_self), (4000, DR), b""));
            world.row(&name("another address"), Front, &sent, &Expect::Pass(Cause::NoService));
        }
    }
}

/// A datagram's pieces: offset in units of 8 bytes, whether more follow, bytes.
fn pieces(datagram: &[u8]) -> [(u16, bool, &[u8]); 3] {
    [(0, true, &datagram[..24]), (3, true, &datagram[24..48]), (6, false, &datagram[48..])]
}

fn whole(number: u8, ip: &Ip, ports: (u16, u16)) -> Vec<u8> {
    let payload: Vec<u8> = (0..60).collect();
    if number == number::TCP { ip.tcp(&syn(ports.0, ports.1), &payload) } else { ip.udp(ports, &payload) }
}

/// Fragments of one datagram with and without extension headers before them.
fn fragment(ip: &Ip, (offset, more): (u16, bool), identification: u32) -> Ip {
    ip.with(|ip| {
        ip.fragment = Some((offset, more));
        ip.identification = identification;
        ip.dont_fragment = false;
    })
}

#[test]
fn fragments_follow_their_first() {
    let mut world = world();
    let mut identification = 100;
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for port in [DR, NAT] {
                for (headers, extensions) in [("", vec![]), (" with options", vec![(60, 0)])] {
                    identification += 1;
                    let ip = family.request().with(|ip| {
                        ip.extensions = extensions.clone();
                        ip.options = vec![1; extensions.len() * 4];
                    });
                    let (after, target) = translated(family, &ip, port);
                    let sent = whole(number, &ip, (4000, port));
                    let left = whole(number, &after, (4000, target));
                    let name =
                        |what: &str| format!("{} {protocol} port {port}{headers}, {what}", family.name);
                    for index in [1, 2] {
                        let (offset, more, part) = pieces(&sent)[index];
                        let place = fragment(&ip, (offset, more), identification);
                        let frame = FROM_CLIENT.frame(&place.packet(number, part));
                        let name = name(&format!("piece {index} before the first"));
                        world.row(&name, Front, &frame, &Expect::Drop(Cause::FragmentBeforeFirst));
                    }
                    for index in [0, 1, 2, 1] {
                        let (offset, more, part) = pieces(&sent)[index];
                        let place = fragment(&ip, (offset, more), identification);
                        let frame = FROM_CLIENT.frame(&place.packet(number, part));
                        let moved = fragment(&after, (offset, more), identification);
                        let frame_left = leaving(family, port, &moved.packet(number, pieces(&left)[index].2));
                        world.row(
                            &name(&format!("piece {index}")),
                            Front,
                            &frame,
                            &Expect::Out(Back, frame_left),
                        );
                    }
                    // Of another datagram, and from another client.
                    let (offset, more, part) = pieces(&sent)[1];
                    for (what, place) in [
                        ("another identification", fragment(&ip, (offset, more), identification + 1000)),
                        ("another client", {
                            let other = if family.name == "v4" { "10.9.0.8" } else { "2001:db8:9::8" };
                            fragment(&ip.from(other), (offset, more), identification)
                        }),
                    ] {
                        let frame = FROM_CLIENT.frame(&place.packet(number, part));
                        world.row(&name(what), Front, &frame, &Expect::Drop(Cause::FragmentBeforeFirst));
                    }
                }
            }
        }
    }
}

#[test]
fn fragments_through_a_tunnel() {
    let mut world = world();
    for family in FAMILIES {
        let ip = family.request();
        let datagram = whole(number::UDP, &ip, (4000, IPIP));
        for (index, (offset, more, part)) in pieces(&datagram).into_iter().enumerate() {
            let place = fragment(&ip, (offset, more), 7);
            let sent = FROM_CLIENT.frame(&place.packet(number::UDP, part));
            let inner = place.routed().packet(number::UDP, part);
            world.row_by(&format!("{} piece {index}", family.name), Front, &sent, |outcome| {
                let outer = Ip::new(family.back_self, family.back).with(|outer| {
                    outer.dont_fragment = !ip.is_v4();
                    if ip.is_v4() {
                        let id = outcome.frame.get(18..20).unwrap_or(&[0, 0]);
                        outer.identification = u32::from(u16::from_be_bytes([id[0], id[1]]));
                    }
                });
                Expect::Out(Back, link_to(Back, family.back).frame(&outer.tunnel(&inner)))
            });
        }
    }
}

fn replies(
    world: &mut World,
    family: Family,
    source: &str,
    ports: (u16, u16),
    after: &Ip,
    expect: fn(Side, Vec<u8>) -> Expect,
) {
    let ip = family.reply(source);
    let link: Link = link_from(Back, family.back);
    let sent = whole(number::UDP, &ip, (ports.0, 4000));
    let left = whole(number::UDP, after, (ports.1, 4000));
    let id = u32::from(ports.0);
    for index in [0, 1, 2] {
        let (offset, more, part) = pieces(&sent)[index];
        let frame = link.frame(&fragment(&ip, (offset, more), id).packet(number::UDP, part));
        let moved = fragment(after, (offset, more), id).packet(number::UDP, pieces(&left)[index].2);
        let name = format!("{} reply from {source}, piece {index}", family.name);
        world.row(&name, Back, &frame, &expect(Front, TO_CLIENT.frame(&moved)));
    }
}

#[test]
fn fragments_of_nat_replies() {
    let mut world = world();
    for family in FAMILIES {
        let opening = family.request().udp_packet((4000, NAT), b"");
        world.run(Front, &FROM_CLIENT.frame(&opening));
        let ip = family.reply(family.back);
        let before = fragment(&ip, (3, true), 9).packet(number::UDP, &[0; 24]);
        let name = format!("{} before the first", family.name);
        let frame = link_from(Back, family.back).frame(&before);
        world.row(&name, Back, &frame, &Expect::Pass(Cause::NoService));
        replies(&mut world, family, family.back, (TARGET, NAT), &ip.from(family.vip).routed(), Expect::Out);
    }
}

#[test]
fn fragments_of_dr_replies() {
    let mut world = world();
    for family in FAMILIES {
        let ip = family.reply(family.vip);
        replies(&mut world, family, family.vip, (DR, DR), &ip.routed(), Expect::Routed);
    }
}

#[test]
fn fragments_for_no_service_pass() {
    let mut world = world();
    for family in FAMILIES {
        let ip = family.request().to(family.front_self);
        let datagram = whole(number::UDP, &ip, (4000, DR));
        for (index, (offset, more, part)) in pieces(&datagram).into_iter().enumerate() {
            let frame = FROM_CLIENT.frame(&fragment(&ip, (offset, more), 7).packet(number::UDP, part));
            let name = format!("{} piece {index}", family.name);
            world.row(&name, Front, &frame, &Expect::Pass(Cause::NoService));
        }
    }
}

/// Of a datagram that only the kernel wants it must get all: neither a service on another port of the VIP
/// nor the kind of the forwarding matters.
#[test]
fn fragments_to_a_vip_without_a_service_pass() {
    let nat = format!("forward: nat, {}", servers(&[V4.back]));
    let only_nat = World::new(&service("nat", V4.vip, NAT, "udp", &nat));
    let without_answers =
        World::new(&service("local", V4.vip, DR, "udp", "forward: local, real_servers: []"));
    let gre = 47;
    for (services, mut world, families) in
        [("all", world(), &FAMILIES[..]), ("nat", only_nat, &[V4]), ("none", without_answers, &[V4])]
    {
        let mut identification = 100;
        for family in families {
            for (protocol, number) in PROTOCOLS.into_iter().chain([("gre", gre)]) {
                identification += 1;
                let ip = family.request();
                let datagram = whole(number, &ip, (4000, 99));
                let frame = |index: usize| {
                    let (offset, more, part) = pieces(&datagram)[index];
                    FROM_CLIENT.frame(&fragment(&ip, (offset, more), identification).packet(number, part))
                };
                let name = |what: &str| format!("{services}, {} {protocol} {what}", family.name);
                world.row(
                    &name("before the first"),
                    Front,
                    &frame(1),
                    &Expect::Drop(Cause::FragmentBeforeFirst),
                );
                for index in [0, 1, 2] {
                    let name = name(&format!("piece {index}"));
                    world.row(&name, Front, &frame(index), &Expect::Pass(Cause::NoService));
                }
            }
        }
    }
}
