//! Frames the director answers itself: ICMP errors to the sender, and echo.

use lvs_common::cause::Cause;
use lvs_tests::packet::frame::{Ip, packet_of};
use lvs_tests::packet::{Expect, Side, World};

use crate::traffic::*;

use Side::{Back, Front};

/// The error about `sent` that goes back to its sender, byte by byte: from the address it was sent to, with
/// 512 bytes of it at the most, in whole words.
fn error(family: Family, sent: &[u8], (kind, code): (u8, u8), word: u32) -> Vec<u8> {
    let quoted = packet_of(sent);
    let quoted = &quoted[..quoted.len().min(512) & !3];
    let header = family.reply(family.vip).with(|ip| {
        ip.tos = if ip.is_v4() { 0xc0 } else { 0 };
        ip.identification = 0;
    });
    let packet = header.icmp_packet(kind, code, word.to_be_bytes(), quoted);
    TO_CLIENT.frame(&packet)
}

fn each(mut row: impl FnMut(Family, &str, u8)) {
    for family in FAMILIES {
        for (protocol, number) in PROTOCOLS {
            row(family, protocol, number);
        }
    }
}

#[test]
fn without_a_destination_the_port_is_unreachable() {
    let mut services = String::new();
    each(|family, protocol, _| {
        let name = |what: &str| format!("{}-{protocol}-{what}", family.name);
        let idle = format!("real_servers: [{{address: \"{}\", weight: 0}}]", family.front);
        for (port, what, rest) in [
            (80, "empty", "real_servers: []".to_owned()),
            (81, "idle", idle.clone()),
            (82, "idle-rr", format!("scheduler: rr, {idle}")),
            (83, "idle-wlc", format!("scheduler: wlc, {idle}")),
        ] {
            services += &service(&name(what), family.vip, port, protocol, &rest);
        }
    });
    let mut world = World::new(&services);
    each(|family, protocol, number| {
        for port in 80..84 {
            for payload in [&b""[..], b"1", b"12", b"123", &[9; 470], &[9; 1400]] {
                let ip = family.request();
                let sent = FROM_CLIENT.frame(&opening(number, &ip, (4000, port), payload));
                let expect = Expect::Answer(Cause::Refused, error(family, &sent, family.port_unreachable, 0));
                let name = format!("{} {protocol} port {port}, {} bytes", family.name, payload.len());
                world.row(&name, Front, &sent, &expect);
            }
        }
        let ip = family.request().with(|ip| ip.options = vec![1; 12]);
        let sent = FROM_CLIENT.tagged(9).frame(&opening(number, &ip, (4000, 80), b""));
        let plain = FROM_CLIENT.frame(packet_of(&sent));
        let answer = error(family, &plain, family.port_unreachable, 0);
        let answer = TO_CLIENT.tagged(9).frame(packet_of(&answer));
        let name = format!("{} {protocol} with a tag and options", family.name);
        world.row(&name, Front, &sent, &Expect::Answer(Cause::Refused, answer));
        // A frame of the smallest size is padded; what is behind the packet is not quoted.
        let mut padded = FROM_CLIENT.frame(&opening(number, &family.request(), (4000, 80), b""));
        let answer = error(family, &padded, family.port_unreachable, 0);
        padded.resize(padded.len() + 6, 0);
        let name = format!("{} {protocol} padded", family.name);
        world.row(&name, Front, &padded, &Expect::Answer(Cause::Refused, answer));
    });
}

