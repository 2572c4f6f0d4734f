//! `lvsctl services`

use super::table::{socket, table};
use crate::api::model::{Destination, Services};

/// A line for each service, and one below it for each real server.
pub(super) fn render(services: &Services) -> String {
    if services.services.is_empty() {
        return "no services".to_owned();
    }
    let header =
        ["NAME", "VIP:PORT", "PROTO", "SCHED", "FORWARD", "WEIGHT", "ACTIVE", "INACTIVE", "NEXT HOP"];
    let mut table = table(&header, 5);
    if let Some(column) = table.column_mut(8) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for service in &services.services {
        let vip = socket(service.vip, service.port);
        table.add_row([&service.name, &vip, &service.protocol, &service.scheduler, "", "", "", "", ""]);
        for destination in &service.destinations {
            table.add_row([
                String::new(),
                format!("-> {}", socket(destination.address, destination.port)),
                String::new(),
                String::new(),
                destination.forward.clone(),
                destination.weight.to_string(),
                destination.active.to_string(),
                destination.inactive.to_string(),
                next_hop(destination),
            ]);
        }
    }
    table.trim_fmt()
}

fn next_hop(destination: &Destination) -> String {
    if destination.resets {
        return "none, resets".to_owned();
    }
    match &destination.next_hop {
        Some(next_hop) => next_hop.mac.clone(),
        None if destination.forward == "local" => String::new(),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::model::{NextHop, Service};

    #[test]
    fn services_read_like_ipvsadms() {
        let destination = |last: u8, weight, next_hop, resets| Destination {
            address: [192, 168, 0, last].into(),
            port: 80,
            forward: "dr".to_owned(),
            weight,
            active: 3,
            inactive: 12,
            next_hop,
            behind_router: false,
            mtu: 1500,
            resets,
        };
        let mac = Some(NextHop { interface: 2, mac: "02:00:00:00:00:01".to_owned() });
        let service = Service {
            name: "www".to_owned(),
            vip: [10, 0, 0, 3].into(),
            port: 80,
            protocol: "tcp".to_owned(),
            scheduler: "wlc".to_owned(),
            tracked: true,
            owner: "file".to_owned(),
            ring_slots: 0,
            dual_slots: 0,
            destinations: vec![
                destination(1, 5, mac.clone(), false),
                destination(2, 10, None, false),
                destination(3, 0, mac, true),
            ],
        };
        let services = Services { services: vec![service], interfaces: vec![] };
        let expected = "\
NAME  VIP:PORT           PROTO  SCHED  FORWARD  WEIGHT  ACTIVE  INACTIVE  NEXT HOP
www   10.0.0.3:80        tcp    wlc
      -> 192.168.0.1:80                dr            5       3        12  02:00:00:00:00:01
      -> 192.168.0.2:80                dr           10       3        12  unknown
      -> 192.168.0.3:80                dr            0       3        12  none, resets";
        assert_eq!(render(&services), expected);
    }
}
