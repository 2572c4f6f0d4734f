use super::*;

const GATEWAY_MAC: Mac = [2, 0, 0, 0, 0, 254];
const SERVER_MAC: Mac = [2, 0, 0, 0, 0, 3];
const SERVER: &str = "10.0.0.3";
const FAR: &str = "192.0.2.7";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(index: u32) -> Link {
    Link { index, name: format!("eth{index}"), mac: Some([2, 0, 0, 0, 1, index as u8]), mtu: 1500, up: true }
}

fn key(interface: u32, address: &str) -> NeighbourKey {
    NeighbourKey { interface, address: ip(address) }
}

fn on_link(interface: u32) -> Route {
    Route::Via { interface, gateway: None, source: Some(ip("10.0.0.1")), mtu: None }
}

fn by_gateway(gateway: &str, mtu: Option<u32>) -> Route {
    Route::Via { interface: 1, gateway: Some(ip(gateway)), source: Some(ip("10.0.0.1")), mtu }
}

fn known(mac: Mac, status: NeighbourStatus) -> Option<Neighbour> {
    Some(Neighbour { mac: Some(mac), status })
}

fn without_mac(status: NeighbourStatus) -> Option<Neighbour> {
    Some(Neighbour { mac: None, status })
}

/// Watches `addresses` with one interface and these neighbours; nothing is looked up yet.
fn resolution(addresses: &[&str], neighbours: &[(&str, Option<Neighbour>)]) -> Resolution {
    let mut resolution = Resolution::default();
    resolution.set_addresses(&addresses.iter().map(|text| ip(text)).collect());
    let entries: Vec<_> = neighbours.iter().map(|(text, entry)| (key(1, text), entry.unwrap())).collect();
    resolution.synchronise([link(1)], entries);
    resolution
}

/// The next hop in the one report among `actions`.
fn reported(actions: &[Action]) -> &Result<NextHop, Unreachable> {
    let reports: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Report(report) => Some(&report.next_hop),
            _ => None,
        })
        .collect();
    assert_eq!(reports.len(), 1, "{actions:?}");
    reports[0]
}

fn reported_mac(actions: &[Action]) -> Option<Mac> {
    reported(actions).as_ref().unwrap().next_hop_mac
}

#[test]
fn a_new_address_is_looked_up_asked_for_and_reported() {
    let mut resolution = Resolution::default();
    resolution.synchronise([link(1)], []);
    let addresses = BTreeSet::from([ip(SERVER)]);
    assert_eq!(resolution.set_addresses(&addresses), [Action::LookUp(ip(SERVER))]);
    assert_eq!(resolution.set_addresses(&addresses), [], "nothing new");

    let actions = resolution.route_found(ip(SERVER), on_link(1));
    let expected = NextHop {
        interface: 1,
        source_mac: [2, 0, 0, 0, 1, 1],
        next_hop_mac: None,
        behind_router: false,
        mtu: 1500,
        source_address: Some(ip("10.0.0.1")),
    };
    assert_eq!(reported(&actions), &Ok(expected));
    assert!(actions.contains(&Action::Ask(key(1, SERVER))));

    let actions = resolution.handle(Event::Neighbour(key(1, SERVER), without_mac(NeighbourStatus::Asked)));
    assert_eq!(actions, [], "being asked is no news");
    let actions =
        resolution.handle(Event::Neighbour(key(1, SERVER), known(SERVER_MAC, NeighbourStatus::Kept)));
    assert_eq!(reported_mac(&actions), Some(SERVER_MAC));
}

#[test]
fn behind_a_router_the_gateway_is_the_neighbour() {
    let mut resolution = resolution(&[FAR], &[("10.0.0.254", known(GATEWAY_MAC, NeighbourStatus::Kept))]);
    let actions = resolution.route_found(ip(FAR), by_gateway("10.0.0.254", Some(1400)));
    let next_hop = reported(&actions).as_ref().unwrap();
    assert_eq!(next_hop.next_hop_mac, Some(GATEWAY_MAC));
    assert!(next_hop.behind_router);
    assert_eq!(next_hop.mtu, 1400, "the route's MTU is the smaller one");
    assert_eq!(actions.len(), 1, "the gateway is confirmed, nothing to ask");
}

