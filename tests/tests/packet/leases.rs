//! Nothing of a group's addresses passes without the group's lease, in neither direction.

use lvs_common::address::Address;
use lvs_common::cause::Cause;
use lvs_common::flow::{FlowKey, slot_of};
use lvs_common::lease::Lease;
use lvs_tests::cluster::{HELD, STALE};
use lvs_tests::packet::frame::{Ip, Link, Tcp, address, number, tcp_flag};
use lvs_tests::packet::{Expect, Side, World};
use lvs_userspace::dataplane::monotonic_nanoseconds;

use crate::traffic::*;

use Side::{Back, Front};

/// One service of each kind, for tcp and udp. Where the ring answers alone:
const RING: u16 = 80;
/// Where every flow is stored: the ring says where it goes,
const ALWAYS: u16 = 81;
/// a sequence does,
const WALKED: u16 = 82;
/// and where the director translates.
const NAT: u16 = 83;
const LOCAL: u16 = 84;
const STORED: [u16; 3] = [ALWAYS, WALKED, NAT];
/// No service.
const OTHER: u16 = 22;

/// The client's port of flows that begin under a good lease.
const OLD: u16 = 4000;

fn services(vip: fn(Family) -> &'static str, prefix: &str) -> String {
    let mut services = String::new();
    for family in FAMILIES {
        for (protocol, _) in PROTOCOLS {
            let back = servers(&[family.back]);
            for (port, rest) in [
                (RING, back.clone()),
                (ALWAYS, format!("track: always, {back}")),
                (WALKED, format!("scheduler: rr, {back}")),
                (NAT, format!("forward: nat, {back}")),
                (LOCAL, "forward: local, real_servers: [{}]".to_owned()),
            ] {
                let name = format!("{prefix}{}-{protocol}-{port}", family.name);
                services += &service(&name, vip(family), port, protocol, &rest);
            }
        }
    }
    services
}

fn vip(family: Family) -> &'static str {
    family.vip
}

/// The VIPs are in the second group; in the first is what no packet here is for.
fn world() -> World {
    World::with_groups(&services(vip, ""), &[&["10.0.0.99"], &[V4.vip, V6.vip]])
}

const LEASE: u8 = 2;

/// Begins a flow with every service that stores flows.
fn begin(world: &mut World) {
    for family in FAMILIES {
        for (_, number) in PROTOCOLS {
            for port in STORED {
                world.run(Front, &FROM_CLIENT.frame(&opening(number, &family.request(), (OLD, port), b"")));
            }
        }
    }
    world.forget();
}

fn arp(operation: u16, sender: &str, target: &str) -> Vec<u8> {
    let octets = |text: &str| match address(text) {
        std::net::IpAddr::V4(v4) => v4.octets(),
        std::net::IpAddr::V6(v6) => panic!("ARP knows no {v6}"),
    };
    let mut body = vec![0, 1, 8, 0, 6, 4];
    body.extend(operation.to_be_bytes());
    body.extend(FROM_CLIENT.source);
    body.extend(octets(sender));
    body.extend([0; 6]);
    body.extend(octets(target));
    body
}

/// A neighbour solicitation for `target`, sent to `to`.
fn solicitation(to: &str, target: &str, change: impl FnOnce(&mut Ip)) -> Vec<u8> {
    let std::net::IpAddr::V6(asked) = address(target) else { panic!("{target} is not of IPv6") };
    let mut body = asked.octets().to_vec();
    body.extend([1, 1]);
    body.extend(FROM_CLIENT.source);
    let ip = Ip::new("2001:db8::fe", to).with(|ip| ip.hops = 255).with(change);
    ip.icmp_packet(135, 0, [0; 4], &body)
}

/// Name, where it comes in, frame, and why it is dropped without the lease.
type Row = (String, Side, Vec<u8>, Cause);

