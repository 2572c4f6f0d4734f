//! What leaves by each forwarding method, and what is left alone.

use lvs_common::cause::Cause;
use lvs_tests::packet::frame::{Ip, Link, number, tcp_flag};
use lvs_tests::packet::{Expect, Side, World};

use crate::traffic::*;

use Side::{Back, Front};

#[test]
fn what_is_for_no_service_passes_untouched() {
    let mut services = String::new();
    for family in FAMILIES {
        services +=
            &service(&format!("{}-dr", family.name), family.vip, 80, "tcp", &servers(&[family.front]));
        let rest = format!("forward: nat, {}", servers(&[family.back]));
        services += &service(&format!("{}-nat", family.name), family.vip, 53, "udp", &rest);
    }
    let mut world = World::new(&services);
    let arp = FROM_CLIENT.typed(0x0806, &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xfe, 10, 0, 0, 254]);
    world.row("ARP", Front, &arp, &Expect::Pass(Cause::NotIp));
    let tagged_arp = FROM_CLIENT.tagged(7).typed(0x0806, &[0; 28]);
    world.row("ARP with a tag", Front, &tagged_arp, &Expect::Pass(Cause::NotIp));
    let twice = FROM_CLIENT.tagged(7).typed(0x8100, &[0, 8, 8, 0, 0x45, 0, 0, 20]);
    world.row("two tags", Front, &twice, &Expect::Pass(Cause::NotIp));
    let lldp = FROM_CLIENT.typed(0x88cc, b"");
    world.row("a bare Ethernet header", Front, &lldp, &Expect::Pass(Cause::NotIp));
    for family in FAMILIES {
        let ip = family.request();
        let other = ip.to(family.front_self);
        for (name, packet) in [
            ("TCP to another address", other.tcp_packet(&syn(4000, 80), b"")),
            ("UDP to another address", other.udp_packet((4000, 53), b"")),
            ("TCP to the VIP's other port", ip.tcp_packet(&syn(4000, 81), b"")),
            ("UDP to the TCP service's port", ip.udp_packet((4000, 80), b"")),
            ("TCP to the UDP service's port", ip.tcp_packet(&syn(4000, 53), b"")),
            ("GRE to the VIP", ip.packet(47, &[0; 20])),
            ("ESP to the VIP", ip.packet(50, &[0; 20])),
            (
                "the other family's ICMP",
                ip.packet(if ip.is_v4() { 58 } else { 1 }, &[8, 0, 0, 0, 0, 0, 0, 0]),
            ),
            ("an echo reply to the VIP", ip.icmp_packet(family.echo_reply, 0, [0; 4], b"pong")),
            ("echo to another address", other.icmp_packet(family.echo_request, 0, [0; 4], b"ping")),
            ("a nat server's own flow", family.reply(family.back).udp_packet((53, 4000), b"own")),
            ("a nat server's other port", family.reply(family.back).udp_packet((54, 4000), b"")),
        ] {
            let name = format!("{} {name}", family.name);
            world.row(&name, Front, &FROM_CLIENT.frame(&packet), &Expect::Pass(Cause::NoService));
        }
    }
}

/// Service and real server by how the real server is reached.
fn reached(family: Family) -> [(&'static str, u16, &'static str, Side, bool); 3] {
    [
        ("one-armed", 80, family.front, Front, false),
        ("two-armed", 81, family.back, Back, true),
        ("behind a router", 82, family.far, Front, true),
    ]
}

fn by_each_way(forward: &str) -> String {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            for (_, port, server, ..) in reached(family) {
                let rest = format!("forward: {forward}, {}", servers(&[server]));
                let name = format!("{}-{protocol}-{port}", family.name);
                services += &service(&name, family.vip, port, protocol, &rest);
            }
        }
    }
    services
}

#[test]
fn direct_routing_changes_the_frame_and_where_it_routes_the_hops() {
    let mut world = World::new(&by_each_way("dr"));
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for (way, port, server, side, routed) in reached(family) {
                for payload in [&b""[..], b"even", b"odd", &[0xa5; 1400]] {
                    let name = format!("{} {protocol} {way}, {} bytes", family.name, payload.len());
                    let ip = family.request().with(|ip| ip.tos = 0x2e);
                    let sent = opening(number, &ip, (4000, port), payload);
                    let left = if routed { ip.routed() } else { ip };
                    let left = opening(number, &left, (4000, port), payload);
                    let expect = Expect::Out(side, link_to(side, server).frame(&left));
                    world.row(&name, Front, &FROM_CLIENT.frame(&sent), &expect);
                }
            }
        }
    }
}