#[test]
fn another_gateway_does_not_inherit_the_mac() {
    let mut resolution = resolution(&[FAR], &[("10.0.0.254", known(GATEWAY_MAC, NeighbourStatus::Kept))]);
    resolution.route_found(ip(FAR), by_gateway("10.0.0.254", None));
    let actions = resolution.route_found(ip(FAR), by_gateway("10.0.0.253", None));
    assert_eq!(reported_mac(&actions), None);
    assert!(actions.contains(&Action::Ask(key(1, "10.0.0.253"))));
}

#[test]
fn a_stale_neighbour_serves_and_is_asked_for() {
    let mut resolution = resolution(&[SERVER], &[(SERVER, known(SERVER_MAC, NeighbourStatus::Kept))]);
    resolution.route_found(ip(SERVER), on_link(1));
    assert_eq!(resolution.tick(), []);
    let stale = Event::Neighbour(key(1, SERVER), known(SERVER_MAC, NeighbourStatus::Stale));
    assert_eq!(resolution.handle(stale), [Action::Ask(key(1, SERVER))]);
    assert_eq!(resolution.tick(), [Action::Ask(key(1, SERVER))]);
}

#[test]
fn a_forgotten_neighbour_keeps_its_mac_and_a_failed_one_loses_it() {
    let mut resolution = resolution(&[SERVER], &[(SERVER, known(SERVER_MAC, NeighbourStatus::Kept))]);
    resolution.route_found(ip(SERVER), on_link(1));
    let actions = resolution.handle(Event::Neighbour(key(1, SERVER), None));
    assert_eq!(actions, [Action::Ask(key(1, SERVER))], "asked again, nothing reported");
    let actions = resolution.handle(Event::Neighbour(key(1, SERVER), without_mac(NeighbourStatus::Asked)));
    assert_eq!(actions, []);
    let actions = resolution.handle(Event::Neighbour(key(1, SERVER), without_mac(NeighbourStatus::Failed)));
    assert_eq!(reported_mac(&actions), None);
    assert_eq!(actions.len(), 1, "the next tick asks again, not the failure itself");
    assert_eq!(resolution.tick(), [Action::Ask(key(1, SERVER))]);
}

#[test]
fn a_fixed_neighbour_is_never_asked_for() {
    let mut resolution = resolution(&[SERVER], &[(SERVER, known(SERVER_MAC, NeighbourStatus::Fixed))]);
    let actions = resolution.route_found(ip(SERVER), on_link(1));
    assert_eq!(reported_mac(&actions), Some(SERVER_MAC));
    assert_eq!(resolution.tick(), []);
}

#[test]
fn an_interface_that_goes_down_and_comes_back_is_reported() {
    let mut resolution = resolution(&[SERVER], &[(SERVER, known(SERVER_MAC, NeighbourStatus::Kept))]);
    resolution.route_found(ip(SERVER), on_link(1));
    let actions = resolution.handle(Event::Link(Link { up: false, ..link(1) }));
    assert_eq!(reported(&actions), &Err(Unreachable::InterfaceDown { interface: "eth1".into() }));
    assert!(actions.contains(&Action::LookUp(ip(SERVER))), "there may be another way now");
    assert_eq!(resolution.tick(), [], "nobody can be asked over it");
    let actions = resolution.handle(Event::Link(link(1)));
    assert_eq!(reported_mac(&actions), Some(SERVER_MAC));
    assert_eq!(resolution.handle(Event::Link(link(1))), [], "the same message again");
    let actions = resolution.handle(Event::LinkGone(1));
    assert_eq!(reported(&actions), &Err(Unreachable::NoRoute));
}