/// What asks for the VIP by ARP or NDP.
fn questions(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    for link in [FROM_CLIENT, FROM_CLIENT.tagged(7)] {
        let mut row = |what: &str, frame: Vec<u8>| {
            let name = format!("{} {what}, tag {:?}", family.name, link.vlan);
            rows.push((name, Front, frame, Cause::NoLeaseToAnswer));
        };
        if family.name == "v4" {
            let frame = |body: &[u8]| Link { destination: [0xff; 6], ..link }.typed(0x0806, body);
            row("who has", frame(&arp(1, "10.0.0.254", family.vip)));
            row("reply to it", frame(&arp(2, "10.0.0.254", family.vip)));
        } else {
            let multicast = "ff02::1:ff00:3";
            let frame = |packet: &[u8]| link.frame(packet);
            row("solicitation", frame(&solicitation(multicast, family.vip, |_| {})));
            row("is it there still", frame(&solicitation(family.vip, family.vip, |_| {})));
            let options = |ip: &mut Ip| ip.extensions = vec![(number::HOP_BY_HOP, 0), (60, 1)];
            row("solicitation behind options", frame(&solicitation(multicast, family.vip, options)));
        }
    }
    rows
}

/// What is for the VIP, or answers from it. Of nat the answers to what [`begin`] has sent.
fn traffic(family: Family) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |what: String, side: Side, frame: Vec<u8>| {
        rows.push((format!("{} {what}", family.name), side, frame, Cause::NoLease));
    };
    let request = family.request();
    let back = link_from(Back, family.back);
    let unusual = request.with(|ip| {
        ip.options = vec![1; 8];
        ip.extensions = vec![(number::DESTINATION_OPTIONS, 0)];
    });
    for (protocol, number) in PROTOCOLS {
        for port in [RING, ALWAYS, WALKED, NAT, LOCAL, OTHER] {
            for (what, ip, link) in [
                ("plain", &request, FROM_CLIENT),
                ("with options", &unusual, FROM_CLIENT),
                ("with a tag", &request, FROM_CLIENT.tagged(7)),
            ] {
                let frame = link.frame(&opening(number, ip, (OLD, port), b"data"));
                row(format!("{protocol} {port} {what}"), Front, frame);
            }
            // Its first fragment, and one that follows.
            let datagram = opening(number, &request, (OLD, port), &[7; 40]);
            let payload = &datagram[request.header_length()..];
            for (place, part) in [((0, true), &payload[..24]), ((3, false), &payload[24..])] {
                let ip = request.with(|ip| {
                    ip.fragment = Some(place);
                    ip.identification = 100 * u32::from(number) + u32::from(port);
                });
                let frame = FROM_CLIENT.frame(&ip.packet(number, part));
                row(format!("{protocol} {port} fragment at {}", place.0), Front, frame);
            }
            // A router tells that an answer was too big.
            let mut quoted =
                family.reply(family.vip).packet(number, &opening(number, &request, (port, OLD), b""));
            quoted.truncate(request.header_length() + 8);
            let (kind, code) = family.too_big;
            let frame = FROM_CLIENT.frame(&request.icmp_packet(kind, code, 1300_u32.to_be_bytes(), &quoted));
            row(format!("{protocol} {port} ICMP error"), Front, frame);
        }
        if number == number::TCP {
            for port in STORED {
                let frame = FROM_CLIENT.frame(&request.tcp_packet(&ack(OLD, port), b"goes on"));
                row(format!("{protocol} {port} in the middle of a flow"), Front, frame);
            }
        }
        let says = |ip: &Ip, port| {
            let tcp = Tcp::new(port, OLD, tcp_flag::SYN | tcp_flag::ACK);
            if number == number::TCP { ip.tcp_packet(&tcp, b"") } else { ip.udp_packet((port, OLD), b"") }
        };
        for (what, server, port) in [("nat", family.back, NAT), ("dr", family.vip, RING)] {
            let reply = family.reply(server);
            row(format!("{protocol} answer, {what}"), Back, back.frame(&says(&reply, port)));
            let unusual = reply.with(|ip| ip.options = vec![1; 4]);
            let tagged = back.tagged(9).frame(&says(&unusual, port));
            row(format!("{protocol} answer, {what}, unusual"), Back, tagged);
            // The real server complains about what it got.
            let mut quoted = opening(number, &Ip::new(family.client, server), (OLD, port), b"");
            quoted.truncate(request.header_length() + 8);
            let (kind, code) = family.port_unreachable;
            let frame = back.frame(&reply.icmp_packet(kind, code, [0; 4], &quoted));
            row(format!("{protocol} ICMP error of a server, {what}"), Back, frame);
            let first = reply.with(|ip| ip.fragment = Some((0, true)));
            let datagram = reply.udp((port, OLD), &[7; 16]);
            if number == number::UDP {
                row(format!("answer's fragment, {what}"), Back, back.frame(&first.packet(number, &datagram)));
            }
        }
    }
    row(
        "ping".to_owned(),
        Front,
        FROM_CLIENT.frame(&request.icmp_packet(family.echo_request, 0, [0; 4], b"")),
    );
    row("GRE".to_owned(), Front, FROM_CLIENT.frame(&request.packet(47, &[0; 20])));
    let mut lies = FROM_CLIENT.frame(&opening(number::TCP, &request, (OLD, RING), b"data"));
    lies.truncate(lies.len() - 6);
    row("malformed".to_owned(), Front, lies);
    rows
}