/// One service for each way, whose path takes 1400 bytes.
fn narrow() -> World {
    let mut services = String::new();
    for family in FAMILIES {
        let other = if family.name == "v4" { V6 } else { V4 };
        for (port, rest) in [
            (80, servers(&[family.front])),
            (81, servers(&[family.back])),
            (82, format!("forward: nat, {}", servers(&[family.far]))),
            (83, format!("forward: ipip, {}", servers(&[family.far]))),
            (84, format!("forward: ipip, {}", servers(&[other.far]))),
        ] {
            services += &service(&format!("{}-{port}", family.name), family.vip, port, "udp", &rest);
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for server in [family.front, family.back, family.far] {
            world.relocate(server, |next_hop| next_hop.mtu = 1400);
        }
    }
    world
}

/// Port, and what of 1400 bytes is left for the packet.
fn room(family: Family) -> [(u16, usize); 5] {
    let (same, other) = if family.name == "v4" { (20, 40) } else { (40, 20) };
    [(80, 1400), (81, 1400), (82, 1400), (83, 1400 - same), (84, 1400 - other)]
}

#[test]
fn what_does_not_fit_is_answered_with_what_fits() {
    let mut world = narrow();
    for family in FAMILIES {
        for (port, room) in room(family) {
            let header = family.request().header_length() + 8;
            let name = |what: &str| format!("{} port {port} {what}", family.name);
            let sized = |ip: &Ip, size: usize| {
                FROM_CLIENT.frame(&ip.udp_packet((4000, port), &vec![0x77; size - header]))
            };
            let fits = sized(&family.request(), room);
            let outcome = world.run(if port < 80 { Back } else { Front }, &fits);
            world.check(&name("fits"), outcome.causes.is_empty(), || format!("{:?}", outcome.causes));
            for size in [room + 1, 1500] {
                let sent = sized(&family.request(), size);
                let answer = error(family, &sent, family.too_big, room as u32);
                world.row(
                    &name(&format!("{size} bytes")),
                    Front,
                    &sent,
                    &Expect::Answer(Cause::TooBigAnswered, answer),
                );
            }
            if family.request().is_v4() {
                let sent = sized(&family.request().with(|ip| ip.dont_fragment = false), room + 1);
                world.row(&name("may be fragmented"), Front, &sent, &Expect::Drop(Cause::Unfragmentable));
            }
        }
    }
}

/// No IPv6 node lets itself be told less than 1280 (RFC 8200 section 5, RFC 8201 section 4), so that packets up
/// to this size would have to be fragmented on a narrower way. IPv4 is told what there is.
#[test]
fn ipv6_is_told_1280_at_the_least() {
    let narrow = 1270;
    let mut services = String::new();
    for family in FAMILIES {
        for (port, rest) in [
            (80, servers(&[family.front])),
            (82, format!("forward: nat, {}", servers(&[family.back]))),
            (83, format!("forward: ipip, {}", servers(&[V4.far]))),
            (84, format!("forward: ipip, {}", servers(&[V6.far]))),
        ] {
            services += &service(&format!("{}-{port}", family.name), family.vip, port, "udp", &rest);
        }
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        let outer = if family.name == "v4" { 20 } else { 40 };
        world.relocate(family.front, |next_hop| next_hop.mtu = narrow);
        world.relocate(family.back, |next_hop| next_hop.mtu = narrow);
        world.relocate(family.far, |next_hop| next_hop.mtu = narrow + outer);
    }
    for family in FAMILIES {
        let header = family.request().header_length() + 8;
        for port in [80, 82, 83, 84] {
            for size in [1270, 1271, 1272, 1280, 1281, 1500] {
                let payload = vec![0x77; size - header];
                let sent = FROM_CLIENT.frame(&family.request().udp_packet((4000, port), &payload));
                let name = format!("{} port {port}, {size} bytes", family.name);
                let told = if family.name == "v4" { 1270 } else { 1280 };
                if size == 1270 {
                    let outcome = world.run(Front, &sent);
                    world.check(&name, outcome.causes.is_empty(), || format!("{:?}", outcome.causes));
                } else if size <= told {
                    world.row(&name, Front, &sent, &Expect::Drop(Cause::Unfragmentable));
                } else {
                    let answer = error(family, &sent, family.too_big, told as u32);
                    world.row(&name, Front, &sent, &Expect::Answer(Cause::TooBigAnswered, answer));
                }
            }
        }
    }
}

#[test]
fn hops_run_out_where_the_director_routes() {
    let mut world = narrow();
    for family in FAMILIES {
        for (port, _) in room(family) {
            for hops in [0, 1, 2] {
                let ip = family.request().with(|ip| ip.hops = hops);
                let sent = FROM_CLIENT.frame(&ip.udp_packet((4000, port), b"data"));
                let name = format!("{} port {port}, {hops} hops", family.name);
                if port == 80 {
                    // The same link: the director is no hop.
                    let left = link_to(Front, family.front).frame(packet_of(&sent));
                    world.row(&name, Front, &sent, &Expect::Out(Front, left));
                } else if hops == 2 {
                    let outcome = world.run(Front, &sent);
                    world.check(&name, outcome.causes.is_empty(), || format!("{:?}", outcome.causes));
                } else {
                    let answer = error(family, &sent, family.time_exceeded, 0);
                    world.row(&name, Front, &sent, &Expect::Answer(Cause::TimeExceededAnswered, answer));
                }
            }
        }
    }
}

/// No error about an error, and none about a fragment that is not the first.
#[test]
fn some_packets_are_never_answered() {
    let mut world = narrow();
    for family in FAMILIES {
        let quoted = family.reply(family.vip).udp_packet((81, 4000), b"quoted");
        let ip = family.request().with(|ip| ip.hops = 1);
        let (kind, code) = family.port_unreachable;
        let sent = FROM_CLIENT.frame(&ip.icmp_packet(kind, code, [0; 4], &quoted));
        let name = format!("{} an error runs out of hops", family.name);
        world.row(&name, Front, &sent, &Expect::Drop(Cause::TimeExceeded));

        let datagram = family.request().udp((4000, 81), &[3; 40]);
        let first = family.request().with(|ip| ip.fragment = Some((0, true)));
        let later = ip.with(|ip| ip.fragment = Some((3, false)));
        world.run(Front, &FROM_CLIENT.frame(&first.packet(17, &datagram[..24])));
        let sent = FROM_CLIENT.frame(&later.packet(17, &datagram[24..]));
        let name = format!("{} a later fragment runs out of hops", family.name);
        world.row(&name, Front, &sent, &Expect::Drop(Cause::TimeExceeded));
    }
}

#[test]
fn the_way_back_is_checked_like_the_way_in() {
    let mut services = String::new();
    for family in FAMILIES {
        let nat = format!("forward: nat, {}", servers(&[family.back]));
        services += &service(&format!("{}-nat", family.name), family.vip, 53, "udp", &nat);
        services += &service(&format!("{}-dr", family.name), family.vip, 54, "udp", &servers(&[family.back]));
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        let opening = family.request().udp_packet((4000, 53), b"");
        world.run(Front, &FROM_CLIENT.frame(&opening));
        for (what, source, port) in [("nat", family.back, 53), ("dr", family.vip, 54)] {
            let link = link_from(Back, family.back);
            let ip = family.reply(source);
            let large = vec![1; 1500 - ip.header_length() - 8 + 1];
            let name = |case: &str| format!("{} {what} reply, {case}", family.name);
            let sent = link.frame(&ip.udp_packet((port, 4000), &large));
            let outcome = world.run(Back, &sent);
            world.check(&name("too big"), outcome.has(Cause::TooBigAnswered), || format!("{outcome:?}"));
            let sent = link.frame(&ip.with(|ip| ip.hops = 1).udp_packet((port, 4000), b""));
            let outcome = world.run(Back, &sent);
            world.check(&name("hops"), outcome.has(Cause::TimeExceededAnswered), || format!("{outcome:?}"));
        }
    }
}

#[test]
fn errors_are_few() {
    let mut world = World::new(&service("empty", V4.vip, 80, "udp", "real_servers: []"));
    world.settings(|settings| settings.errors_per_second = 3);
    // The budget is one per CPU.
    let mut one = nix::sched::CpuSet::new();
    let this = nix::sched::sched_getcpu().expect("the number of this CPU");
    one.set(this).expect("a CPU that exists");
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one).expect("this thread stays here");
    let sent = FROM_CLIENT.frame(&V4.request().udp_packet((4000, 80), b""));
    let mut fates = Vec::new();
    for _ in 0..20 {
        let outcome = world.run(Front, &sent);
        fates.extend(outcome.causes.iter().map(|(cause, _)| *cause));
    }
    let answered = fates.iter().filter(|cause| **cause == Cause::Refused).count();
    let dropped = fates.iter().filter(|cause| **cause == Cause::NoDestination).count();
    world.equal("each is one or the other", answered + dropped, 20);
    // A new second may begin on the way.
    world.check("answered", answered == 3 || answered == 6, || format!("{answered} of 20"));
    world.wait_for("another second", |world| world.run(Front, &sent).has(Cause::Refused));
}