/// A director whose clients and servers come in by one interface, and go out by another.
#[test]
fn what_counts_as_one_armed_is_the_interface_the_packet_came_in_by() {
    let mut world = World::new(&by_each_way("dr"));
    for family in FAMILIES {
        let ip = family.request();
        let sent = link_from(Back, family.back).frame(&ip.tcp_packet(&syn(4000, 81), b""));
        let left = link_to(Back, family.back).frame(&ip.tcp_packet(&syn(4000, 81), b""));
        world.row(&format!("{} back to back", family.name), Back, &sent, &Expect::Out(Back, left));
        let sent = link_from(Back, family.back).frame(&ip.tcp_packet(&syn(4000, 80), b""));
        let left = link_to(Front, family.front).frame(&ip.routed().tcp_packet(&syn(4000, 80), b""));
        world.row(&format!("{} back to front", family.name), Back, &sent, &Expect::Out(Front, left));
    }
}

#[test]
fn nat_translates_both_directions() {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            for (port, server, target) in
                [(80, family.back, 8080), (81, family.back, 81), (82, family.front, 8082)]
            {
                let rest = format!("forward: nat, real_servers: [{{address: \"{server}\", port: {target}}}]");
                services += &service(
                    &format!("{}-{protocol}-{port}", family.name),
                    family.vip,
                    port,
                    protocol,
                    &rest,
                );
            }
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for (way, port, server, target, side) in [
                ("another port", 80, family.back, 8080, Back),
                ("the same port", 81, family.back, 81, Back),
                ("one-armed", 82, family.front, 8082, Front),
            ] {
                for payload in [&b""[..], b"even", b"odd", &[0x5a; 1400]] {
                    let name = format!("{} {protocol} {way}, {} bytes", family.name, payload.len());
                    let ip = family.request();
                    let sent = opening(number, &ip, (4000, port), payload);
                    let left = opening(number, &ip.to(server).routed(), (4000, target), payload);
                    let expect = Expect::Out(side, link_to(side, server).frame(&left));
                    world.row(&format!("{name}, in"), Front, &FROM_CLIENT.frame(&sent), &expect);

                    let reply = family.reply(server);
                    let answer = |ip: &Ip, port| {
                        if number == number::TCP {
                            let mut tcp = syn(port, 4000);
                            tcp.flags |= tcp_flag::ACK;
                            ip.tcp_packet(&tcp, payload)
                        } else {
                            ip.udp_packet((port, 4000), payload)
                        }
                    };
                    let sent = link_from(side, server).frame(&answer(&reply, target));
                    let left = TO_CLIENT.frame(&answer(&reply.from(family.vip).routed(), port));
                    world.row(&format!("{name}, out"), side, &sent, &Expect::Out(Front, left));
                }
            }
        }
    }
    for family in FAMILIES {
        let stranger =
            link_from(Back, family.back).frame(&family.reply(family.back).tcp_packet(&ack(8080, 5), b""));
        let name = format!("{} a reply of no connection", family.name);
        world.row(&name, Back, &stranger, &Expect::Pass(Cause::NoService));
    }
}

#[test]
fn ipip_carries_any_family_in_any_other() {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            for (index, other) in FAMILIES.into_iter().enumerate() {
                for (_, port, server, ..) in reached(other) {
                    let rest = format!("forward: ipip, {}", servers(&[server]));
                    let name = format!("{}-in-{}-{protocol}-{port}", family.name, other.name);
                    services += &service(&name, family.vip, port + 100 * index as u16, protocol, &rest);
                }
            }
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            for (index, other) in FAMILIES.into_iter().enumerate() {
                for (way, port, server, side, _) in reached(other) {
                    for (tos, dont_fragment) in [(0, true), (0xb9, true), (0x03, false)] {
                        let port = port + 100 * index as u16;
                        let name = format!(
                            "{} in {} {protocol} {way}, tos {tos:#04x}, DF {dont_fragment}",
                            family.name, other.name
                        );
                        let own = if side == Front { other.front_self } else { other.back_self };
                        let ip = family.request().with(|ip| {
                            ip.tos = tos;
                            ip.dont_fragment = dont_fragment;
                            ip.hops = 17;
                        });
                        let sent = FROM_CLIENT.frame(&opening(number, &ip, (4000, port), b"payload"));
                        let inner = opening(number, &ip.routed(), (4000, port), b"payload");
                        world.row_by(&name, Front, &sent, |outcome| {
                            let mut header = outer(own, server, &ip);
                            if header.is_v4() && !header.dont_fragment {
                                // Any identification will do; the checksum must fit it.
                                let id = outcome.frame.get(18..20).unwrap_or(&[0, 0]);
                                header.identification = u32::from(u16::from_be_bytes([id[0], id[1]]));
                            }
                            Expect::Out(side, link_to(side, server).frame(&header.tunnel(&inner)))
                        });
                    }
                }
            }
        }
    }
}