/// What is no business of the group's.
fn others(family: Family) -> Vec<(String, Side, Vec<u8>)> {
    let mut rows = Vec::new();
    let ip = family.request().to(family.front_self);
    let mut row = |what: &str, frame: Vec<u8>| rows.push((format!("{} {what}", family.name), Front, frame));
    for (what, ip) in [("plain", ip.clone()), ("with options", ip.with(|ip| ip.options = vec![1; 4]))] {
        row(&format!("ssh, {what}"), FROM_CLIENT.frame(&ip.tcp_packet(&syn(OLD, OTHER), b"")));
        row(&format!("dns, {what}"), FROM_CLIENT.frame(&ip.udp_packet((53, 4000), b"answer")));
    }
    row("ping", FROM_CLIENT.frame(&ip.icmp_packet(family.echo_request, 0, [0; 4], b"")));
    // The other director speaks from the VIP that it holds.
    let peer = Ip::new(family.vip, family.front_self);
    row("from the VIP", FROM_CLIENT.frame(&peer.tcp_packet(&ack(OTHER, OLD), b"")));
    if family.name == "v4" {
        row("who has us", FROM_CLIENT.typed(0x0806, &arp(1, "10.0.0.254", family.front_self)));
        row("the VIP asks for us", FROM_CLIENT.typed(0x0806, &arp(1, family.vip, family.front_self)));
        row("ARP cut short", FROM_CLIENT.typed(0x0806, &arp(1, "10.0.0.254", family.vip)[..20]));
        let mut foreign = arp(1, "10.0.0.254", family.vip);
        foreign[4] = 8;
        row("ARP of another hardware", FROM_CLIENT.typed(0x0806, &foreign));
        row("a frame of the bridge's", FROM_CLIENT.typed(0x88cc, &[0; 40]));
        // Another director is about to take the VIP, or has done so: the agent is to hear it.
        for link in [FROM_CLIENT, FROM_CLIENT.tagged(7)] {
            row("probe (RFC 5227)", link.typed(0x0806, &arp(1, "0.0.0.0", family.vip)));
            row("announcement", link.typed(0x0806, &arp(1, family.vip, family.vip)));
            row("announcement as a reply", link.typed(0x0806, &arp(2, family.vip, family.vip)));
        }
    } else {
        let unspecified = |ip: &mut Ip| ip.source = address("::");
        for link in [FROM_CLIENT, FROM_CLIENT.tagged(7)] {
            let asks = solicitation("ff02::1:ff00:3", family.vip, unspecified);
            row("is it free (RFC 4862)", link.frame(&asks));
        }
        let asks = |target| solicitation("ff02::1:ff00:1", target, |_| {});
        row("solicitation for us", FROM_CLIENT.frame(&asks(family.front_self)));
        let advertisement = Ip::new(family.vip, "ff02::1").with(|ip| ip.hops = 255);
        let std::net::IpAddr::V6(vip) = address(family.vip) else { unreachable!() };
        let advertisement = advertisement.icmp_packet(136, 0, [0x20, 0, 0, 0], &vip.octets());
        row("the other director's advertisement", FROM_CLIENT.frame(&advertisement));
    }
    rows
}

