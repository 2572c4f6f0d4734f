//! Two directors that watch each other, with two networks of their own for it.
//!
//! ```text
//!   client   director ═══ director2   rs1  rs2  rs3
//!      └─────────┴────────────┴────────┴────┴────┘      hb0 and hb1 lead from one director to the other
//! ```

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use lvs_userspace::cluster::pulse::Status;

use super::address::{self, Family, Net};
use super::agent::{Agent, binary};
use super::cable::Cable;
use super::namespace::{Namespace, Prepared};
use super::network::{FORWARDING, Network, Shape};
use super::process::Process;
use super::wait::wait_until;

/// Names of the nodes.
pub const NODES: [&str; 2] = ["director-1", "director-2"];
/// The second director's host number.
const SECOND: u8 = 4;
/// Host numbers of both.
pub const HOSTS: [u8; 2] = [address::DIRECTOR, SECOND];
/// The real servers' gateway with nat, which moves with the VIPs.
const GATEWAY: u8 = 254;
/// How long a director may take to be what is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// The key file of all, at the start.
pub const KEYS: &str = "lab 0123456789abcdef-of-a-lab-key\n";
/// The dead time, where a lab does not set another (`cluster.deadtime`).
pub const DEADTIME: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Pair {
    /// `None`: it does not run.
    pub agents: [Option<Agent>; 2],
    pub witness: Option<Process>,
    pub directors: [Namespace; 2],
    pub network: Network,
    /// What `cluster` has besides, one line each, indented by two.
    pub options: String,
    /// A group for each VIP number (`www0`, `www1`, …), its IPv4 and IPv6 address in it, instead of one for all (`www`).
    pub has_group_for_each_vip: bool,
    /// What each group has besides, one line each, indented by six.
    pub group_options: String,
    /// Between the directors' serial ports, if they have any: see [`Self::plug_cable`].
    pub cable: Option<Cable>,
    has_serial_ports: bool,
    services: String,
}

/// The gateway inside that moves with the VIPs.
pub fn gateway(family: Family) -> IpAddr {
    address::host(Net::Servers, family, GATEWAY)
}