#[test]
fn echo_to_a_vip_is_answered() {
    let mut services = String::new();
    for family in FAMILIES {
        services += &service(family.name, family.vip, 80, "tcp", &servers(&[family.back]));
    }
    let mut world = World::new(&services);
    for family in FAMILIES {
        for hops in [1, 64, 255] {
            for payload in [&b""[..], b"odd", b"even", &[0x42; 1400]] {
                for link in [FROM_CLIENT, FROM_CLIENT.tagged(5)] {
                    let ip = family.request().with(|ip| {
                        ip.hops = hops;
                        ip.tos = 0x10;
                        ip.options = vec![1; 4];
                        ip.extensions = vec![(60, 0)];
                    });
                    let word = [0xca, 0xfe, 0, 7];
                    let sent = link.frame(&ip.icmp_packet(family.echo_request, 0, word, payload));
                    let turned = ip.from(family.vip).to(family.client).with(|ip| ip.hops = 64);
                    let left = turned.icmp_packet(family.echo_reply, 0, word, payload);
                    let expect = Expect::Answer(Cause::EchoAnswered, link.turned().frame(&left));
                    let name =
                        format!("{} {hops} hops, {} bytes, tag {:?}", family.name, payload.len(), link.vlan);
                    world.row(&name, Front, &sent, &expect);
                }
            }
        }
        let ip = family.request();
        let other = FROM_CLIENT.frame(&ip.to(family.back).icmp_packet(family.echo_request, 0, [0; 4], b""));
        let name = format!("{} to a real server", family.name);
        world.row(&name, Front, &other, &Expect::Pass(Cause::NoService));
        let message = ip.icmp(family.echo_request, 0, [0; 4], &[1; 40]);
        let first = ip.with(|ip| ip.fragment = Some((0, true))).packet(ip.icmp_number(), &message[..24]);
        let name = format!("{} in fragments", family.name);
        world.row(&name, Front, &FROM_CLIENT.frame(&first), &Expect::Drop(Cause::FragmentBeforeFirst));
    }
}