#[test]
fn without_the_lease_nothing_passes() {
    let mut world = world();
    world.lease(LEASE, HELD);
    begin(&mut world);
    let now = monotonic_nanoseconds();
    let over = Lease { ends: now, fresh_until: now };
    let mistaken = Lease { ends: now, fresh_until: u64::MAX };
    for (when, lease) in [("never held", Lease::NONE), ("over", over), ("over, but fresh", mistaken)] {
        // Another group's lease is of no use.
        world.lease(1, HELD);
        world.lease(LEASE, lease);
        for family in FAMILIES {
            for (name, side, frame, cause) in questions(family).into_iter().chain(traffic(family)) {
                world.row(&format!("{when}: {name}"), side, &frame, &Expect::Drop(cause));
            }
            for (name, side, frame) in others(family) {
                let outcome = world.run(side, &frame);
                let kind = if frame[12..14] == [0x81, 0] { &frame[16..18] } else { &frame[12..14] };
                let is_ip = ![[8, 6], [0x88, 0xcc]].iter().any(|other| kind == other);
                let cause = if is_ip { Cause::NoService } else { Cause::NotIp };
                world.equal(&format!("{when}: {name}"), outcome.causes, vec![(cause, 1)]);
            }
        }
    }
    // Nothing of it has changed what the director knows of its flows.
    let states = |world: &World| {
        let mut all: Vec<_> = world
            .connections()
            .into_iter()
            .map(|(key, one, new)| (key.source_port, one.state, new))
            .collect();
        all.sort();
        all
    };
    let before = {
        let mut other = self::world();
        other.lease(LEASE, HELD);
        begin(&mut other);
        states(&other)
    };
    let after = states(&world);
    world.equal("connections", after, before);
}

/// Fate and bytes of every frame are those of a director without a cluster.
#[test]
fn with_the_lease_a_group_makes_no_difference() {
    let (mut grouped, mut alone) = (world(), World::new(&services(vip, "")));
    grouped.lease(LEASE, HELD);
    for world in [&mut grouped, &mut alone] {
        begin(world);
    }
    let mut sent = 0;
    for family in FAMILIES {
        let rows = questions(family).into_iter().chain(traffic(family));
        let rows = rows.map(|(name, side, frame, _)| (name, side, frame)).chain(others(family));
        for (name, side, frame) in rows {
            let (found, expected) = (grouped.run(side, &frame), alone.run(side, &frame));
            let summary = |of: lvs_tests::packet::Outcome| (of.verdict, of.frame, of.causes);
            sent += u32::from(expected.causes.is_empty());
            grouped.equal(&name, summary(found), summary(expected));
        }
    }
    grouped.check("most of it is balanced", sent > 100, || format!("only {sent} frames were sent on"));
}