#[test]
fn a_new_mtu_or_mac_of_the_interface_is_reported() {
    let mut resolution = resolution(&[SERVER], &[(SERVER, known(SERVER_MAC, NeighbourStatus::Kept))]);
    resolution.route_found(ip(SERVER), on_link(1));
    let actions = resolution.handle(Event::Link(Link { mtu: 9000, ..link(1) }));
    assert_eq!(reported(&actions).as_ref().unwrap().mtu, 9000);
    let actions = resolution.handle(Event::Link(Link { mac: Some([6; 6]), mtu: 9000, ..link(1) }));
    assert_eq!(reported(&actions).as_ref().unwrap().source_mac, [6; 6]);
}

#[test]
fn local_addresses_missing_routes_and_other_links_have_their_names() {
    for (route, expected) in [
        (Route::Local, Unreachable::Local),
        (Route::None, Unreachable::NoRoute),
        (on_link(2), Unreachable::NotEthernet { interface: "eth2".into() }),
        (on_link(3), Unreachable::NoRoute),
    ] {
        let mut resolution = resolution(&[SERVER], &[]);
        resolution.handle(Event::Link(Link { mac: None, ..link(2) }));
        let actions = resolution.route_found(ip(SERVER), route);
        assert_eq!(reported(&actions), &Err(expected));
        assert_eq!(actions.len(), 1, "nobody to ask");
    }
}

#[test]
fn a_route_change_concerns_the_addresses_within_its_prefix() {
    let mut resolution = resolution(&["10.0.0.3", "10.0.1.3", "2001:db8::3"], &[]);
    let mut changed = |prefix: &str, length| {
        resolution
            .handle(Event::RouteChanged { prefix: ip(prefix), length })
            .into_iter()
            .map(|action| match action {
                Action::LookUp(address) => address.to_string(),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(changed("10.0.0.0", 24), ["10.0.0.3"]);
    assert_eq!(changed("10.0.0.0", 16), ["10.0.0.3", "10.0.1.3"]);
    assert_eq!(changed("10.0.1.3", 32), ["10.0.1.3"]);
    assert_eq!(changed("0.0.0.0", 0), ["10.0.0.3", "10.0.1.3"]);
    assert_eq!(changed("2001:db8::", 32), ["2001:db8::3"]);
    assert_eq!(changed("2001:db8:1::", 48), Vec::<String>::new());
    assert_eq!(resolution.handle(Event::Routing).len(), 3);
}

#[test]
fn many_servers_behind_one_router_are_one_question() {
    let mut resolution = resolution(&[FAR, "192.0.2.8"], &[]);
    resolution.route_found(ip(FAR), by_gateway("10.0.0.254", None));
    resolution.route_found(ip("192.0.2.8"), by_gateway("10.0.0.254", None));
    assert_eq!(resolution.tick(), [Action::Ask(key(1, "10.0.0.254"))]);
    let actions =
        resolution.handle(Event::Neighbour(key(1, "10.0.0.254"), known(GATEWAY_MAC, NeighbourStatus::Kept)));
    assert_eq!(actions.len(), 2, "both are reported: {actions:?}");
}

#[test]
fn an_address_taken_away_is_not_reported_any_more() {
    let mut resolution = resolution(&[SERVER], &[]);
    resolution.route_found(ip(SERVER), on_link(1));
    assert_eq!(resolution.set_addresses(&BTreeSet::new()), []);
    assert_eq!(resolution.route_found(ip(SERVER), Route::None), [], "a late answer");
    assert_eq!(
        resolution.handle(Event::Neighbour(key(1, SERVER), known(SERVER_MAC, NeighbourStatus::Kept))),
        []
    );
}

#[test]
fn lost_messages_are_made_up_for() {
    let mut resolution = resolution(&[SERVER], &[(SERVER, known(SERVER_MAC, NeighbourStatus::Kept))]);
    resolution.route_found(ip(SERVER), on_link(1));
    assert_eq!(resolution.handle(Event::Lost), [Action::ReadTables]);
    let entry = (key(1, SERVER), Neighbour { mac: Some(GATEWAY_MAC), status: NeighbourStatus::Kept });
    assert_eq!(resolution.synchronise([link(1)], [entry]), [Action::LookUp(ip(SERVER))]);
    assert_eq!(reported_mac(&resolution.route_found(ip(SERVER), on_link(1))), Some(GATEWAY_MAC));
}
