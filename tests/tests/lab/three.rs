//! More than two directors, and directors whose addresses nobody has written down: what one of them knows all others
//! know.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family, Net};
use lvs_tests::lab::agent::Agent;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::load::{Load, Plan};
use lvs_tests::lab::namespace::Namespace;
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::pair::gateway;
use lvs_tests::lab::realserver::{self, HTTP_PORT, Programs};
use lvs_tests::lab::wait::wait_until;
use lvs_userspace::api::model::Health;
use lvs_userspace::cluster::pulse::Status;
use lvs_userspace::cluster::sync::view::Phase;

use crate::metrics::{checked, sum};
use crate::setup::{dialled, real_servers, service};

const PATIENCE: Duration = Duration::from_secs(20);
const FLOWS: usize = 100;
const FORWARDING: [(&str, &str); 2] = [("ipv4.ip_forward", "1"), ("ipv6.conf.all.forwarding", "1")];

/// How directors hear each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From address to address, as the file has them.
    Addresses,
    /// By broadcast, and the file has no addresses.
    Broadcast,
}

/// Directors on one wire with the client and the servers; nat by wlc, so that every connection is remembered.
struct Several {
    agents: Vec<Agent>,
    _programs: Vec<Programs>,
    network: Network,
}

impl Several {
    /// The first one is active, the others stand by.
    fn start(count: usize, way: Way) -> Result<Self> {
        let network = Network::build(Shape::default())?;
        let programs = realserver::start_all(&network)?;
        let mut directors = vec![network.director.clone()];
        for number in 1..count {
            directors.push(network.add_neighbour(&format!("director{}", number + 1), host(number))?);
        }
        for (number, director) in directors.iter().enumerate() {
            director.sysctl(&FORWARDING)?;
            address(&network, director, number)?;
        }
        let key = network.identity.directory().join("cluster.key");
        std::fs::write(&key, "lab 0123456789abcdef-of-a-lab-key\n")?;
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        for server in &network.servers {
            for family in Family::BOTH {
                let way = format!("via {}", gateway(family));
                server.namespace.addresses(family, &format!("route replace default {way} table 100\n"))?;
            }
        }
        let mut several = Self { agents: Vec::new(), _programs: programs, network };
        for (number, director) in directors.iter().enumerate() {
            let configuration = several.configuration(number, count, way);
            let instance = format!("{}-{}", several.network.identity.name(), name(number));
            let agent = Agent::start_as(instance, director, &several.network.identity, &configuration)
                .with_context(|| format!("with this configuration:\n{configuration}"))?;
            several.agents.push(agent);
            // Of three, one alone is no majority.
            let is_alone = number == 0 && count == 2;
            several.wait_for_role(number, if is_alone { "active" } else { "standby" })?;
            several.wait_for_role(0, if number == 0 && !is_alone { "standby" } else { "active" })?;
        }
        Ok(several)
    }

    fn configuration(&self, number: usize, count: usize, way: Way) -> String {
        let mut services = Vec::new();
        for family in Family::BOTH {
            for (port, protocol) in [(HTTP_PORT, "tcp"), (ECHO_PORT, "tcp")] {
                let servers = real_servers(&self.network, family);
                services.push(service(family, port, protocol, "wlc", "nat", servers));
            }
        }
        let key = self.network.identity.directory().join("cluster.key");
        let mut text = Configuration::new(&self.network, services).to_string();
        text += &format!("cluster:\n  node: {}\n  key_file: {}\n", name(number), key.display());
        if way == Way::Broadcast {
            text += "  paths: [{type: broadcast, interface: eth0}]\n";
        }
        text += "  nodes:\n";
        for other in 0..count {
            let addresses = match way {
                Way::Addresses => own(other, Family::V4).to_string(),
                Way::Broadcast => String::new(),
            };
            text += &format!("    - {{name: {}, addresses: [{addresses}]}}\n", name(other));
        }
        text += "  groups:\n    - name: www\n      addresses:\n";
        let vips = self.network.vips().map(|vip| (vip, Family::of(vip).host_bits()));
        for (address, bits) in vips.chain(Family::BOTH.map(|family| (gateway(family), family.net_bits()))) {
            text += &format!("        - {{address: \"{address}\", prefix: {bits}, interface: eth0}}\n");
        }
        text
    }