impl Pair {
    /// The network; agents are started by [`Self::start`].
    pub fn build(shape: Shape) -> Result<Self> {
        let network = Network::build(shape)?;
        let second = network.add_neighbour("director2", SECOND)?;
        second.sysctl(&FORWARDING)?;
        for family in Family::BOTH {
            let (own, bits) = (address::host(Net::Servers, family, SECOND), family.net_bits());
            let quick = if family == Family::V6 { " nodad" } else { "" };
            second.addresses(family, &format!("addr add {own}/{bits} dev eth0{quick}\n"))?;
            for vip in network.vips().filter(|vip| Family::of(*vip) == family) {
                // It comes with the group.
                network
                    .director
                    .addresses(family, &format!("addr del {vip}/{} dev eth0\n", family.host_bits()))?;
            }
            for server in &network.servers {
                let way = format!("via {}", gateway(family));
                server.namespace.addresses(family, &format!("route replace default {way} table 100\n"))?;
            }
        }
        let directors = [network.director.clone(), second];
        for (number, name) in ["hb0", "hb1"].into_iter().enumerate() {
            directors[0].links(&format!(
                "link add {name} type veth peer name {name} netns {}",
                directors[1].name()
            ))?;
            for (index, director) in directors.iter().enumerate() {
                director.links(&format!("link set {name} up"))?;
                let own = heartbeat(number, index);
                director.addresses(Family::V4, &format!("addr add {own}/24 dev {name}\n"))?;
            }
        }
        let key = network.identity.directory().join("cluster.key");
        fs::write(&key, KEYS)?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            agents: [None, None],
            witness: None,
            directors,
            network,
            options: String::new(),
            has_group_for_each_vip: false,
            group_options: String::new(),
            cable: None,
            has_serial_ports: false,
            services: String::new(),
        })
    }

    /// Starts both agents with these services (a whole file without `cluster`), the second when the first is active.
    pub fn start(&mut self, services: String) -> Result<()> {
        self.services = services;
        self.start_agent(0)?;
        // Of two that start together, the one whose state is complete first may ask first.
        self.wait_for_active(0)?;
        self.start_agent(1)?;
        self.wait_for_standby(1)
    }

    /// Waits until a director has all connections and could take over.
    pub fn wait_for_standby(&self, index: usize) -> Result<()> {
        let what = format!("{} to stand by", NODES[index]);
        wait_until(&what, PATIENCE, || self.role(index) == "standby").with_context(|| self.explain())
    }

    /// Waits until a director has all connections, and both have heard each other for so long that nothing is left of
    /// what happened to either before: neither listens nor stands back any more.
    pub fn wait_until_settled(&self, standby: usize) -> Result<()> {
        self.wait_for_standby(standby)?;
        let has_settled = |index: usize| {
            let long = u64::try_from(2 * DEADTIME.as_millis() + 100).unwrap_or(u64::MAX);
            self.status(index).is_ok_and(|status| {
                let mut directors = status.peers.iter().filter(|peer| NODES.contains(&peer.name.as_str()));
                directors.all(|peer| peer.alive_for.is_some_and(|time| time > long))
            })
        };
        wait_until("both directors to settle", PATIENCE, || [0, 1].into_iter().all(has_settled))
            .with_context(|| self.explain())
    }

    pub fn start_agent(&mut self, index: usize) -> Result<()> {
        let identity = &self.network.identity;
        let instance = format!("{}-{}", identity.name(), NODES[index]);
        let configuration = self.configuration(index);
        let agent = Agent::start_as(instance, &self.directors[index], identity, &configuration)
            .with_context(|| format!("with this configuration:\n{configuration}"))?;
        self.agents[index] = Some(agent);
        Ok(())
    }

    /// Has a director reload its file with these services, which the other director's file need not have.
    pub fn reload(&self, index: usize, services: &str) -> Result<()> {
        self.agent(index)?.reload(&self.configuration_with(index, services))
    }

    /// `lvsd witness` on the client's machine.
    pub fn start_witness(&mut self) -> Result<()> {
        let directory = self.network.identity.directory();
        let mut command = self.network.client.command(&binary("lvsd")?.to_string_lossy());
        let listen = format!("{}:694", address::client(Family::V4));
        command.args(["witness", "--name", "witness", "--listen", &listen, "--silence", "1", "--key-file"]);
        command.arg(directory.join("cluster.key"));
        let mut witness = Process::start("witness", &mut command, &directory)?;
        witness.wait_for_words("votes", PATIENCE)?;
        self.witness = Some(witness);
        self.options += &format!("  voter: {{name: witness, address: {}}}\n", address::client(Family::V4));
        Ok(())
    }

    /// Writes the key file of both directors and the voter, who have yet to read it.
    pub fn write_keys(&self, keys: &str) -> Result<()> {
        Ok(fs::write(self.network.identity.directory().join("cluster.key"), keys)?)
    }

    pub fn agent(&self, index: usize) -> Result<&Agent> {
        self.agents[index].as_ref().with_context(|| format!("{} does not run", NODES[index]))
    }

    /// Whether a director is active for the group, as it has it itself.
    pub fn is_active(&self, index: usize) -> bool {
        self.role(index) == "active"
    }

    /// `active`, `standby` and so on; empty if the agent does not answer.
    pub fn role(&self, index: usize) -> String {
        self.role_for(index, 0)
    }

    /// The same for a group, by its place in the file.
    pub fn role_for(&self, index: usize, group: usize) -> String {
        let status = self.status(index).ok();
        status.and_then(|status| Some(status.groups.get(group)?.role.clone())).unwrap_or_default()
    }

    /// What a director says of the cluster.
    pub fn status(&self, index: usize) -> Result<Status> {
        self.agent(index)?.control().json(&["cluster"])
    }

    /// How often a director has begun to hold a group, since its agent was started last.
    pub fn times_held(&self, index: usize) -> usize {
        let log = self.agents[index].as_ref().map_or_else(String::new, Agent::log);
        log.lines().filter(|line| line.contains("holds group ")).count()
    }

    /// Terms of office so far, the first one included.
    pub fn takeovers(&self) -> Result<usize> {
        let mut latest = 0;
        for agent in self.agents.iter().flatten() {
            let status: serde_json::Value = agent.control().json(&["cluster"])?;
            latest = latest.max(status["groups"][0]["epoch"].as_u64().unwrap_or_default());
        }
        Ok(usize::try_from(latest)?)
    }

    /// Pulls the cable between a director and the wire of clients and servers, or puts it back.
    pub fn set_service_link(&self, index: usize, up: bool) -> Result<()> {
        let port = ["director", "director2"][index];
        self.network.switch.links(&format!("link set {port} {}", if up { "up" } else { "down" }))
    }

    /// Both heartbeat networks.
    pub fn set_heartbeat_links(&self, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.directors[0].links(&format!("link set hb0 {state}\nlink set hb1 {state}"))
    }

    /// All cables of a director, to be pulled at once.
    pub fn prepare_isolation(&self, index: usize) -> Result<[Prepared; 2]> {
        let port = ["director", "director2"][index];
        Ok([
            self.directors[0].prepare_links("link set hb0 down\nlink set hb1 down\n")?,
            self.network.switch.prepare_links(&format!("link set {port} down\n"))?,
        ])
    }

    /// A serial line between the directors. The first time before they are started: their files have it then.
    pub fn plug_cable(&mut self) -> Result<()> {
        self.has_serial_ports = true;
        let directory = self.network.identity.directory();
        self.cable = Some(Cable::plug(&[self.serial_port(0), self.serial_port(1)], &directory)?);
        Ok(())
    }

    fn serial_port(&self, index: usize) -> PathBuf {
        self.network.identity.directory().join(format!("ttyS{index}"))
    }

    pub fn wait_for_active(&self, index: usize) -> Result<()> {
        let what = format!("{} to be active", NODES[index]);
        wait_until(&what, PATIENCE, || self.is_active(index)).with_context(|| self.explain())
    }

    /// For messages of failures.
    pub fn explain(&self) -> String {
        let mut text = self
            .witness
            .as_ref()
            .map_or_else(String::new, |witness| format!("--- witness\n{}\n", witness.log()));
        for agent in self.agents.iter().flatten() {
            let cluster = agent.control().run(&["cluster"]).unwrap_or_else(|error| format!("{error:#}"));
            text += &format!("--- {}\n{cluster}\n{}\n", agent.control().instance(), agent.log());
        }
        text
    }

    /// The file of one director.
    fn configuration(&self, index: usize) -> String {
        self.configuration_with(index, &self.services)
    }

    fn configuration_with(&self, index: usize, services: &str) -> String {
        let key = self.network.identity.directory().join("cluster.key");
        let mut text = format!(
            "{services}cluster:\n  node: {}\n  key_file: {}\n{}  nodes:\n",
            NODES[index],
            key.display(),
            self.options
        );
        for (index, name) in NODES.iter().enumerate() {
            let addresses = [0, 1].map(|number| heartbeat(number, index).to_string()).join(", ");
            text += &format!("    - {{name: {name}, addresses: [{addresses}]}}\n");
        }
        if self.has_serial_ports {
            let port = self.serial_port(index);
            text += &format!("  paths:\n    - {{type: serial, device: {}, baud: 115200}}\n", port.display());
        }
        text += "  groups:\n";
        for (number, group) in self.groups().into_iter().enumerate() {
            let name = if self.has_group_for_each_vip { format!("www{number}") } else { "www".to_owned() };
            text += &format!("    - name: {name}\n{}      addresses:\n", self.group_options);
            for (address, bits) in group {
                text += &format!("        - {{address: \"{address}\", prefix: {bits}, interface: eth0}}\n");
            }
        }
        text
    }

    /// Addresses and prefixes of each group. The gateways move with the first one.
    fn groups(&self) -> Vec<Vec<(IpAddr, u8)>> {
        let with_bits = |vip: IpAddr| (vip, Family::of(vip).host_bits());
        let mut groups: Vec<Vec<(IpAddr, u8)>> = if self.has_group_for_each_vip {
            let numbers = 0..self.network.shape.vips;
            numbers
                .map(|number| Family::BOTH.map(|family| with_bits(address::vip(family, number))).to_vec())
                .collect()
        } else {
            vec![self.network.vips().map(with_bits).collect()]
        };
        if let Some(first) = groups.first_mut() {
            first.extend(Family::BOTH.map(|family| (gateway(family), family.net_bits())));
        }
        groups
    }
}

/// Address of a director on a heartbeat network.
pub fn heartbeat(network: usize, director: usize) -> IpAddr {
    [10, 9, network as u8, 1 + director as u8].into()
}