/// A lease not renewed lately: what would be stored is left to the next holder, all else goes on.
#[test]
fn under_a_stale_lease_nothing_new_is_stored() {
    let mut world = world();
    world.lease(LEASE, HELD);
    begin(&mut world);
    world.lease(LEASE, STALE);
    for family in FAMILIES {
        let request = family.request();
        let options = request.with(|ip| {
            ip.options = vec![1; 8];
            ip.extensions = vec![(number::DESTINATION_OPTIONS, 0)];
        });
        for (protocol, number) in PROTOCOLS {
            for (what, ip, link) in [
                ("plain", &request, FROM_CLIENT),
                ("with options", &options, FROM_CLIENT),
                ("with a tag", &request, FROM_CLIENT.tagged(7)),
            ] {
                let name =
                    |case: &str, port: u16| format!("{} {protocol} {port} {what}: {case}", family.name);
                for port in STORED {
                    let begins = link.frame(&opening(number, ip, (5000, port), b""));
                    world.row(&name("new", port), Front, &begins, &Expect::Drop(Cause::StaleLease));
                    let again = link.frame(&opening(number, ip, (OLD, port), b""));
                    let outcome = world.run(Front, &again);
                    world.equal(&name("known", port), outcome.causes, vec![]);
                }
                let unstored = link.frame(&opening(number, ip, (5000, RING), b""));
                let outcome = world.run(Front, &unstored);
                world.equal(&name("the ring's", RING), outcome.causes, vec![]);
            }
        }
        for port in STORED {
            let name = |case: &str| format!("{} tcp {port}: {case}", family.name);
            let goes_on = FROM_CLIENT.frame(&request.tcp_packet(&ack(OLD, port), b"goes on"));
            let outcome = world.run(Front, &goes_on);
            world.equal(&name("established"), outcome.causes, vec![]);
        }
        let reply = family.reply(family.back).tcp_packet(&ack(NAT, OLD), b"");
        let outcome = world.run(Back, &link_from(Back, family.back).frame(&reply));
        world.equal(&format!("{} nat answer", family.name), outcome.causes, vec![]);
        for (name, side, frame, _) in questions(family) {
            let cause = if family.name == "v4" { Cause::NotIp } else { Cause::NoService };
            world.row(&format!("stale: {name}"), side, &frame, &Expect::Pass(cause));
        }
        let ping = FROM_CLIENT.frame(&request.icmp_packet(family.echo_request, 0, [0; 4], b""));
        let outcome = world.run(Front, &ping);
        world.equal(&format!("{} ping", family.name), outcome.has(Cause::EchoAnswered), true);
    }
    world.equal("nobody new is stored", world.connections().len(), FAMILIES.len() * 2 * STORED.len());
    // The client tries again, and the lease is as good as before.
    world.lease(LEASE, HELD);
    for family in FAMILIES {
        for port in STORED {
            let frame = FROM_CLIENT.frame(&family.request().tcp_packet(&syn(5000, port), b""));
            let outcome = world.run(Front, &frame);
            world.equal(&format!("{} {port} renewed", family.name), outcome.causes, vec![]);
        }
    }
}

/// While a ring changes, flows that begin in a slot of two holders are stored: they too wait. Those that go on do
/// not, nor do datagrams, which go to the new holder at once, here as there.
#[test]
fn a_changing_ring_is_fresh_or_waits() {
    let pool = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];
    let both = |pool: &[&str]| {
        PROTOCOLS.map(|(protocol, _)| service(protocol, V4.vip, RING, protocol, &servers(pool))).concat()
    };
    let mut world = World::with_groups(&both(&pool[..2]), &[&[], &[V4.vip]]);
    world.lease(LEASE, STALE);
    world.reload(&both(&pool));
    let service = world.service(V4.vip, RING, number::TCP);
    let slots = world.ring(&service);
    let is_dual = |port: u16| {
        let ends = (Address::from(address(V4.client)), Address::from(address(V4.vip)));
        let key = FlowKey::new(ends.0, port, ends.1, RING, number::TCP);
        slots[slot_of(key.hash(), service.ring_slots) as usize].is_dual()
    };
    let mut met = [0, 0];
    for port in 10_000..10_200 {
        let frame = |flags| FROM_CLIENT.frame(&V4.request().tcp_packet(&Tcp::new(port, RING, flags), b""));
        let dual = is_dual(port);
        met[usize::from(dual)] += 1;
        let outcome = world.run(Front, &frame(tcp_flag::SYN));
        let expected = if dual { vec![(Cause::StaleLease, 1)] } else { vec![] };
        world.equal(&format!("SYN of {port}"), outcome.causes, expected);
        let outcome = world.run(Front, &frame(tcp_flag::ACK));
        world.equal(&format!("ACK of {port}"), outcome.causes, vec![]);
        let datagram = V4.request().udp_packet((port, RING), b"");
        let outcome = world.run(Front, &FROM_CLIENT.frame(&datagram));
        world.equal(&format!("datagram of {port}"), outcome.causes, vec![]);
    }
    world.check("both kinds of slots", met[0] > 20 && met[1] > 20, || format!("{met:?}"));
}

