//! ICMP errors about flows, which quote eight bytes of the transport header and no more.

use lvs_common::cause::Cause;
use lvs_tests::packet::frame::{Ip, Link, packet_of};
use lvs_tests::packet::{Expect, Side, World};

use crate::traffic::*;

use Side::{Back, Front};

/// What an error quotes of a packet: its header and eight bytes. With `source` or `destination`, the ports
/// as translated; the rest of the eight bytes, a UDP checksum among them, stays as it was.
fn quote(ip: &Ip, number: u8, ports: (u16, u16), translated: (u16, u16), original: &Ip) -> Vec<u8> {
    let mut segment = if number == 6 {
        original.tcp(&ack(ports.0, ports.1), b"more than is quoted")
    } else {
        original.udp(ports, b"more than is quoted")
    };
    segment[..2].copy_from_slice(&translated.0.to_be_bytes());
    segment[2..4].copy_from_slice(&translated.1.to_be_bytes());
    let mut packet = ip.packet(number, &segment);
    packet.truncate(ip.header_length() + 8);
    packet
}

/// The kinds of error in each family.
fn kinds(family: Family) -> Vec<(u8, u8, [u8; 4])> {
    let mtu = 1300_u32.to_be_bytes();
    if family.name == "v4" {
        vec![(3, 1, [0; 4]), (3, 4, mtu), (11, 0, [0; 4]), (12, 0, [0; 4])]
    } else {
        vec![(1, 0, [0; 4]), (2, 0, mtu), (3, 0, [0; 4]), (4, 0, [0; 4])]
    }
}

fn world() -> World {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            for (port, rest) in [
                (80, servers(&[family.front])),
                (81, servers(&[family.back])),
                (82, format!("forward: ipip, {}", servers(&[family.back]))),
                (83, format!("forward: nat, real_servers: [{{address: \"{}\", port: 8080}}]", family.back)),
                (84, format!("forward: nat, {}", servers(&[family.front]))),
                (85, format!("scheduler: rr, {}", servers(&[family.back]))),
                (86, "forward: local, real_servers: [{}]".to_owned()),
                (87, "real_servers: []".to_owned()),
            ] {
                let name = format!("{}-{protocol}-{port}", family.name);
                services += &service(&name, family.vip, port, protocol, &rest);
            }
        }
    }
    World::new(&services)
}

#[test]
fn an_error_reaches_the_real_server_that_must_know() {
    let mut world = world();
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for (kind, code, word) in kinds(family) {
                let name = |what: &str| format!("{} {protocol} {kind}/{code} {what}", family.name);
                // From the client, and from a router on the way to it.
                let router = if family.name == "v4" { "10.8.0.1" } else { "2001:db8:8::1" };
                for from in [family.client, router] {
                    let header = Ip::new(from, family.vip);
                    let reply = family.reply(family.vip);
                    let about = |port| quote(&reply, number, (port, 4000), (port, 4000), &reply);
                    let packet = |ip: &Ip, port| ip.icmp_packet(kind, code, word, &about(port));
                    let sent = |port| FROM_CLIENT.frame(&packet(&header, port));

                    let left = link_to(Front, family.front).frame(&packet(&header, 80));
                    world.row(&name("dr"), Front, &sent(80), &Expect::Out(Front, left));
                    let left = link_to(Back, family.back).frame(&packet(&header.routed(), 81));
                    world.row(&name("dr, routed"), Front, &sent(81), &Expect::Out(Back, left));
                    let outer = Ip::new(family.back_self, family.back).with(|ip| ip.identification = 0);
                    let left = link_to(Back, family.back).frame(&outer.tunnel(&packet(&header.routed(), 82)));
                    world.row(&name("ipip"), Front, &sent(82), &Expect::Out(Back, left));

                    for (port, server, target, side) in
                        [(83, family.back, 8080, Back), (84, family.front, 84, Front)]
                    {
                        world.run(
                            Front,
                            &FROM_CLIENT.frame(&opening(number, &family.request(), (4000, port), b"")),
                        );
                        let inner =
                            quote(&family.reply(server), number, (port, 4000), (target, 4000), &reply);
                        let left = header.to(server).routed().icmp_packet(kind, code, word, &inner);
                        let left = link_to(side, server).frame(&left);
                        world.row(
                            &name(&format!("nat {port}")),
                            Front,
                            &sent(port),
                            &Expect::Out(side, left),
                        );
                    }
                    world.row(&name("local"), Front, &sent(86), &Expect::Pass(Cause::Local));
                }
            }
        }
    }
}

