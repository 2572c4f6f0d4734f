//! Connections of a real server that is down, where they are to be reset: `on_down: reset`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lvs_common::cause::Cause;
use lvs_common::destination::Load;
use lvs_common::destination::destination_flags::NEXT_HOP_KNOWN;
use lvs_common::lease::Lease;
use lvs_common::tcp_state::state;
use lvs_tests::packet::frame::{Ip, Tcp, number, tcp_flag};
use lvs_tests::packet::{Expect, Outcome, Side, Verdict, World};

use crate::traffic::*;

use Side::{Back, Front};
use tcp_flag::{ACK, FIN, PSH, RST, SYN};

/// The forwarding methods, each with a real server that goes down and one that stays.
fn methods(family: Family) -> [(&'static str, [String; 2]); 3] {
    let both = |first: &str| {
        let second = format!("{}2", &first[..first.len() - 1]);
        [first.to_owned(), second]
    };
    [("dr", both(family.front)), ("nat", both(family.back)), ("ipip", both(family.far))]
}

/// How real servers are chosen and connections remembered.
const CHOICES: [&str; 4] =
    ["scheduler: mh", "scheduler: mh, track: always", "scheduler: wlc", "scheduler: rr"];

/// One service, and whoever goes down and stays of its real servers.
struct Case {
    family: Family,
    name: String,
    port: u16,
    /// The service's further keys.
    rest: String,
    dying: String,
    staying: String,
}

/// A service for every method and choice of each family.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for family in FAMILIES {
        let all = methods(family);
        let pairs = all.iter().flat_map(|method| CHOICES.map(|choice| (method, choice)));
        for (port, ((method, [dying, staying]), choice)) in (80..).zip(pairs) {
            let name = format!("{} {method} {choice}", family.name);
            let rest = format!("{choice}, forward: {method}, {}", servers(&[dying, staying]));
            cases.push(Case { family, name, port, rest, dying: dying.clone(), staying: staying.clone() });
        }
    }
    cases
}

fn world(cases: &[Case], protocol: &str) -> World {
    let services = cases.iter().map(|Case { family, port, rest, .. }| {
        service(&format!("{}-{port}", family.name), family.vip, *port, protocol, rest)
    });
    World::new(&services.collect::<String>())
}

fn send(world: &mut World, ip: &Ip, tcp: &Tcp) -> Outcome {
    world.run(Front, &FROM_CLIENT.frame(&ip.tcp_packet(tcp, b"")))
}

/// The addresses of real servers, by index: they keep it when they go down.
type Addresses = BTreeMap<u32, String>;

fn addresses(world: &World) -> Addresses {
    let all = world.snapshot().destinations.into_iter();
    all.map(|(index, one)| (index, IpAddr::from(one.address).to_string())).collect()
}

/// Who was sent the packet.
fn receiver<'a>(addresses: &'a Addresses, outcome: &Outcome) -> Option<&'a str> {
    addresses.get(outcome.counters.keys().next()?).map(String::as_str)
}

/// Ports of `count` connections with `server`, established from the client's ports 4000 and up.
fn established(
    world: &mut World,
    addresses: &Addresses,
    ip: &Ip,
    (port, server): (u16, &str),
    count: usize,
) -> Vec<u16> {
    let ours = (4000..5000).filter(|source| {
        world.only_run(Front, &FROM_CLIENT.frame(&ip.tcp_packet(&syn(*source, port), b"")));
        let outcome = send(world, ip, &ack(*source, port));
        receiver(addresses, &outcome) == Some(server)
    });
    ours.take(count).collect()
}

/// What answers `tcp` with so many bytes: RFC 9293 section 3.10.7.1, and 3.5.2.
fn reset(family: Family, tcp: &Tcp, payload: u32) -> Vec<u8> {
    let (sequence, acknowledged, flags) = if tcp.flags & ACK != 0 {
        (tcp.acknowledged, 0, RST)
    } else {
        let counted = u32::from(tcp.flags & SYN != 0) + u32::from(tcp.flags & FIN != 0);
        (0, tcp.sequence.wrapping_add(payload + counted), RST | ACK)
    };
    let answer = Tcp { sequence, acknowledged, window: 0, ..Tcp::new(tcp.destination, tcp.source, flags) };
    family.reply(family.vip).with(|ip| ip.identification = 0).tcp_packet(&answer, b"")
}