/// The program goes by the clock and needs nobody to tell it that a lease is over.
#[test]
fn a_lease_ends_by_itself_and_may_be_renewed() {
    let mut world = world();
    let frame = FROM_CLIENT.frame(&V4.request().tcp_packet(&syn(OLD, RING), b""));
    let question = Link { destination: [0xff; 6], ..FROM_CLIENT };
    let question = question.typed(0x0806, &arp(1, "10.0.0.254", V4.vip));
    for round in 0..3 {
        let ends = monotonic_nanoseconds() + 200_000_000;
        world.lease(LEASE, Lease { ends, fresh_until: ends });
        let outcome = world.run(Front, &frame);
        // A test may be held up for longer than the lease lasts.
        if monotonic_nanoseconds() < ends {
            world.equal(&format!("{round}: held"), outcome.causes, vec![]);
        }
        world.wait_for("the end of the lease", |_| monotonic_nanoseconds() >= ends);
        world.row(&format!("{round}: over"), Front, &frame, &Expect::Drop(Cause::NoLease));
        world.row(&format!("{round}: asked"), Front, &question, &Expect::Drop(Cause::NoLeaseToAnswer));
    }
}

/// An address without a service, as the gateway that nat servers use, is fenced as any other.
#[test]
fn an_address_without_a_service_needs_its_lease_too() {
    for services in ["  []", &services(vip, "")] {
        let mut world = World::with_groups(services, &[&[V4.back_self, V6.back_self]]);
        for (lease, held) in [(Lease::NONE, false), (HELD, true), (STALE, true)] {
            world.lease(1, lease);
            for family in FAMILIES {
                let ip = Ip::new(family.back, family.back_self);
                let link = link_from(Back, family.back);
                let mut row = |what: &str, frame: Vec<u8>, passes: Cause, drops: Cause| {
                    let expect = if held { Expect::Pass(passes) } else { Expect::Drop(drops) };
                    world.row(&format!("{} {what}, {held}", family.name), Back, &frame, &expect);
                };
                let tcp = link.frame(&ip.tcp_packet(&syn(OLD, OTHER), b""));
                row("ssh", tcp, Cause::NoService, Cause::NoLease);
                let ping = link.frame(&ip.icmp_packet(family.echo_request, 0, [0; 4], b""));
                row("ping", ping, Cause::NoService, Cause::NoLease);
                if family.name == "v4" {
                    let asks = link.typed(0x0806, &arp(1, family.back, family.back_self));
                    row("who has", asks, Cause::NotIp, Cause::NoLeaseToAnswer);
                } else {
                    let asks = link.frame(&solicitation("ff02::1:ff00:1", family.back_self, |_| {}));
                    row("solicitation", asks, Cause::NoService, Cause::NoLeaseToAnswer);
                }
                let own = link.frame(&ip.to(family.front_self).tcp_packet(&syn(OLD, OTHER), b""));
                world.row(&format!("{} own", family.name), Back, &own, &Expect::Pass(Cause::NoService));
            }
        }
    }
}

