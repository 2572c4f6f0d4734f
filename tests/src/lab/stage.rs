//! Two directors that serve: with real servers behind them, and services of one scheduler and one method.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_userspace::api::model::Health;

use super::address::{self, Family, Net};
use super::agent::start_realserver;
use super::arp::{Claim, mac};
use super::client::Exchange;
use super::configuration::{Configuration, dialled, real_servers, service};
use super::echo::ECHO_PORT;
use super::network::{Server, Shape};
use super::pair::{HOSTS, NODES, Pair};
use super::process::Process;
use super::realserver::{self, HTTP_PORT, Programs};
use super::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);

/// In this order it ends: the agents first, the network last.
#[derive(Debug)]
pub struct Stage {
    pub pair: Pair,
    _prepared: Vec<Process>,
    pub programs: Vec<Programs>,
}

impl Stage {
    /// A web server and an echo by this scheduler and method, the first director active; `change` is made before they
    /// start.
    pub fn start(
        scheduler: &'static str,
        forward: &'static str,
        change: impl FnOnce(&mut Pair) -> Result<()>,
    ) -> Result<Self> {
        Self::start_with(Shape::default(), scheduler, forward, change)
    }

    /// The same with the services at each of the shape's VIPs.
    pub fn start_with(
        shape: Shape,
        scheduler: &'static str,
        forward: &'static str,
        change: impl FnOnce(&mut Pair) -> Result<()>,
    ) -> Result<Self> {
        let mut pair = Pair::build(shape)?;
        let programs = realserver::start_all(&pair.network)?;
        let prepared = prepare(&pair, forward)?;
        let mut services = Vec::new();
        for number in 0..shape.vips {
            for family in Family::BOTH {
                for (port, protocol) in [(HTTP_PORT, "tcp"), (ECHO_PORT, "tcp"), (ECHO_PORT, "udp")] {
                    let servers = real_servers(&pair.network, family);
                    let mut service = service(family, port, protocol, scheduler, forward, servers);
                    service.vip = address::vip(family, number);
                    service.name += &format!("-{number}");
                    services.push(service);
                }
            }
        }
        change(&mut pair)?;
        let configuration = Configuration::new(&pair.network, services);
        pair.start(configuration.to_string())?;
        Ok(Self { pair, _prepared: prepared, programs })
    }

    /// A client gets a page, over both families.
    pub fn answers(&self) -> Result<()> {
        for family in Family::BOTH {
            wait_until(&format!("an answer over {family}"), PATIENCE, || {
                self.pair.network.client.enter(|| Exchange::Http.once(dialled(family, HTTP_PORT))).is_ok()
            })
            .with_context(|| self.pair.explain())?;
        }
        Ok(())
    }

    /// Has the director drain a real server, or end that, and waits until both act on it.
    pub fn set_drained(&self, director: usize, server: &Server, drained: bool) -> Result<()> {
        self.set_drained_at(director, server, drained)?;
        self.wait_for_mode(1 - director, server, drained)
    }

    /// The same where the other director is away.
    pub fn set_drained_at(&self, director: usize, server: &Server, drained: bool) -> Result<()> {
        let command = if drained { "drain" } else { "enable" };
        for family in Family::BOTH {
            let address = server.address(family).to_string();
            self.pair.agent(director)?.control().run(&[command, &address])?;
        }
        self.wait_for_mode(director, server, drained)
    }

    /// Waits until a director has a real server drained, or enabled, in every service.
    pub fn wait_for_mode(&self, director: usize, server: &Server, drained: bool) -> Result<()> {
        let (mode, weight) = if drained { ("drained", 0) } else { ("enabled", 1) };
        let control = self.pair.agent(director)?.control();
        let addresses = Family::BOTH.map(|family| server.address(family));
        let what = format!("{} to have {} {mode}", NODES[director], server.name);
        wait_until(&what, PATIENCE, || {
            let Ok(health) = control.json::<Health>(&["health"]) else { return false };
            let servers: Vec<_> = health.services.iter().flat_map(|service| &service.servers).collect();
            let mut own = servers.iter().filter(|server| addresses.contains(&server.address)).peekable();
            own.peek().is_some()
                && own.all(|server| server.mode == mode && server.installed_weight == Some(weight))
        })
        .with_context(|| self.pair.explain())
    }

    /// On the client's wire no director has answered for a VIP after the other had begun to, in so many takeovers.
    ///
    /// # Errors
    /// One has, or a stranger, or nobody ever.
    pub fn expect_turns(&self, claims: &[Claim], takeovers: usize) -> Result<()> {
        let macs = [mac(&self.pair.directors[0], "eth0")?, mac(&self.pair.directors[1], "eth0")?];
        for vip in self.pair.network.vips() {
            let mut of_vip: Vec<_> = claims.iter().filter(|claim| claim.address == vip).collect();
            of_vip.sort_by_key(|claim| claim.time);
            ensure!(!of_vip.is_empty(), "nobody has announced {vip}");
            ensure!(of_vip.iter().all(|claim| macs.contains(&claim.mac)), "a stranger has {vip}: {of_vip:?}");
            // Each takeover is one change of the MAC; one that is taken back would be two more.
            let changes = of_vip.windows(2).filter(|two| two[0].mac != two[1].mac).count();
            ensure!(
                changes <= takeovers,
                "{vip} changed hands {changes} times in {takeovers} takeovers: {of_vip:?}"
            );
        }
        Ok(())
    }
}

/// Real servers get the VIPs of dr and ipip; with ipip they unpack what both directors tunnel.
fn prepare(pair: &Pair, forward: &str) -> Result<Vec<Process>> {
    let mut prepared = Vec::new();
    for server in &pair.network.servers {
        match forward {
            "dr" => realserver::prepare_by_hand(server, pair.network.vips())?,
            "ipip" => {
                let mut arguments = vec!["--ipip".to_owned()];
                for vip in pair.network.vips() {
                    arguments.extend(["--vip".to_owned(), vip.to_string()]);
                }
                for (family, host) in
                    Family::BOTH.into_iter().flat_map(|family| HOSTS.map(|host| (family, host)))
                {
                    for net in [Net::Servers, Net::Clients] {
                        arguments
                            .extend(["--director".to_owned(), address::host(net, family, host).to_string()]);
                    }
                }
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                prepared.push(start_realserver(&pair.network, server, &arguments)?);
            }
            _ => {}
        }
    }
    Ok(prepared)
}
