//! `lvsctl cluster` of a machine that takes part by VRRP.

use super::table::table;
use crate::cluster::vrrp::RouterStatus;

pub(super) fn render(routers: &Vec<RouterStatus>) -> String {
    let header =
        ["ROUTER", "INTERFACE", "VRID", "STATE", "PRIORITY", "ACTIVE", "RECEIVED", "LAST", "PREEMPTION"];
    let mut table = table(&header, usize::MAX);
    for router in routers {
        let active = match (router.active, router.active_priority) {
            (Some(active), Some(priority)) => format!("{active} ({priority})"),
            _ => "-".to_owned(),
        };
        let preemption = match (router.preempts, router.preempts_in) {
            (false, _) => "off".to_owned(),
            (true, None) => "on".to_owned(),
            (true, Some(left)) => format!("in {left} ms"),
        };
        table.add_row([
            router.name.clone(),
            router.interface.clone(),
            router.router_id.to_string(),
            router.state.clone(),
            router.priority.to_string(),
            active,
            router.counts.received.to_string(),
            router.last_received.map_or_else(|| "never".to_owned(), |ago| format!("{ago} ms ago")),
            preemption,
        ]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::vrrp::Counts;

    #[test]
    fn all_that_is_known_is_shown() {
        let backup = RouterStatus {
            name: "web".to_owned(),
            interface: "eth0".to_owned(),
            router_id: 51,
            version: 3,
            state: "backup".to_owned(),
            priority: 150,
            active: Some([10, 0, 0, 5].into()),
            active_priority: Some(100),
            counts: Counts { received: 17, ..Counts::default() },
            last_received: Some(312),
            virtual_mac: None,
            preempts: true,
            preempts_in: Some(9_700),
        };
        let lonely = RouterStatus {
            name: "mail".to_owned(),
            state: "initialize".to_owned(),
            active: None,
            active_priority: None,
            last_received: None,
            preempts: false,
            preempts_in: None,
            ..backup.clone()
        };
        let shown = render(&vec![backup, lonely]);
        for expected in [
            "web     eth0",
            "51    backup",
            "10.0.0.5 (100)",
            "17",
            "312 ms ago",
            "in 9700 ms",
            "never",
            "off",
        ] {
            assert!(shown.contains(expected), "{expected:?} is missing in\n{shown}");
        }
    }
}
