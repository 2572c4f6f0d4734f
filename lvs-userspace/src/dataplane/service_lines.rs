//! `SERVICE_LINES`: where packets find their service by at most three looks into an array.
//!
//! A cuckoo table, made whole: each service stands at one of three places that its address, port and
//! protocol name, at the first one where that is possible.

use std::collections::BTreeMap;

use lvs_common::limits::SERVICE_LINES;
use lvs_common::service::{Service, ServiceKey, ServiceLine, line_places};

/// Moves before a set of services is given up. At half load, the most there is, a handful do.
const MOVES: u32 = 10_000;

/// Services that have no place: never seen, and impossible to say why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// The lines that are not empty, by their place.
pub(super) fn lay_out<'a>(
    services: impl Iterator<Item = (&'a ServiceKey, &'a Service)>,
) -> Result<BTreeMap<u32, ServiceLine>, Crowded> {
    let services: Vec<(&ServiceKey, &Service)> = services.collect();
    let mut standing: Vec<Option<usize>> = vec![None; SERVICE_LINES as usize];
    // Whoever finds its first place free stands best; the others look round among what is left.
    let mut waiting = Vec::new();
    for (number, (key, _)) in services.iter().enumerate() {
        let [first, ..] = places(key);
        match &mut standing[first as usize] {
            place @ None => *place = Some(number),
            Some(_) => waiting.push(number),
        }
    }
    for number in waiting {
        settle(&services, &mut standing, number)?;
    }
    let mut lines: BTreeMap<u32, ServiceLine> = BTreeMap::new();
    for (place, number) in (0..).zip(&standing) {
        let Some((key, service)) = number.map(|number| services[number]) else { continue };
        let line = lines.entry(place).or_insert(ServiceLine::FREE);
        *line = ServiceLine {
            address: key.address,
            port: key.port,
            protocol: key.protocol,
            taken: 1,
            service: *service,
            ..*line
        };
        let [first, ..] = places(key);
        if first != place {
            lines.entry(first).or_insert(ServiceLine::FREE).displaced = 1;
        }
    }
    Ok(lines)
}

/// Finds a place for service `number`; who has to make room for it moves on to another of its own places.
fn settle(
    services: &[(&ServiceKey, &Service)],
    standing: &mut [Option<usize>],
    mut number: usize,
) -> Result<(), Crowded> {
    for step in 0..MOVES {
        let places = places(services[number].0);
        if let Some(free) = places.iter().find(|place| standing[**place as usize].is_none()) {
            standing[*free as usize] = Some(number);
            return Ok(());
        }
        // Another choice each time, so that two never push each other out of the same place for ever.
        let place = places[(step.wrapping_mul(0x9e37_79b9) >> 16) as usize % places.len()] as usize;
        number = standing[place].replace(number).unwrap_or(number);
    }
    Err(Crowded)
}

fn places(key: &ServiceKey) -> [u32; 3] {
    line_places(key.address.halves(), key.port, key.protocol)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use lvs_common::address::Address;
    use lvs_common::limits::SERVICES;
    use proptest::prelude::*;

    use super::*;

    fn service(index: u32) -> Service {
        Service { index, ..ServiceLine::FREE.service }
    }

    /// What the data plane does to find a service.
    fn find(lines: &BTreeMap<u32, ServiceLine>, key: &ServiceKey) -> Option<Service> {
        let is_it = |line: &&ServiceLine| {
            (line.taken, line.address, line.port, line.protocol) == (1, key.address, key.port, key.protocol)
        };
        let [first, second, third] = places(key);
        let line = lines.get(&first)?;
        if is_it(&line) {
            return Some(line.service);
        }
        if line.displaced == 0 {
            return None;
        }
        [second, third].iter().filter_map(|place| lines.get(place)).find(is_it).map(|line| line.service)
    }

    fn check(services: &BTreeMap<ServiceKey, Service>) {
        let lines = lay_out(services.iter()).unwrap();
        for (key, service) in services {
            assert_eq!(find(&lines, key), Some(*service));
        }
        assert_eq!(lines.values().filter(|line| line.taken == 1).count(), services.len());
    }

    /// As many as there can be, and as regular as operators like them.
    #[test]
    fn a_full_table_of_neighbours() {
        let v4 = (0..SERVICES / 2).map(|index| {
            let address = Ipv4Addr::from(0x0a00_0000 + index / 4);
            let port = [80, 443, 53, 0][index as usize % 4];
            (ServiceKey::new(Address::from_v4(address.octets()), port, 6), service(index))
        });
        let v6 = (SERVICES / 2..SERVICES).map(|index| {
            let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(index / 2));
            let protocol = if index % 2 == 0 { 6 } else { 17 };
            (ServiceKey::new(Address::from_v6(address.octets()), 443, protocol), service(index))
        });
        check(&v4.chain(v6).collect());
    }

    proptest! {
        #[test]
        fn every_service_is_found_and_no_other(
            present in prop::collection::btree_set((any::<u8>(), 0..4u16, any::<bool>()), 0..200),
            absent in (any::<u8>(), 0..4u16, any::<bool>()),
        ) {
            let key = |(address, port, tcp)| {
                ServiceKey::new(Address::from_v4([10, 0, 0, address]), port, if tcp { 6 } else { 17 })
            };
            let services = present.iter().zip(0..).map(|(one, index)| (key(*one), service(index))).collect();
            check(&services);
            let lines = lay_out(services.iter()).unwrap();
            prop_assert_eq!(find(&lines, &key(absent)).is_some(), present.contains(&absent));
        }
    }
}