#[test]
fn an_error_about_a_translated_packet_reaches_the_client() {
    let mut world = world();
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for (port, server, target, side) in [(83, family.back, 8080, Back), (84, family.front, 84, Front)]
            {
                world.run(Front, &FROM_CLIENT.frame(&opening(number, &family.request(), (4000, port), b"")));
                for (kind, code, word) in kinds(family) {
                    // By the real server itself, whose address the client does not know, and by a router.
                    let router = if family.name == "v4" { "192.168.0.254" } else { "2001:db8:1::254" };
                    for (from, seen) in [(server, family.vip), (router, router)] {
                        let request = family.request();
                        let translated = request.to(server);
                        let inner = quote(&translated, number, (4000, target), (4000, target), &translated);
                        let sent = Ip::new(from, family.client).icmp_packet(kind, code, word, &inner);
                        let inner = quote(&request, number, (4000, target), (4000, port), &translated);
                        let left =
                            Ip::new(seen, family.client).routed().icmp_packet(kind, code, word, &inner);
                        let name = format!("{} {protocol} {kind}/{code} nat {port} from {from}", family.name);
                        let expect = Expect::Routed(Front, TO_CLIENT.frame(&left));
                        world.row(&name, side, &link_from(side, server).frame(&sent), &expect);
                    }
                }
            }
        }
    }
}

/// A server that answers by itself complains as itself: from the VIP, which is the director's own address, so
/// that the kernel would drop what comes from it.
#[test]
fn an_error_of_a_server_that_answers_by_itself_is_routed() {
    errors_are_routed(world(), &[(81, "dr"), (82, "ipip"), (85, "dr and rr")]);
    // Where nobody is reached by nat.
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            let name = format!("{}-{protocol}", family.name);
            services += &service(&name, family.vip, 81, protocol, &servers(&[family.back]));
        }
    }
    errors_are_routed(World::new(&services), &[(81, "dr alone")]);
}

fn errors_are_routed(mut world: World, ports: &[(u16, &str)]) {
    world.learn_interfaces();
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for (kind, code, word) in kinds(family) {
                for &(port, what) in ports {
                    let request = family.request();
                    let quoted = quote(&request, number, (4000, port), (4000, port), &request);
                    let error = |ip: &Ip| ip.icmp_packet(kind, code, word, &quoted);
                    let link = link_from(Back, family.back);
                    let ip = family.reply(family.vip);
                    let name = |case: &str| format!("{} {protocol} {kind}/{code} {what}{case}", family.name);
                    let left = TO_CLIENT.frame(&error(&ip.routed()));
                    let sent = link.frame(&error(&ip));
                    world.row(&name(""), Back, &sent, &Expect::Routed(Front, left));

                    let other = Link { destination: [2, 0, 0, 0, 9, 9], ..link };
                    let sent = other.frame(&error(&ip));
                    world.row(&name(", for another machine"), Back, &sent, &Expect::Pass(Cause::NotForUs));
                    let sent = link.frame(&error(&ip.with(|ip| ip.hops = 1)));
                    world.row(&name(", no hop left"), Back, &sent, &Expect::Drop(Cause::TimeExceeded));
                    // A router's address is not the director's: the kernel routes it.
                    let router = if family.name == "v4" { "192.168.0.254" } else { "2001:db8:1::254" };
                    let sent = link.frame(&error(&family.reply(router)));
                    world.row(&name(", by a router"), Back, &sent, &Expect::Pass(Cause::NoService));
                }
                // Translated packets are quoted with the real server's address, and nobody else answers here.
                for port in [83, 86, 99] {
                    let request = family.request();
                    let quoted = quote(&request, number, (4000, port), (4000, port), &request);
                    let packet = family.reply(family.vip).icmp_packet(kind, code, word, &quoted);
                    let sent = link_from(Back, family.back).frame(&packet);
                    let name = format!("{} {protocol} {kind}/{code} port {port}", family.name);
                    world.row(&name, Back, &sent, &Expect::Pass(Cause::NoService));
                }
            }
            let request = family.request();
            let mut quoted = quote(&request, number, (4000, 81), (4000, 81), &request);
            quoted.resize(1500, 7);
            let (kind, code) = family.port_unreachable;
            let sent = family.reply(family.vip).icmp_packet(kind, code, [0; 4], &quoted);
            let sent = link_from(Back, family.back).frame(&sent);
            let name = format!("{} {protocol} too big for the way", family.name);
            world.row(&name, Back, &sent, &Expect::Drop(Cause::TooBig));
        }
    }
}