fn all_down(world: &mut World) {
    let down: Vec<String> = FAMILIES.into_iter().flat_map(methods).map(|(_, [first, _])| first).collect();
    world.down(&down.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn by_every_method_and_scheduler_the_client_is_told() {
    let cases = cases();
    let mut world = world(&cases, "tcp");
    let addresses = addresses(&world);
    let mut open = Vec::new();
    for Case { family, name, port, dying, .. } in &cases {
        let ports = established(&mut world, &addresses, &family.request(), (*port, dying), 3);
        world.equal(&format!("{name}: connections"), ports.len(), 3);
        open.push(ports);
    }
    all_down(&mut world);
    for (Case { family, name, port, staying, .. }, ports) in cases.iter().zip(&open) {
        let ip = family.request();
        for (what, flags, payload) in [
            ("data", ACK | PSH, &[7; 700][..]),
            ("the same again", ACK | PSH, &[7; 700]),
            ("an odd byte", ACK | PSH, b"1"),
            ("an acknowledgement", ACK, b""),
            ("its end", ACK | FIN, b""),
        ] {
            let tcp = Tcp::new(ports[0], *port, flags);
            let sent = FROM_CLIENT.frame(&ip.tcp_packet(&tcp, payload));
            let answer = TO_CLIENT.frame(&reset(*family, &tcp, payload.len() as u32));
            world.row(&format!("{name}: {what}"), Front, &sent, &Expect::Answer(Cause::Reset, answer));
        }
        // It goes elsewhere under the same port, and goes on there.
        for tcp in [syn(ports[0], *port), ack(ports[0], *port)] {
            let outcome = send(&mut world, &ip, &tcp);
            let receiver = receiver(&addresses, &outcome);
            world.equal(&format!("{name}: a new connection"), receiver, Some(staying.as_str()));
        }
        // Its reset is not answered, and sent nowhere.
        for flags in [RST, RST | ACK] {
            let sent = FROM_CLIENT.frame(&ip.tcp_packet(&Tcp::new(ports[1], *port, flags), b""));
            world.row(&format!("{name}: RST"), Front, &sent, &Expect::Drop(Cause::ServerDown));
        }
        // Nor is the dead server told what routers say of the connection.
        let quoted = family.reply(family.vip).tcp_packet(&ack(*port, ports[1]), b"");
        let (kind, code) = family.port_unreachable;
        let sent = FROM_CLIENT.frame(&ip.icmp_packet(kind, code, [0; 4], &quoted));
        world.row(&format!("{name}: an ICMP error"), Front, &sent, &Expect::Drop(Cause::IcmpUnrelated));
    }
    world.up();
    for (Case { family, name, port, dying, .. }, ports) in cases.iter().zip(&open) {
        let outcome = send(&mut world, &family.request(), &ack(ports[2], *port));
        let receiver = receiver(&addresses, &outcome);
        world.equal(&format!("{name}: well again"), receiver, Some(dying.as_str()));
    }
}

/// What of a segment the reset is made of, and what of its packet is left behind.
#[test]
fn every_shape_of_a_segment_has_its_reset() {
    let mut services = String::new();
    for family in FAMILIES {
        let rest = format!("scheduler: mh, {}", servers(&[family.front]));
        services += &service(family.name, family.vip, 80, "tcp", &rest);
    }
    let mut world = World::new(&services);
    world.down(&[V4.front, V6.front]);
    for family in FAMILIES {
        let plain = family.request();
        let longer = plain.with(|ip| {
            ip.options = vec![1; 12];
            ip.extensions = vec![(60, 0)];
            ip.tos = 0x2e;
            ip.hops = 1;
        });
        for (shape, ip) in [("plain", &plain), ("with options", &longer)] {
            for (link, back) in [(FROM_CLIENT, TO_CLIENT), (FROM_CLIENT.tagged(9), TO_CLIENT.tagged(9))] {
                for flags in [ACK, ACK | PSH, ACK | FIN, ACK | SYN, FIN, PSH, 0, FIN | SYN | ACK] {
                    for (sequence, acknowledged, payload, options) in [
                        (0x1122_3344, 0x5566_7788, 0, 0),
                        (u32::MAX - 1, 0, 1, 12),
                        (0, u32::MAX, 2, 40),
                        (u32::MAX, 1, 1300, 0),
                    ] {
                        let tcp = Tcp {
                            sequence,
                            acknowledged,
                            options: vec![1; options],
                            ..Tcp::new(4000, 80, flags)
                        };
                        let sent = link.frame(&ip.tcp_packet(&tcp, &vec![0x77; payload]));
                        let answer = back.frame(&reset(family, &tcp, payload as u32));
                        let name = format!(
                            "{} {shape}, tag {:?}, flags {flags:#04x}, {sequence:#x}, {payload} bytes",
                            family.name, link.vlan
                        );
                        world.row(&name, Front, &sent, &Expect::Answer(Cause::Reset, answer));
                    }
                }
            }
        }
        let tcp = Tcp::new(4000, 80, FIN);
        let mut padded = FROM_CLIENT.frame(&plain.tcp_packet(&tcp, b""));
        let answer = TO_CLIENT.frame(&reset(family, &tcp, 0));
        padded.resize(padded.len() + 6, 0);
        let name = format!("{}: padding is no payload", family.name);
        world.row(&name, Front, &padded, &Expect::Answer(Cause::Reset, answer));
        world.equal(&format!("{}: nothing is stored", family.name), world.connections().len(), 0);
    }
}

#[test]
fn of_fragments_the_first_is_answered() {
    let mut services = String::new();
    for family in FAMILIES {
        services += &service(family.name, family.vip, 80, "tcp", &servers(&[family.front]));
    }
    let mut world = World::new(&services);
    world.down(&[V4.front, V6.front]);
    for family in FAMILIES {
        for (flags, fate) in [(ACK, Some(Cause::Reset)), (FIN, None)] {
            let tcp = Tcp::new(4000, 80, flags);
            let segment = family.request().tcp(&tcp, &[5; 80]);
            let part = |offset, more| family.request().with(|ip| ip.fragment = Some((offset, more)));
            let first = FROM_CLIENT.frame(&part(0, true).packet(number::TCP, &segment[..40]));
            let expect = match fate {
                Some(cause) => Expect::Answer(cause, TO_CLIENT.frame(&reset(family, &tcp, 20))),
                None => Expect::Drop(Cause::ServerDown),
            };
            world.row(&format!("{} first, {flags:#x}", family.name), Front, &first, &expect);
            let later = FROM_CLIENT.frame(&part(5, false).packet(number::TCP, &segment[40..]));
            let expect = Expect::Drop(Cause::FragmentBeforeFirst);
            world.row(&format!("{} later, {flags:#x}", family.name), Front, &later, &expect);
        }
    }
}

#[test]
fn datagrams_go_to_another() {
    let cases = cases();
    let mut world = world(&cases, "udp");
    let addresses = addresses(&world);
    let mut open = Vec::new();
    for Case { family, name, port, dying, .. } in &cases {
        let flow = (4000..5000).find(|source| {
            let sent = FROM_CLIENT.frame(&family.request().udp_packet((*source, *port), b"one"));
            let outcome = world.run(Front, &sent);
            receiver(&addresses, &outcome) == Some(dying.as_str())
        });
        world.check(&format!("{name}: a flow"), flow.is_some(), || "none".to_owned());
        open.push(flow.unwrap_or_default());
    }
    all_down(&mut world);
    for (Case { family, name, port, staying, .. }, source) in cases.iter().zip(&open) {
        for number in 0..3 {
            let sent = FROM_CLIENT.frame(&family.request().udp_packet((*source, *port), b"two"));
            let outcome = world.run(Front, &sent);
            let receiver = receiver(&addresses, &outcome);
            let name = format!("{name}: datagram {number}");
            world.equal(&name, (receiver, outcome.causes), (Some(staying.as_str()), vec![]));
        }
    }
}

/// A handshake that was under way begins again at another server; that of the dead one is over.
#[test]
fn a_syn_that_is_sent_again_goes_to_another() {
    let cases = cases();
    let mut world = world(&cases, "tcp");
    let addresses = addresses(&world);
    let mut open = Vec::new();
    for Case { family, name, port, dying, .. } in &cases {
        let flow = (4000..5000).find(|source| {
            let outcome = send(&mut world, &family.request(), &syn(*source, *port));
            receiver(&addresses, &outcome) == Some(dying.as_str())
        });
        world.check(&format!("{name}: a handshake"), flow.is_some(), || "none".to_owned());
        open.push(flow.unwrap_or_default());
    }
    all_down(&mut world);
    for (Case { family, name, port, staying, .. }, source) in cases.iter().zip(&open) {
        for tcp in [syn(*source, *port), syn(*source, *port), ack(*source, *port)] {
            let outcome = send(&mut world, &family.request(), &tcp);
            let receiver = receiver(&addresses, &outcome);
            world.equal(&format!("{name}: {:#x}", tcp.flags), receiver, Some(staying.as_str()));
        }
    }
}

/// The entry stays, so that a client is told again that has not heard it; but it counts as closing.
#[test]
fn a_connection_that_was_reset_is_closing() {
    let rest = format!("scheduler: wlc, {}", servers(&[V4.front]));
    let mut world = World::new(&service("one", V4.vip, 80, "tcp", &rest));
    let index = world.destination(V4.front);
    let ip = V4.request();
    let addresses = addresses(&world);
    established(&mut world, &addresses, &ip, (80, V4.front), 1);
    world.equal("open", world.load(index), Load { active: 1, inactive: 0 });
    world.down(&[V4.front]);
    let flags = world.snapshot().destinations[&index].flags;
    world.check("the next hop is kept", flags & NEXT_HOP_KNOWN != 0, || format!("{flags:#x}"));
    for name in ["once", "again"] {
        let outcome = send(&mut world, &ip, &ack(4000, 80));
        world.equal(name, outcome.causes, vec![(Cause::Reset, 1)]);
        world.equal(name, world.load(index), Load { active: 0, inactive: 1 });
        world.equal(name, state::name(world.connection().0.state), "CLOSE");
    }
    let outcome = send(&mut world, &ip, &syn(4000, 80));
    world.equal("nobody else is there", outcome.causes, vec![(Cause::Refused, 1)]);
    world.equal("the end", world.connections().len(), 0);
}

/// What the server still sends is translated: it may be only its service that is down.
#[test]
fn answers_of_a_nat_server_still_go_out() {
    let mut services = String::new();
    for family in FAMILIES {
        let rest = format!("scheduler: wlc, forward: nat, {}", servers(&[family.back]));
        services += &service(family.name, family.vip, 80, "tcp", &rest);
    }
    let mut world = World::new(&services);
    let addresses = addresses(&world);
    for family in FAMILIES {
        established(&mut world, &addresses, &family.request(), (80, family.back), 1);
    }
    world.down(&[V4.back, V6.back]);
    for family in FAMILIES {
        let link = link_from(Back, family.back);
        let sent = link.frame(&family.reply(family.back).tcp_packet(&ack(80, 4000), b"late"));
        let left = TO_CLIENT.frame(&family.reply(family.vip).routed().tcp_packet(&ack(80, 4000), b"late"));
        world.row(family.name, Back, &sent, &Expect::Out(Front, left));
    }
}

/// The director's own service: its process may hang.
#[test]
fn a_local_server_is_reset_too() {
    let rest = "scheduler: rr, forward: local, real_servers: [{}]";
    let mut world = World::new(&service("own", V4.vip, 80, "tcp", rest));
    let tcp = ack(4000, 80);
    for packet in [syn(4000, 80), tcp.clone()] {
        let outcome = send(&mut world, &V4.request(), &packet);
        world.equal("it serves", (outcome.verdict, outcome.has(Cause::Local)), (Verdict::Pass, true));
    }
    let address = IpAddr::from(world.snapshot().destinations[&0].address).to_string();
    world.down(&[&address]);
    let sent = FROM_CLIENT.frame(&V4.request().tcp_packet(&tcp, b""));
    let answer = TO_CLIENT.frame(&reset(V4, &tcp, 0));
    world.row("it is down", Front, &sent, &Expect::Answer(Cause::Reset, answer));
}

/// Who does not hold the address does not answer for it.
#[test]
fn without_the_lease_nothing_is_reset() {
    let mut services = String::new();
    for family in FAMILIES {
        services += &service(family.name, family.vip, 80, "tcp", &servers(&[family.front]));
    }
    let mut world = World::with_groups(&services, &[&[V4.vip, V6.vip]]);
    world.down(&[V4.front, V6.front]);
    for held in [false, true] {
        if held {
            world.lease(1, Lease { ends: u64::MAX, fresh_until: u64::MAX });
        }
        for family in FAMILIES {
            let tcp = ack(4000, 80);
            let sent = FROM_CLIENT.frame(&family.request().tcp_packet(&tcp, b"data"));
            let expect = match held {
                true => Expect::Answer(Cause::Reset, TO_CLIENT.frame(&reset(family, &tcp, 4))),
                false => Expect::Drop(Cause::NoLease),
            };
            world.row(&format!("{} held: {held}", family.name), Front, &sent, &expect);
        }
    }
}

#[test]
fn resets_have_a_budget_of_their_own() {
    let mut services = service("down", V4.vip, 80, "tcp", &servers(&[V4.front]));
    services += &service("empty", V4.vip, 81, "tcp", "real_servers: []");
    let mut world = World::new(&services);
    world.down(&[V4.front]);
    world.settings(|settings| (settings.resets_per_second, settings.errors_per_second) = (3, 1));
    // The budget is one per CPU.
    let mut one = nix::sched::CpuSet::new();
    let this = nix::sched::sched_getcpu().expect("the number of this CPU");
    one.set(this).expect("a CPU that exists");
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &one).expect("this thread stays here");
    let ip = V4.request();
    send(&mut world, &ip, &syn(4000, 81));
    let mut fates = Vec::new();
    for _ in 0..20 {
        let outcome = send(&mut world, &ip, &ack(4000, 80));
        fates.extend(outcome.causes.iter().map(|(cause, _)| *cause));
    }
    let count = |cause| fates.iter().filter(|one| **one == cause).count();
    let answered = count(Cause::Reset);
    world.equal("each is one or the other", answered + count(Cause::ServerDown), 20);
    // A new second may begin on the way.
    world.check("answered", answered == 3 || answered == 6, || format!("{answered} of 20"));
    let sent = FROM_CLIENT.frame(&ip.tcp_packet(&ack(4000, 80), b""));
    world.wait_for("another second", |world| world.run(Front, &sent).has(Cause::Reset));
}
