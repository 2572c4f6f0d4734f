//! Two directors that watch each other, with two networks of their own for it.
//!
//! ```text
//!   client   director ═══ director2   rs1  rs2  rs3
//!      └─────────┴────────────┴────────┴────┴────┘      hb0 and hb1 lead from one director to the other
//! ```

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use super::address::{self, Family, Net};
use super::agent::{Agent, binary};
use super::namespace::Namespace;
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

#[derive(Debug)]
pub struct Pair {
    /// `None`: it does not run.
    pub agents: [Option<Agent>; 2],
    pub witness: Option<Process>,
    pub directors: [Namespace; 2],
    pub network: Network,
    /// What `cluster` has besides, one line each, indented by two.
    pub options: String,
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
        fs::write(&key, "lab 0123456789abcdef-of-a-lab-key\n")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            agents: [None, None],
            witness: None,
            directors,
            network,
            options: String::new(),
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
        wait_until(&what, std::time::Duration::from_secs(20), || self.role(index) == "standby")
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

    /// `lvsd witness` on the client's machine.
    pub fn start_witness(&mut self) -> Result<()> {
        let directory = self.network.identity.directory();
        let mut command = self.network.client.command(&binary("lvsd")?.to_string_lossy());
        let listen = format!("{}:694", address::client(Family::V4));
        command.args(["witness", "--name", "witness", "--listen", &listen, "--silence", "1", "--key-file"]);
        command.arg(directory.join("cluster.key"));
        let mut witness = Process::start("witness", &mut command, &directory)?;
        witness.wait_for_words("votes", std::time::Duration::from_secs(10))?;
        self.witness = Some(witness);
        self.options += &format!("  voter: {{name: witness, address: {}}}\n", address::client(Family::V4));
        Ok(())
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
        let asked = || -> Result<String> {
            let status: serde_json::Value = self.agent(index)?.control().json(&["cluster"])?;
            Ok(status["groups"][0]["role"].as_str().unwrap_or_default().to_owned())
        };
        asked().unwrap_or_default()
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

    pub fn wait_for_active(&self, index: usize) -> Result<()> {
        let what = format!("{} to be active", NODES[index]);
        wait_until(&what, std::time::Duration::from_secs(20), || self.is_active(index))
            .with_context(|| self.explain())
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
        let key = self.network.identity.directory().join("cluster.key");
        let mut text = format!(
            "{}cluster:\n  node: {}\n  key_file: {}\n{}  nodes:\n",
            self.services,
            NODES[index],
            key.display(),
            self.options
        );
        for (index, name) in NODES.iter().enumerate() {
            let addresses = [0, 1].map(|number| heartbeat(number, index).to_string()).join(", ");
            text += &format!("    - {{name: {name}, addresses: [{addresses}]}}\n");
        }
        text += "  groups:\n    - name: www\n      addresses:\n";
        let mut add = |address: IpAddr, bits: u8| {
            text += &format!("        - {{address: \"{address}\", prefix: {bits}, interface: eth0}}\n");
        };
        self.network.vips().for_each(|vip| add(vip, Family::of(vip).host_bits()));
        Family::BOTH.iter().for_each(|family| add(gateway(*family), family.net_bits()));
        text
    }
}

/// Address of a director on a heartbeat network.
fn heartbeat(network: usize, director: usize) -> IpAddr {
    [10, 9, network as u8, 1 + director as u8].into()
}
