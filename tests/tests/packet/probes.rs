//! Health probes that take the path of the clients' packets: how they leave, and how their answers come in.

use std::net::IpAddr;

use lvs_common::cause::Cause;
use lvs_common::probe::MARK;
use lvs_tests::packet::frame::{Ip, number};
use lvs_tests::packet::{Expect, Side, World};
use lvs_userspace::config::model::Path;
use lvs_userspace::dataplane::Passage;

use crate::traffic::*;

use Side::{Back, Front};

/// Ports: the probe's, and the server's.
const PORTS: (u16, u16) = (45_000, 80);

/// One service of each method and family, whose checks take the path.
fn world() -> World {
    let mut services = String::new();
    for family in FAMILIES {
        for (port, method) in [(80, "dr"), (81, "ipip"), (82, "nat")] {
            let health = "health: {checks: [{type: tcp, via: path}]}";
            let rest = format!("forward: {method}, {health}, {}", servers(&[family.back]));
            services += &service(&format!("{}-{port}", family.name), family.vip, port, "tcp", &rest);
        }
    }
    World::new(&services)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn open(world: &World, path: &Path) -> Passage {
    world.probes().open(path).unwrap().unwrap()
}

/// The segment or datagram of a row.
fn said(number: u8, ip: &Ip, ports: (u16, u16)) -> Vec<u8> {
    let payload = b"is anybody there";
    if number == number::TCP {
        ip.tcp_packet(&ack(ports.0, ports.1), payload)
    } else {
        ip.udp_packet(ports, payload)
    }
}

/// Whatever else becomes of it: the director has no other use for an answer to itself.
fn not_given(world: &mut World, name: &str, frame: &[u8]) {
    let outcome = world.run(Back, frame);
    world.check(name, !outcome.has(Cause::ProbeAnswered), || format!("{:?}", outcome.causes));
}

/// The way to the VIP: what leaves, and what the answer becomes.
#[test]
fn a_probe_and_its_answer_change_the_address_of_the_server() {
    let mut world = world();
    for family in FAMILIES {
        let vip = ip(family.vip);
        let outer = Ip::new(family.back_self, family.back).with(|ip| ip.identification = 0);
        for (protocol, number) in PROTOCOLS {
            for path in [Path::Direct { vip }, Path::Tunnel { vip }] {
                let name = format!("{} {protocol} {path:?}", family.name);
                let passage = open(&world, &path);
                world.equal(&format!("{name}, not yet"), passage.was_taken().unwrap(), false);
                let sent = Ip::new(family.back_self, family.back);
                let frame = link_to(Back, family.back).frame(&said(number, &sent, PORTS));
                let inner = said(number, &sent.to(family.vip).with(|ip| ip.hops = 1), PORTS);
                let packet = if matches!(path, Path::Tunnel { .. }) { outer.tunnel(&inner) } else { inner };
                let left = world.leave(passage.mark(), &frame);
                world.equal(&name, left, (true, link_to(Back, family.back).frame(&packet)));
                world.equal(&format!("{name}, taken"), passage.was_taken().unwrap(), true);

                let answer = Ip::new(family.vip, family.back_self);
                let link = link_from(Back, family.back);
                let turned = (PORTS.1, PORTS.0);
                let frame = link.frame(&said(number, &answer, turned));
                let given = link.frame(&said(number, &answer.from(family.back), turned));
                let expect = Expect::Given(Cause::ProbeAnswered, given);
                world.row(&format!("{name}, answer"), Back, &frame, &expect);
                // The same port on another address of the director's, and another port.
                let stranger = link.frame(&said(number, &answer.to(family.front_self), turned));
                not_given(&mut world, &format!("{name}, address"), &stranger);
                let stranger = link.frame(&said(number, &answer, (PORTS.1, PORTS.0 + 1)));
                not_given(&mut world, &format!("{name}, port"), &stranger);

                drop(passage);
                not_given(&mut world, &format!("{name}, late"), &frame);
            }
        }
    }
}

/// The way of nat: the server sees an address off its links.
#[test]
fn a_probe_of_nat_changes_the_address_of_the_director() {
    let mut world = world();
    for (family, client) in [(V4, "198.18.0.1"), (V6, "2001:2::1")] {
        for (protocol, number) in PROTOCOLS {
            let name = format!("{} {protocol}", family.name);
            let passage = open(&world, &Path::Translated { client: ip(client) });
            let sent = Ip::new(family.back_self, family.back);
            let link = link_to(Back, family.back);
            let left = world.leave(passage.mark(), &link.frame(&said(number, &sent, PORTS)));
            world.equal(&name, left, (true, link.frame(&said(number, &sent.from(client), PORTS))));

            let (answer, turned) = (Ip::new(family.back, client), (PORTS.1, PORTS.0));
            let link = link_from(Back, family.back);
            let frame = link.frame(&said(number, &answer, turned));
            let given = link.frame(&said(number, &answer.to(family.back_self), turned));
            let expect = Expect::Given(Cause::ProbeAnswered, given);
            world.row(&format!("{name}, answer"), Back, &frame, &expect);
        }
    }
}

/// On a director that stands by, the default route of the servers leads to the other one.
#[test]
fn a_probe_of_nat_by_a_director_that_stands_by_stays_as_it_is() {
    let mut world = world();
    world.probes().stand_by(true);
    let passage = open(&world, &Path::Translated { client: ip("198.18.0.1") });
    let frame = link_to(Back, V4.back).frame(&said(number::TCP, &Ip::new(V4.back_self, V4.back), PORTS));
    let left = world.leave(passage.mark(), &frame);
    world.equal("it leaves", left, (true, frame));
    world.equal("it is taken for one on the path", passage.was_taken().unwrap(), true);
}

#[test]
fn what_is_no_probe_leaves_as_it_is_and_a_probe_without_a_path_not_at_all() {
    let mut world = world();
    let vip = ip(V4.vip);
    let passage = open(&world, &Path::Direct { vip });
    let link = link_to(Back, V4.back);
    let sent = Ip::new(V4.back_self, V4.back);
    let frame = link.frame(&said(number::TCP, &sent, PORTS));
    for mark in [0, 1, MARK >> 1, MARK << 1, MARK - 1] {
        world.equal(&format!("mark {mark:#x}"), world.leave(mark, &frame), (true, frame.clone()));
    }
    let unknown = passage.mark() + 1;
    world.equal("a mark that nobody has", world.leave(unknown, &frame).0, false);
    for (what, packet) in [
        ("ICMP", sent.icmp_packet(8, 0, [0; 4], b"echo")),
        ("options", said(number::TCP, &sent.with(|ip| ip.options = vec![1; 4]), PORTS)),
        ("a fragment", said(number::UDP, &sent.with(|ip| ip.fragment = Some((0, true))), PORTS)),
    ] {
        world.equal(what, world.leave(passage.mark(), &link.frame(&packet)).0, false);
    }
    world.equal("each is counted", world.counted(Cause::ProbeLost), 4);
    world.equal("not taken", passage.was_taken().unwrap(), false);
    drop(passage);

    // Without a check that takes the path nothing is looked for.
    world.reload(&service("plain", V4.vip, 80, "tcp", &servers(&[V4.back])));
    world.equal("nobody asks", world.leave(MARK, &frame), (true, frame.clone()));
}

/// A refusal is quoted as it was sent on; the socket must see what it has sent.
#[test]
fn an_error_about_a_probe_reaches_its_socket() {
    let mut world = world();
    for family in FAMILIES {
        let (kind, code) = family.port_unreachable;
        let link = link_from(Back, family.back);
        let own = family.back_self;
        let sent = Ip::new(own, family.back);
        let router = if family.name == "v4" { "192.168.0.254" } else { "2001:db8:1::254" };
        for (protocol, number) in PROTOCOLS {
            let quote = |ip: &Ip| {
                // The eight bytes that follow the header are those that were sent; their checksum is not looked at.
                let mut quote = said(number, ip, PORTS);
                let original = said(number, &sent, PORTS);
                let header = ip.header_length();
                quote.truncate(header + 8);
                quote[header..].copy_from_slice(&original[header..header + 8]);
                quote
            };
            let passage = open(&world, &Path::Direct { vip: ip(family.vip) });
            world.leave(passage.mark(), &link.turned().frame(&said(number, &sent, PORTS)));
            for (from, seen) in [(family.vip, family.back), (router, router)] {
                let name = format!("{} {protocol} from {from}", family.name);
                let hops = |ip: Ip| ip.with(|ip| ip.hops = 1);
                let error = |from: &str, quoted: Ip| {
                    link.frame(&Ip::new(from, own).icmp_packet(kind, code, [0; 4], &quote(&hops(quoted))))
                };
                let given = error(seen, sent.clone());
                let expect = Expect::Given(Cause::ProbeAnswered, given);
                world.row(&name, Back, &error(from, sent.to(family.vip)), &expect);
            }
            drop(passage);

            let client = if family.name == "v4" { "198.18.0.1" } else { "2001:2::1" };
            let passage = open(&world, &Path::Translated { client: ip(client) });
            world.leave(passage.mark(), &link.turned().frame(&said(number, &sent, PORTS)));
            let error = |to: &str, quoted: Ip| {
                link.frame(&Ip::new(family.back, to).icmp_packet(kind, code, [0; 4], &quote(&quoted)))
            };
            let expect = Expect::Given(Cause::ProbeAnswered, error(own, sent.clone()));
            let name = format!("{} {protocol} nat", family.name);
            world.row(&name, Back, &error(client, sent.from(client)), &expect);
        }
    }
}

/// Clients' packets and answers that only look like a probe's are balanced as ever.
#[test]
fn clients_do_not_notice() {
    let mut world = world();
    for family in FAMILIES {
        let passage = open(&world, &Path::Direct { vip: ip(family.vip) });
        let sent = Ip::new(family.back_self, family.back);
        world.leave(passage.mark(), &link_to(Back, family.back).frame(&said(number::TCP, &sent, PORTS)));
        // A client with the probe's port.
        let syn = family.request().tcp_packet(&syn(PORTS.0, PORTS.1), b"");
        let left = family.request().routed().tcp_packet(&crate::traffic::syn(PORTS.0, PORTS.1), b"");
        let left = link_to(Back, family.back).frame(&left);
        world.row(family.name, Front, &FROM_CLIENT.frame(&syn), &Expect::Out(Back, left));
        let answer = family.reply(family.vip).tcp_packet(&ack(PORTS.1, PORTS.0), b"");
        let routed = family.reply(family.vip).routed().tcp_packet(&ack(PORTS.1, PORTS.0), b"");
        let expect = Expect::Routed(Front, TO_CLIENT.frame(&routed));
        world.forwarding(true);
        world.row(family.name, Back, &link_from(Back, family.back).frame(&answer), &expect);
    }
}