    fn status(&self, number: usize) -> Result<Status> {
        self.agents[number].control().json(&["cluster"])
    }

    fn wait_for_role(&self, number: usize, role: &str) -> Result<()> {
        wait_until(&format!("{} to be {role}", name(number)), PATIENCE, || {
            self.status(number).is_ok_and(|status| status.groups[0].role == role)
        })
        .with_context(|| self.explain())
    }

    /// Waits until real server 1 is drained at a director.
    fn wait_for_drain(&self, number: usize) -> Result<()> {
        let drained = self.network.servers[0].address(Family::V4);
        wait_until(&format!("{} to have {drained} drained", name(number)), PATIENCE, || {
            let asked: Result<Health> = self.agents[number].control().json(&["health"]);
            asked.is_ok_and(|health| {
                let servers = health.services.iter().flat_map(|service| &service.servers);
                let mut of_it = servers.filter(|server| server.address == drained).peekable();
                of_it.peek().is_some()
                    && of_it.all(|server| server.mode == "drained" && server.installed_weight == Some(0))
            })
        })
        .with_context(|| self.explain())
    }

    /// New connections are answered, none by the drained server.
    fn expect_drained(&self) -> Result<()> {
        let plan = Plan::count(Exchange::Http, dialled(Family::V4, HTTP_PORT), 30);
        let report = Load::start(&self.network.client, plan).finish()?;
        report.expect_no_failure()?;
        ensure!(report.answers_of("rs1") == 0, "{report:?}\n{}", self.explain());
        Ok(())
    }

    /// The active director and one that stands by say the same of what goes from one to the other, in each way they
    /// can be asked.
    fn expect_in_step(&self, active: usize, standby: usize) -> Result<()> {
        let [from, to] = [active, standby].map(name);
        let page = |number: usize| checked(&self.agents[number].control().run(&["metrics"])?);
        wait_until("all to have been told", PATIENCE, || {
            let told = |number: usize, direction: &str, director: &str| {
                let labels = [("director", director), ("direction", direction)];
                page(number).is_ok_and(|page| {
                    sum(&page, "lvs_sync_progress_ratio", &labels) == 1.0
                        && sum(&page, "lvs_sync_connections_total", &labels) >= FLOWS as f64
                })
            };
            told(active, "sent", &to) && told(standby, "received", &from)
        })
        .with_context(|| self.explain())?;
        let page = page(active)?;
        let role = [("group", "www"), ("role", "active")];
        ensure!(sum(&page, "lvs_cluster_group_role", &role) == 1.0);
        ensure!(sum(&page, "lvs_cluster_group_lease_seconds", &[]) > 0.0);
        ensure!(sum(&page, "lvs_cluster_group_takeovers_total", &[]) == 1.0);
        ensure!(sum(&page, "lvs_cluster_member_alive", &[("member", &to)]) == 1.0);
        ensure!(sum(&page, "lvs_cluster_beats_received_total", &[("member", &to)]) > 0.0);
        ensure!(sum(&page, "lvs_sync_sent_bytes_total", &[("director", &to)]) > 1000.0);
        ensure!(sum(&page, "lvs_sync_refused_connections_total", &[]) == 0.0);

        let status = self.status(active)?;
        let view =
            status.synchronisation.iter().flatten().find(|view| view.node == to).context("it is told")?;
        ensure!(view.sends && !view.receives && view.sent.phase == Phase::Complete, "{view:?}");
        let version = status.desired.context("it tells its state")?.version;
        wait_until("the same desired state", PATIENCE, || {
            self.status(standby).is_ok_and(|status| {
                status.desired.is_some_and(|desired| {
                    desired.node.as_deref() == Some(&from) && desired.version >= version
                })
            })
        })
        .with_context(|| self.explain())?;
        let shown = self.agents[standby].control().run(&["cluster"])?;
        ensure!(shown.contains("receives from") && shown.contains(&format!("of {from}")), "{shown}");
        Ok(())
    }