/// What this machine's kernel says for the VIP, and for other addresses: frame, and whether it is of the group.
fn sayings(family: Family) -> Vec<(String, Vec<u8>, bool)> {
    let mut rows = Vec::new();
    for link in [TO_CLIENT, TO_CLIENT.tagged(7)] {
        let mut row = |what: &str, frame: Vec<u8>, fenced: bool| {
            rows.push((format!("{} {what}, tag {:?}", family.name, link.vlan), frame, fenced));
        };
        for (source, fenced) in [(family.vip, true), (family.front_self, false)] {
            let ip = Ip::new(source, family.client);
            let unusual = ip.with(|ip| {
                ip.options = vec![1; 8];
                ip.extensions = vec![(number::DESTINATION_OPTIONS, 0)];
            });
            for (what, ip) in [("plain", &ip), ("unusual", &unusual)] {
                let name = |kind: &str| format!("{what} {kind} from {source}");
                row(&name("tcp"), link.frame(&ip.tcp_packet(&ack(OTHER, OLD), b"data")), fenced);
                row(&name("udp"), link.frame(&ip.udp_packet((OTHER, OLD), b"")), fenced);
                row(&name("ping"), link.frame(&ip.icmp_packet(family.echo_reply, 0, [0; 4], b"")), fenced);
                row(&name("GRE"), link.frame(&ip.packet(47, &[0; 8])), fenced);
                let later = ip.with(|ip| ip.fragment = Some((3, false)));
                row(&name("fragment"), link.frame(&later.packet(number::UDP, &[7; 16])), fenced);
            }
            if family.name == "v4" {
                for (operation, target) in [(1, "10.0.0.254"), (2, "10.0.0.254"), (1, source)] {
                    let frame = link.typed(0x0806, &arp(operation, source, target));
                    row(&format!("ARP {operation} from {source} for {target}"), frame, fenced);
                }
            } else {
                let std::net::IpAddr::V6(target) = address(source) else { unreachable!() };
                // From the address itself, and from another of the machine.
                for speaker in [source, "fe80::1"] {
                    let ip = Ip::new(speaker, "ff02::1").with(|ip| ip.hops = 255);
                    let packet = ip.icmp_packet(136, 0, [0x20, 0, 0, 0], &target.octets());
                    row(&format!("advertisement of {source} by {speaker}"), link.frame(&packet), fenced);
                    let packet = ip.icmp_packet(135, 0, [0; 4], &target.octets());
                    let asks = fenced && speaker == source;
                    row(&format!("solicitation of {source} by {speaker}"), link.frame(&packet), asks);
                }
            }
        }
        // What only speaks to it, or of it.
        let peer = Ip::new(family.front_self, family.vip);
        row("to the VIP", link.frame(&peer.tcp_packet(&syn(OLD, OTHER), b"")), false);
        if family.name == "v4" {
            row("who has the VIP", link.typed(0x0806, &arp(1, family.front_self, family.vip)), false);
            row("ARP cut short", link.typed(0x0806, &arp(1, family.vip, family.vip)[..16]), false);
        }
        row("a frame of the bridge's", link.typed(0x88cc, &[0; 40]), false);
    }
    rows
}

#[test]
fn without_the_lease_the_machine_itself_does_not_speak_for_the_group() {
    let mut world = world();
    let mut alone = World::new(&services(vip, ""));
    for lease in [Lease::NONE, STALE, HELD] {
        world.lease(LEASE, lease);
        let over = lease == Lease::NONE;
        for family in FAMILIES {
            for (name, frame, fenced) in sayings(family) {
                let dropped = (over && fenced).then_some(Cause::NoLeaseToSend);
                world.leaving_row(&format!("{lease:?}: {name}"), &frame, dropped);
                alone.leaving_row(&name, &frame, None);
            }
        }
    }
}

/// Of two groups one may be held without the other; services of neither do not care.
#[test]
fn groups_are_held_one_by_one() {
    let one = |family: Family| if family.name == "v4" { "10.0.0.4" } else { "2001:db8::4" };
    let none = |family: Family| if family.name == "v4" { "10.0.0.5" } else { "2001:db8::5" };
    let all = [services(vip, "a-"), services(one, "b-"), services(none, "c-")].concat();
    let groups: [&[&str]; 2] = [&[V4.vip, V6.vip], &[one(V4), one(V6)]];
    let mut world = World::with_groups(&all, &groups);
    for (first, second) in [(false, false), (true, false), (false, true), (true, true)] {
        for (index, held) in [(1, first), (2, second)] {
            world.lease(index, if held { HELD } else { Lease::NONE });
        }
        for family in FAMILIES {
            // Flows to two VIPs must not look the same to the real server behind both.
            let vips = [(family.vip, 4000, first), (one(family), 4001, second), (none(family), 4002, true)];
            for (vip, source, held) in vips {
                for port in [RING, ALWAYS, WALKED, NAT] {
                    let packet = family.request().to(vip).tcp_packet(&syn(source, port), b"");
                    let outcome = world.run(Front, &FROM_CLIENT.frame(&packet));
                    let expected = if held { vec![] } else { vec![(Cause::NoLease, 1)] };
                    let name = format!("{first} {second}: {vip} {port}");
                    world.equal(&name, outcome.causes, expected);
                }
            }
        }
    }
}