#[test]
fn the_director_itself_serves() {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            let name = format!("{}-{protocol}", family.name);
            services += &service(&name, family.vip, 80, protocol, "forward: local, real_servers: [{}]");
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            let sent = FROM_CLIENT.frame(&opening(number, &family.request(), (4000, 80), b"mine"));
            world.row(&format!("{} {protocol}", family.name), Front, &sent, &Expect::Pass(Cause::Local));
        }
    }
}

/// rr over one real server of each method, in the order of their addresses.
#[test]
fn methods_mix_within_one_service() {
    let servers = r#"scheduler: rr, real_servers: [
        {address: "10.0.0.11"}, {address: "10.0.0.12", forward: nat, port: 8080},
        {address: "10.0.0.13", forward: ipip}, {address: "2001:db8::14", forward: ipip}]"#;
    let mut world = World::new(&service("mixed", V4.vip, 80, "tcp", servers));
    let ip = V4.request();
    let mut seen = Vec::new();
    for port in 5000..5008 {
        let sent = FROM_CLIENT.frame(&ip.tcp_packet(&syn(port, 80), b""));
        let inner = ip.routed().tcp_packet(&syn(port, 80), b"");
        let forms = [
            ("dr", link_to(Front, "10.0.0.11").frame(&ip.tcp_packet(&syn(port, 80), b""))),
            (
                "nat",
                link_to(Front, "10.0.0.12")
                    .frame(&ip.to("10.0.0.12").routed().tcp_packet(&syn(port, 8080), b"")),
            ),
            (
                "ipip",
                link_to(Front, "10.0.0.13").frame(&outer(V4.front_self, "10.0.0.13", &ip).tunnel(&inner)),
            ),
            (
                "ipip over IPv6",
                link_to(Front, "2001:db8::14")
                    .frame(&outer(V6.front_self, "2001:db8::14", &ip).tunnel(&inner)),
            ),
        ];
        world.row_by(&format!("connection {port}"), Front, &sent, |outcome| {
            let form = forms.iter().find(|(_, frame)| *frame == outcome.frame);
            seen.extend(form.map(|(name, _)| *name));
            Expect::Out(Front, form.unwrap_or(&forms[0]).1.clone())
        });
    }
    for method in ["dr", "nat", "ipip", "ipip over IPv6"] {
        let times = seen.iter().filter(|name| **name == method).count();
        world.equal(&format!("{method} in turn"), times, 2);
    }
}

#[test]
fn a_service_on_port_0_takes_every_port_without_a_service() {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            let name = |what: &str| format!("{}-{protocol}-{what}", family.name);
            let nat = format!("forward: nat, {}", servers(&[family.back]));
            services += &service(&name("all"), family.vip, 0, protocol, &nat);
            services += &service(&name("one"), family.vip, 80, protocol, &servers(&[family.front]));
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            let ip = family.request();
            let sent = FROM_CLIENT.frame(&opening(number, &ip, (4000, 80), b""));
            let left = link_to(Front, family.front).frame(&opening(number, &ip, (4000, 80), b""));
            let name = |what: &str| format!("{} {protocol} {what}", family.name);
            world.row(&name("its own service first"), Front, &sent, &Expect::Out(Front, left));
            for port in [1, 79, 443, 65_535] {
                let sent = FROM_CLIENT.frame(&opening(number, &ip, (4000, port), b""));
                let left = opening(number, &ip.to(family.back).routed(), (4000, port), b"");
                let expect = Expect::Out(Back, link_to(Back, family.back).frame(&left));
                world.row(&name(&format!("port {port} in")), Front, &sent, &expect);
                let reply = family.reply(family.back);
                let sent = opening(number, &reply, (port, 4000), b"");
                let left = opening(number, &reply.from(family.vip).routed(), (port, 4000), b"");
                let expect = Expect::Out(Front, TO_CLIENT.frame(&left));
                world.row(
                    &name(&format!("port {port} out")),
                    Back,
                    &link_from(Back, family.back).frame(&sent),
                    &expect,
                );
            }
        }
    }
}

/// The director is the gateway of its dr servers: the kernel would drop these, their source is local.
#[test]
fn replies_of_dr_servers_are_routed() {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            let name = format!("{}-{protocol}", family.name);
            services += &service(&name, family.vip, 80, protocol, &servers(&[family.back]));
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            let ip = family.reply(family.vip);
            let link = link_from(Back, family.back);
            let left = TO_CLIENT.frame(&opening(number, &ip.routed(), (80, 4000), b"answer"));
            let name = |what: &str| format!("{} {protocol} {what}", family.name);
            let sent = link.frame(&opening(number, &ip, (80, 4000), b"answer"));
            world.row(&name("reply"), Back, &sent, &Expect::Routed(Front, left));
            let other = link.frame(&opening(number, &ip, (81, 4000), b"answer"));
            world.row(&name("another port's"), Back, &other, &Expect::Pass(Cause::NoService));
            // Behind the router that is on the real server's own link.
            let local = ip.to(family.front);
            let sent = link.frame(&opening(number, &local, (80, 4000), b"answer"));
            world.row(&name("to a neighbour nobody knows"), Back, &sent, &Expect::Drop(Cause::NoNeighbour));
        }
        let expired = family.reply(family.vip).with(|ip| ip.hops = 1);
        let sent = link_from(Back, family.back).frame(&expired.udp_packet((80, 4000), b""));
        let outcome = world.run(Back, &sent);
        let name = format!("{} hops of a reply run out", family.name);
        world.check(&name, outcome.has(Cause::TimeExceededAnswered), || format!("{outcome:?}"));
    }
}

