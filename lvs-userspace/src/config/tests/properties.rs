//! For any text and for any configuration.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A configuration as YAML, every key spelled out.
fn written(config: &Config) -> String {
    let Config { interfaces, timeouts, limits, services, alerts: _, cluster: _, vrrp: _, metrics: _ } =
        config;
    let mut text = format!(
        "version: 1\ninterfaces: {interfaces:?}\n\
         timeouts: {{tcp: {}, tcp_fin: {}, udp: {}}}\n\
         limits: {{connections: {}, embryonic: {}, destinations: {}}}\nservices:{}\n",
        timeouts.tcp,
        timeouts.tcp_fin,
        timeouts.udp,
        limits.connections,
        limits.embryonic,
        limits.destinations,
        if services.is_empty() { " []" } else { "" },
    );
    for service in services {
        let Service { name, vip, port, protocol, scheduler, track_always, real_servers, health: _ } = service;
        let track = if *track_always { "always" } else { "auto" };
        write!(
            text,
            "- {{name: {name}, vip: \"{vip}\", port: {port}, protocol: {protocol}, scheduler: {scheduler}, \
             track: {track}, real_servers: ["
        )
        .unwrap();
        for RealServer { address, port, weight, forward, checks: _, resets: _ } in real_servers {
            write!(text, "{{address: \"{address}\", weight: {weight}, forward: {forward}").unwrap();
            if *forward == Forward::Nat && *port != 0 {
                write!(text, ", port: {port}").unwrap();
            }
            text.push_str("}, ");
        }
        text.push_str("]}\n");
    }
    text
}

/// Addresses by a number, of one family or the other; never those of a VIP (`vip`).
pub(super) fn numbered(v6: bool, vip: bool, number: u16) -> IpAddr {
    let high = if vip { 1 } else { 2 };
    match v6 {
        true => Ipv6Addr::new(0x2001, 0xdb8, high, 0, 0, 0, 0, number).into(),
        false => {
            let [a, b] = number.to_be_bytes();
            Ipv4Addr::new(10, high as u8, a, b).into()
        }
    }
}

prop_compose! {
    fn real_server()(
        forward in select(Forward::ALL),
        v6 in any::<bool>(),
        port in 1u16..,
        weight in 0..=65_535u32,
    ) -> (Forward, bool, u16, u32) {
        (forward, v6, port, weight)
    }
}

prop_compose! {
    /// Its vip and name are numbered by `number`, to be unlike any other's.
    fn service(number: u16)(
        v6 in any::<bool>(),
        port in any::<u16>(),
        protocol in select(Protocol::ALL),
        scheduler in select(Scheduler::ALL),
        track_always in any::<bool>(),
        servers in prop::collection::vec(real_server(), 0..5),
    ) -> Service {
        let vip = numbered(v6, true, number);
        let real_servers = servers.into_iter().enumerate().map(|(index, (forward, other_v6, own_port, weight))| {
            // The director itself fits once: its address is the VIP.
            let forward = if forward == Forward::Local && index > 0 { Forward::Dr } else { forward };
            let address = match forward {
                Forward::Local => vip,
                Forward::Ipip => numbered(other_v6, false, index as u16),
                Forward::Dr | Forward::Nat => numbered(v6, false, index as u16),
            };
            let port = if forward == Forward::Nat && port != 0 { own_port } else { port };
            RealServer { address, port, weight, forward, checks: Vec::new(), resets: false }
        });
        let name = format!("s{number}");
        Service {
            name,
            vip,
            port,
            protocol,
            scheduler,
            track_always,
            real_servers: real_servers.collect(),
            health: Health::default(),
        }
    }
}

prop_compose! {
    fn configuration()(
        interfaces in prop::collection::btree_set("[a-z][a-z0-9._-]{0,14}", 1..4),
        tcp in 1..=2_592_000u32,
        tcp_fin in 1..=2_592_000u32,
        udp in 1..=2_592_000u32,
        connections in 1..=1u32 << 26,
        embryonic in 1..=1u32 << 26,
        destinations in 16..=1u32 << 20,
        services in prop_oneof![
            Just(Vec::new()).boxed(),
            service(0).prop_map(|one| vec![one]).boxed(),
            (service(1), service(2), service(300)).prop_map(|(a, b, c)| vec![a, b, c]).boxed(),
        ],
    ) -> Config {
        Config {
            interfaces: interfaces.into_iter().collect(),
            timeouts: Timeouts { tcp, tcp_fin, udp },
            limits: Limits { connections, embryonic, destinations },
            services,
            alerts: Vec::new(),
            cluster: None,
            vrrp: Vec::new(),
            metrics: None,
        }
    }
}

/// Every mistake lies in the text, and can be printed.
fn assert_told_well(text: &str) {
    let Err(diagnostics) = parse(text, "lvs.yaml") else { return };
    assert!(!diagnostics.mistakes.is_empty());
    let lines = text.lines().count().max(1) as u32;
    for mistake in &diagnostics.mistakes {
        let (line, column) = mistake.position.unwrap();
        assert!((1..=lines + 1).contains(&line) && column >= 1, "{diagnostics}");
    }
    assert!(!diagnostics.to_string().is_empty());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(config in configuration()) {
        let text = written(&config);
        match parse(&text, "lvs.yaml") {
            Ok(read) => prop_assert_eq!(read, config),
            Err(mistakes) => prop_assert!(false, "{}\n{}", mistakes, text),
        }
    }

    #[test]
    fn any_text_is_answered(text in "\\PC*|[ -~\n\t\u{85}\u{2028}]*|([a-z]+: ?[\\[\\]{}&*!|>'\"%@`#,?:-]*\n)*") {
        assert_told_well(&text);
    }

    #[test]
    fn any_damage_to_a_file_is_answered(
        config in configuration(),
        at in any::<prop::sample::Index>(),
        length in 0..20usize,
        by in "[\\[\\]{}&*!|>'\"%@`#,?:\n\t 0-9a-zé-]{0,6}",
    ) {
        let letters: Vec<char> = written(&config).chars().collect();
        let from = at.index(letters.len());
        let to = (from + length).min(letters.len());
        let damaged: String = letters[..from].iter().copied().chain(by.chars()).chain(letters[to..].iter().copied()).collect();
        assert_told_well(&damaged);
    }
}