    fn explain(&self) -> String {
        let of = |agent: &Agent| {
            let ask = |what| agent.control().run(&[what]).unwrap_or_else(|error| format!("{error:#}"));
            format!("--- {}\n{}\n{}\n", agent.control().instance(), ask("cluster"), agent.log())
        };
        self.agents.iter().map(of).collect()
    }
}

fn name(number: usize) -> String {
    format!("director-{}", number + 1)
}

/// Host number of a director.
fn host(number: usize) -> u8 {
    [address::DIRECTOR, 4, 5][number]
}

fn own(number: usize, family: Family) -> IpAddr {
    address::host(Net::Servers, family, host(number))
}

/// What belongs to the machine; VIPs come with the group.
fn address(network: &Network, director: &Namespace, number: usize) -> Result<()> {
    for family in Family::BOTH {
        if number > 0 {
            let quick = if family == Family::V6 { " nodad" } else { "" };
            let line = format!("addr add {}/{} dev eth0{quick}\n", own(number, family), family.net_bits());
            director.addresses(family, &line)?;
            continue;
        }
        for vip in network.vips().filter(|vip| Family::of(*vip) == family) {
            director.addresses(family, &format!("addr del {vip}/{} dev eth0\n", family.host_bits()))?;
        }
    }
    Ok(())
}

/// Connections that go on all the time.
struct Established(Flows);

impl Established {
    fn open(several: &Several) -> Result<Self> {
        let targets = Family::BOTH.map(|family| dialled(family, ECHO_PORT));
        Ok(Self(Flows::open(&several.network.client, &targets, FLOWS)?))
    }

    /// All have exchanged something since now.
    fn expect_to_go_on(&self, several: &Several) -> Result<()> {
        let before = self.0.exchanges();
        wait_until("all flows to go on", PATIENCE, || {
            self.0.exchanges() > before + 4 * FLOWS as u64 || self.0.broken() > 0
        })
        .with_context(|| several.explain())?;
        ensure!(self.0.broken() == 0, "{} broken\n{}", self.0.broken(), several.explain());
        Ok(())
    }
}

#[test]
fn two_of_three_directors_die_one_after_the_other() -> Result<()> {
    let mut several = Several::start(3, Way::Addresses)?;
    let established = Established::open(&several)?;
    let drained = several.network.servers[0].address(Family::V4).to_string();
    several.agents[0].control().run(&["drain", &drained])?;
    (0..3).try_for_each(|number| several.wait_for_drain(number))?;

    let load = Load::start(
        &several.network.client,
        Plan::background(Exchange::Http, dialled(Family::V6, HTTP_PORT)),
    );
    wait_until("load to be under way", PATIENCE, || load.ended() > 50)?;
    several.agents[0].kill()?;
    several.wait_for_role(1, "active")?;
    established.expect_to_go_on(&several)?;
    several.expect_drained()?;

    // Its vote is needed. It must not be the one that takes the group.
    several.agents[0].start_again()?;
    several.wait_for_role(0, "standby")?;
    several.agents[0].control().run(&["cluster", "release"])?;
    several.wait_for_role(2, "standby")?;
    several.agents[1].kill()?;
    several.wait_for_role(2, "active")?;
    established.expect_to_go_on(&several)?;
    several.expect_drained()?;
    several.wait_for_drain(0)?;
    let new = load.stop()?;
    println!("new connections meanwhile: {} answered, {} failed", new.answers(), new.failures);
    // Of those that were born in the last batch before each crash.
    ensure!(new.failures <= 4, "{:?}\n{}", new.examples, several.explain());
    established.0.stop()?.expect_none_broken()
}

#[test]
fn directors_without_addresses_learn_them_from_their_beats() -> Result<()> {
    let mut several = Several::start(2, Way::Broadcast)?;
    let established = Established::open(&several)?;
    established.expect_to_go_on(&several)?;
    several.expect_in_step(0, 1)?;
    several.agents[0].kill()?;
    several.wait_for_role(1, "active")?;
    established.expect_to_go_on(&several)?;
    // It comes back, and is told where it comes from now.
    several.agents[0].start_again()?;
    several.wait_for_role(0, "standby")?;
    several.agents[1].kill()?;
    several.wait_for_role(0, "active")?;
    established.expect_to_go_on(&several)?;
    established.0.stop()?.expect_none_broken()
}