/// Tags stay, whatever happens to the rest.
#[test]
fn one_tag_is_kept() {
    let mut services = String::new();
    for family in FAMILIES {
        services +=
            &service(&format!("{}-dr", family.name), family.vip, 80, "tcp", &servers(&[family.front]));
        let nat = format!("forward: nat, {}", servers(&[family.back]));
        services += &service(&format!("{}-nat", family.name), family.vip, 81, "tcp", &nat);
        let ipip = format!("forward: ipip, {}", servers(&[family.back]));
        services += &service(&format!("{}-ipip", family.name), family.vip, 82, "tcp", &ipip);
        let other = if family.name == "v4" { V6 } else { V4 };
        let ipip = format!("forward: ipip, {}", servers(&[other.back]));
        services += &service(&format!("{}-ipip-other", family.name), family.vip, 83, "tcp", &ipip);
    }
    let mut world = World::new(&services);
    let link = FROM_CLIENT.tagged(0x6064);
    let tag = |link: Link| link.tagged(0x6064);
    for family in FAMILIES {
        let other = if family.name == "v4" { V6 } else { V4 };
        let ip = family.request();
        let inner = |port| ip.routed().tcp_packet(&syn(4000, port), b"x");
        let rows = [
            ("dr", 80, Front, tag(link_to(Front, family.front)).frame(&ip.tcp_packet(&syn(4000, 80), b"x"))),
            (
                "nat",
                81,
                Back,
                tag(link_to(Back, family.back))
                    .frame(&ip.to(family.back).routed().tcp_packet(&syn(4000, 81), b"x")),
            ),
            (
                "ipip",
                82,
                Back,
                tag(link_to(Back, family.back))
                    .frame(&outer(family.back_self, family.back, &ip).tunnel(&inner(82))),
            ),
            (
                "ipip in the other family",
                83,
                Back,
                tag(link_to(Back, other.back))
                    .frame(&outer(other.back_self, other.back, &ip).tunnel(&inner(83))),
            ),
        ];
        for (name, port, side, left) in rows {
            let sent = link.frame(&ip.tcp_packet(&syn(4000, port), b"x"));
            world.row(&format!("{} {name}", family.name), Front, &sent, &Expect::Out(side, left));
        }
    }
}

/// A switch floods frames whose place it does not know.
#[test]
fn replies_in_frames_for_another_machine_are_left_alone() {
    let mut services = String::new();
    for family in FAMILIES {
        services += &service(&format!("{}-dr", family.name), family.vip, 80, "udp", &servers(&[family.back]));
        let nat = format!("forward: nat, {}", servers(&[family.back]));
        services += &service(&format!("{}-nat", family.name), family.vip, 81, "udp", &nat);
    }
    let mut world = World::new(&services);
    world.learn_interfaces();
    for family in FAMILIES {
        world.run(Front, &FROM_CLIENT.frame(&family.request().udp_packet((4000, 81), b"")));
        for (source, port) in [(family.vip, 80), (family.back, 81)] {
            let ip = family.reply(source);
            let name = |what: &str| format!("{} from {source} {what}", family.name);
            let ours = link_from(Back, family.back);
            let sent = ip.udp_packet((port, 4000), b"");
            let left = TO_CLIENT.frame(&ip.from(family.vip).routed().udp_packet((port, 4000), b""));
            world.row(&name("to the director"), Back, &ours.frame(&sent), &Expect::Routed(Front, left));
            let flooded = Link { destination: [2, 0, 0, 0, 0, 0x99], ..ours };
            world.row(&name("to another"), Back, &flooded.frame(&sent), &Expect::Pass(Cause::NotForUs));
        }
        // To a service, whoever the frame is for.
        let flooded = Link { destination: [2, 0, 0, 0, 0, 0x99], ..FROM_CLIENT };
        let ip = family.request();
        let left = link_to(Back, family.back).frame(&ip.routed().udp_packet((4000, 80), b""));
        let name = format!("{} a request", family.name);
        world.row(&name, Front, &flooded.frame(&ip.udp_packet((4000, 80), b"")), &Expect::Out(Back, left));
    }
}
