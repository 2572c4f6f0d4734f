//! What is measured of the program.

use lvs_common::limits::CONNECTIONS as DEFAULT_CONNECTIONS;

use super::scene::{Family, Scene, Transport};
use crate::bench::Options;

/// What the packets of a case are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traffic {
    /// Of flows that were there before; those that are remembered have their entries.
    Existing,
    /// Real servers' answers of such flows.
    Answers,
    /// Each begins a flow.
    New,
    /// The same, and the table is full of established connections.
    NewIntoFull,
    /// To a port without a service.
    NoService,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) scene: Scene,
    pub(super) traffic: Traffic,
    pub(super) flows: u32,
    /// Largest multiple of the constant-IPIP floor,
    pub(super) goal: Option<f64>,
    /// or largest number of nanoseconds.
    pub(super) limit: Option<f64>,
    /// Also measured by a quick run.
    quick: bool,
}

impl Case {
    fn new(scene: Scene, traffic: Traffic, flows: u32) -> Self {
        let Scene { forward, scheduler, .. } = scene;
        let family = if scene.family == Family::V4 { "v4" } else { "v6" };
        let transport = if scene.transport == Transport::Tcp { "tcp" } else { "udp" };
        let count = match flows {
            1 => "1 flow".to_owned(),
            1_000_000 => "1M flows".to_owned(),
            many => format!("{}k flows", many / 1000),
        };
        let what = match traffic {
            Traffic::Existing => count,
            Traffic::Answers => format!("answers, {count}"),
            Traffic::New => "new flows".to_owned(),
            Traffic::NewIntoFull => "new flows, table full".to_owned(),
            Traffic::NoService => "no service".to_owned(),
        };
        let name = format!("{forward} {family} {transport} {scheduler}, {what}");
        // The default size, where that is enough.
        let connections =
            if flows > DEFAULT_CONNECTIONS { 4 * DEFAULT_CONNECTIONS } else { scene.connections };
        Self {
            name,
            scene: Scene { connections, ..scene },
            traffic,
            flows,
            goal: None,
            limit: None,
            quick: false,
        }
    }

    fn goal(mut self, goal: f64) -> Self {
        (self.goal, self.quick) = (Some(goal), true);
        self
    }

    fn within(mut self, nanoseconds: f64) -> Self {
        (self.limit, self.quick) = (Some(nanoseconds), true);
        self
    }

    fn quick(mut self) -> Self {
        self.quick = true;
        self
    }

    fn named(mut self, rest: &str) -> Self {
        self.name = format!("{}, {rest}", self.name);
        self
    }
}

/// Flows that are compared.
const FLOWS: [u32; 4] = [1, 10_000, 100_000, 1_000_000];

const RING: Scene = Scene::DEFAULT;
const DR: Scene = Scene { forward: "dr", ..RING };
/// One server, so that its answers are those of every flow.
const NAT: Scene = Scene { forward: "nat", servers: 1, ..RING };
const TRACKED: Scene = Scene { scheduler: "rr", ..RING };

/// What is said of cases with [`Scene::clustered`].
const CLUSTERED: &str = "one of two directors";

/// The cases of the goals, then the rest of what there is to compare.
pub(super) fn all(options: &Options) -> Vec<Case> {
    use Traffic::{Existing, New, NewIntoFull, NoService};
    let mut cases = vec![
        Case::new(RING, NoService, 1).quick(),
        Case::new(RING, Existing, 1).goal(1.6),
        Case::new(RING, Existing, 100_000).goal(2.2),
        Case::new(RING, Existing, 1_000_000).goal(2.5),
        Case::new(RING, New, 1).goal(2.2),
        Case::new(DR, Existing, 1).goal(1.3),
        Case::new(Scene { dual: true, ..RING }, Existing, 100_000).named("all slots dual").goal(4.0),
        Case::new(NAT, Existing, 100_000).goal(5.0),
        Case::new(NAT, Traffic::Answers, 100_000).quick(),
        Case::new(TRACKED, Existing, 100_000).quick(),
        Case::new(TRACKED, New, 1).quick(),
        Case::new(Scene { connections: 100_000, ..TRACKED }, NewIntoFull, 100_000).quick(),
        Case::new(Scene { clustered: true, ..RING }, NoService, 1).named(CLUSTERED),
        Case::new(Scene { clustered: true, ..RING }, Existing, 1).named(CLUSTERED).quick(),
        Case::new(Scene { clustered: true, ..NAT }, Existing, 100_000).named(CLUSTERED),
        Case::new(Scene { clustered: true, ..NAT }, Traffic::Answers, 100_000).named(CLUSTERED),
        Case::new(Scene { clustered: true, ..TRACKED }, Existing, 100_000).named(CLUSTERED),
        Case::new(Scene { clustered: true, ..TRACKED }, New, 1).named(CLUSTERED).quick(),
        Case::new(Scene { services: 100, ..RING }, Existing, 1).named("to one of 100 services"),
        Case::new(Scene { services: 10_000, ..RING }, Existing, 1).named("to one of 10 000 services").quick(),
        Case::new(Scene { services: 100, spread: true, ..RING }, Existing, 1).named("over 100 services"),
        Case::new(Scene { services: 10_000, spread: true, ..RING }, Existing, 1)
            .named("over 10 000 services"),
    ];
    for scheduler in ["mh", "rr", "wlc"] {
        for servers in [3, 100, 1000] {
            let scene = Scene { scheduler, servers, ..RING };
            let case = Case::new(scene, New, 1).named(&format!("{servers} servers"));
            cases.push(match (scheduler, servers) {
                ("wlc", 1000) => case.within(2000.0),
                ("wlc", _) => case.quick(),
                _ => case,
            });
        }
    }
    for family in [Family::V4, Family::V6] {
        for transport in [Transport::Tcp, Transport::Udp] {
            for (scene, traffic) in [
                (DR, Existing),
                (RING, Existing),
                (TRACKED, Existing),
                (NAT, Existing),
                (NAT, Traffic::Answers),
            ] {
                for flows in FLOWS {
                    cases.push(Case::new(Scene { family, transport, ..scene }, traffic, flows));
                }
            }
        }
    }
    let mut names = std::collections::HashSet::new();
    cases.retain(|case| names.insert(case.name.clone()) && (!options.quick || case.quick));
    if options.smoke {
        cases.truncate(3);
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_goal_is_among_the_quick_cases_and_no_name_comes_twice() {
        let everything = all(&Options::default());
        let quick = all(&Options { quick: true, smoke: false });
        assert!(everything.len() > 80 && quick.len() < 25);
        let goals = |cases: &[Case]| cases.iter().filter(|case| case.goal.is_some()).count();
        assert_eq!(goals(&everything), goals(&quick));
        let names: std::collections::HashSet<&str> =
            everything.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), everything.len());
    }
}