#[test]
fn errors_about_what_is_not_ours() {
    let mut world = world();
    for family in FAMILIES {
        let (kind, code) = family.port_unreachable;
        let header = family.request();
        let reply = family.reply(family.vip);
        let error =
            |header: &Ip, quoted: &[u8]| FROM_CLIENT.frame(&header.icmp_packet(kind, code, [0; 4], quoted));
        let name = |what: &str| format!("{} {what}", family.name);
        let tcp = |ip: &Ip, port| quote(ip, 6, (port, 4000), (port, 4000), ip);

        let sent = error(&header, &tcp(&reply, 85));
        world.row(&name("a flow rr does not know"), Front, &sent, &Expect::Drop(Cause::IcmpUnrelated));
        let sent = error(&header, &tcp(&reply, 87));
        world.row(&name("a service of nobody"), Front, &sent, &Expect::Drop(Cause::IcmpUnrelated));
        let sent = error(&header, &tcp(&reply, 99));
        world.row(&name("a port without a service"), Front, &sent, &Expect::Pass(Cause::NoService));
        let own = family.reply(family.front_self);
        let sent = error(&header.to(family.front_self), &tcp(&own, 80));
        world.row(&name("the director's own flow"), Front, &sent, &Expect::Pass(Cause::NoService));
        let sent = error(&header, &reply.packet(47, &[0; 8]));
        world.row(&name("GRE"), Front, &sent, &Expect::Pass(Cause::NoService));
        let sent = error(&header.to(family.front_self), &tcp(&reply, 80));
        world.row(&name("sent to another address"), Front, &sent, &Expect::Pass(Cause::NoService));
        for missing in 1..=8 {
            let mut quoted = tcp(&reply, 80);
            quoted.truncate(quoted.len() - missing);
            let sent = error(&header, &quoted);
            if missing > 4 {
                let name = name(&format!("{missing} of the eight bytes are missing"));
                world.row(&name, Front, &sent, &Expect::Drop(Cause::Malformed));
            }
        }
        let empty = error(&header, b"");
        assert_eq!(packet_of(&empty).len(), header.header_length() + 8);
        world.row(&name("nothing quoted"), Front, &empty, &Expect::Drop(Cause::Malformed));
    }
}

/// A router that finds a real server's fragment too big quotes it with its fragment header.
#[test]
fn an_error_quotes_a_first_fragment() {
    let mut world = world();
    for family in FAMILIES {
        let (kind, code) = family.too_big;
        let header = family.request();
        let place = |offset| {
            family.reply(family.vip).with(|ip| {
                ip.dont_fragment = false;
                ip.fragment = Some((offset, true));
            })
        };
        let quoted = |place: &Ip| {
            let segment = place.udp((80, 4000), b"a fragment");
            place.packet(17, &segment[..8])
        };
        let packet = header.icmp_packet(kind, code, 1280_u32.to_be_bytes(), &quoted(&place(0)));
        let left = link_to(Front, family.front).frame(&packet);
        let name = format!("{} the first", family.name);
        world.row(&name, Front, &FROM_CLIENT.frame(&packet), &Expect::Out(Front, left));
        let packet = header.icmp_packet(kind, code, 1280_u32.to_be_bytes(), &quoted(&place(3)));
        let name = format!("{} a later one", family.name);
        world.row(&name, Front, &FROM_CLIENT.frame(&packet), &Expect::Pass(Cause::NoService));
    }
}
