//! A director and keepalived in one virtual router, and a client who only knows the VIP.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family};
use lvs_tests::lab::agent::Agent;
use lvs_tests::lab::client::Exchange;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::namespace::Namespace;
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::process::Process;
use lvs_tests::lab::realserver::{self, HTTP_PORT, Programs};
use lvs_tests::lab::wait::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::setup::{dialled, real_servers, service};

const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL_MS: u64 = 100;
/// Virtual routers, one for each family.
const ROUTERS: [(Family, u8); 2] = [(Family::V4, 51), (Family::V6, 61)];

/// keepalived on a machine that serves by itself where it has the VIP.
struct Other {
    namespace: Namespace,
    keepalived: Option<Process>,
    directory: PathBuf,
    /// It has the addresses at the virtual routers' MACs.
    virtual_mac: bool,
    _programs: Programs,
}

impl Other {
    fn start(network: &Network, virtual_mac: bool) -> Result<Self> {
        let namespace = network.add_neighbour("other", 4)?;
        let vips: Vec<_> = network.vips().collect();
        let programs = Programs::start(network, &namespace, "other", &vips)?;
        let directory = network.identity.directory();
        let mut other = Self { namespace, keepalived: None, directory, virtual_mac, _programs: programs };
        other.start_keepalived()?;
        Ok(other)
    }

    fn start_keepalived(&mut self) -> Result<()> {
        let mut configuration = "global_defs {\n vrrp_version 3\n}\n".to_owned();
        let (vmac, device) = if self.virtual_mac { (" use_vmac\n", "") } else { ("", "dev eth0") };
        for (family, id) in ROUTERS {
            let (vip, bits) = (address::vip(family, 0), family.host_bits());
            let interval = INTERVAL_MS as f64 / 1e3;
            configuration += &format!(
                "vrrp_instance r{id} {{\n state BACKUP\n interface eth0\n virtual_router_id {id}\n priority 100\n \
                 advert_int {interval}\n{vmac} virtual_ipaddress {{\n  {vip}/{bits} {device}\n }}\n}}\n"
            );
        }
        fs::write(self.file("keepalived.conf"), configuration)?;
        let mut command = self.namespace.command("keepalived");
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp"]);
        for (option, name) in [("use-file", "keepalived.conf"), ("pid", "k.pid"), ("vrrp_pid", "vrrp.pid")] {
            command.arg(format!("--{option}={}", self.file(name).display()));
        }
        self.keepalived = Some(Process::start("keepalived", &mut command, &self.directory)?);
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// As by a loss of power, but that its kernel would go on to answer for the VIPs: so they go with it.
    fn kill(&mut self) -> Result<()> {
        let mut parent = self.keepalived.take().context("keepalived does not run")?;
        // It would start its child again.
        parent.signal(Signal::SIGSTOP)?;
        let child: i32 = fs::read_to_string(self.file("vrrp.pid"))?.trim().parse()?;
        kill(Pid::from_raw(child), Signal::SIGKILL)?;
        parent.kill()?;
        fs::remove_file(self.file("vrrp.pid"))?;
        for (family, _) in ROUTERS {
            let line = format!("addr del {}/{} dev eth0\n", address::vip(family, 0), family.host_bits());
            self.namespace.addresses(family, &line)?;
        }
        Ok(())
    }
}

fn configuration(network: &Network, priority: u8, virtual_mac: bool) -> String {
    let services = Family::BOTH
        .map(|family| service(family, HTTP_PORT, "tcp", "rr", "dr", real_servers(network, family)));
    let mut text = Configuration::new(network, services.to_vec()).to_string() + "vrrp:\n";
    for (family, id) in ROUTERS {
        text += &format!(
            "  - {{name: r{id}, interface: eth0, router_id: {id}, priority: {priority}, \
             advert_interval: {INTERVAL_MS}ms, virtual_mac: {virtual_mac}, addresses: [{{address: \"{}\"}}]}}\n",
            address::vip(family, 0)
        );
    }
    text
}

/// Whoever answers the client: the director's real servers, or keepalived's machine. Of both families.
fn wait_for_answers(network: &Network, what: &str, is_right: impl Fn(&str) -> bool) -> Result<Duration> {
    let begun = Instant::now();
    for family in Family::BOTH {
        wait_until(&format!("{what} to answer over {family}"), PATIENCE, || {
            let answer = network.client.enter(|| Exchange::Http.once(dialled(family, HTTP_PORT)));
            answer.is_ok_and(|name| is_right(&name))
        })?;
    }
    Ok(begun.elapsed())
}

/// The lab's director has the VIPs from the start; here the agent puts them up.
fn give_up_vips(network: &Network) -> Result<()> {
    Family::BOTH.into_iter().try_for_each(|family| {
        let line = format!("addr del {}/{} dev eth0\n", address::vip(family, 0), family.host_bits());
        network.director.addresses(family, &line)
    })
}

fn by_director(name: &str) -> bool {
    name.starts_with("rs")
}

fn by_other(name: &str) -> bool {
    name == "other"
}

/// A dead director has the VIPs still, yet does not answer for them: its leases have ended.
fn expect_silence_of_the_dead(network: &Network) -> Result<()> {
    for _ in 0..20 {
        network.client.run("ip", &["neighbour", "flush", "dev", "eth0"])?;
        for family in Family::BOTH {
            let answer = network.client.enter(|| Exchange::Http.once(dialled(family, HTTP_PORT)))?;
            ensure!(by_other(&answer), "{answer} answers over {family} for a director that is dead");
        }
    }
    Ok(())
}

#[test]
fn a_director_and_keepalived_stand_in_for_each_other() -> Result<()> {
    let network = Network::build(Shape { real_servers: 2, ..Shape::default() })?;
    let _programs = realserver::start_all(&network)?;
    for server in &network.servers {
        realserver::prepare_by_hand(server, network.vips())?;
    }
    let mut other = Other::start(&network, false)?;
    give_up_vips(&network)?;
    let mut agent = Agent::start(&network, &configuration(&network, 150, false))?;
    wait_for_answers(&network, "the director", by_director)?;
    let addresses = network.director.run("ip", &["-oneline", "address", "show", "dev", "eth0"])?;
    for (family, _) in ROUTERS {
        let vip = address::vip(family, 0).to_string();
        ensure!(addresses.contains(&vip), "{vip} is not on the director: {addresses}");
    }

    // It dies: the client learns from keepalived's announcement where the VIP is now.
    agent.kill()?;
    let took = wait_for_answers(&network, "keepalived's machine", by_other)?;
    println!("keepalived took over {took:?} after lvsd was killed");
    expect_silence_of_the_dead(&network)?;

    // It comes back, better as it is.
    agent.start_again()?;
    wait_for_answers(&network, "the director", by_director)?;

    // It ends in order.
    ensure!(agent.terminate()?.success(), "lvsd said: {}", agent.log());
    let took = wait_for_answers(&network, "keepalived's machine", by_other)?;
    println!("keepalived took over {took:?} after lvsd had ended");
    let addresses = network.director.run("ip", &["-oneline", "address", "show", "dev", "eth0"])?;
    ensure!(!addresses.contains(&address::vip(Family::V4, 0).to_string()), "a VIP is left: {addresses}");

    // As a backup it waits, and takes over from the dead.
    agent.start_again()?;
    agent.reload(&configuration(&network, 50, false))?;
    wait_for_answers(&network, "keepalived's machine", by_other)?;
    other.kill()?;
    let took = wait_for_answers(&network, "the director", by_director)?;
    println!("lvsd took over {took:?} after keepalived was killed");
    other.start_keepalived()?;
    wait_for_answers(&network, "keepalived's machine", by_other)?;

    // Without virtual routers it has no part in it.
    let plain = configuration(&network, 50, false);
    let (plain, _) = plain.split_once("vrrp:").context("there are virtual routers")?;
    agent.reload(plain)?;
    ensure!(agent.terminate()?.success(), "lvsd said: {}", agent.log());
    Ok(())
}

/// The client has one entry for each VIP, whichever machine is active.
#[test]
fn the_vip_stays_at_its_virtual_mac() -> Result<()> {
    let network = Network::build(Shape { real_servers: 1, ..Shape::default() })?;
    let _programs = realserver::start_all(&network)?;
    realserver::prepare_by_hand(&network.servers[0], network.vips())?;
    give_up_vips(&network)?;
    let other = Other::start(&network, true)?;
    // Or it would ask for the client in the name of the VIP, from the MAC of eth0.
    other.namespace.sysctl(&[("ipv4.conf.all.arp_ignore", "1"), ("ipv4.conf.all.arp_announce", "2")])?;
    let at_virtual_mac = |whose: &str| -> Result<()> {
        for (family, id) in ROUTERS {
            let vip = address::vip(family, 0).to_string();
            let kind = if family == Family::V4 { 1 } else { 2 };
            let mac = format!("00:00:5e:00:{kind:02x}:{id:02x}");
            let neighbour = network.client.run("ip", &["neighbour", "show", &vip])?;
            ensure!(neighbour.contains(&mac), "{whose}, over {family}: {neighbour} and not {mac}");
        }
        Ok(())
    };
    let mut agent = Agent::start(&network, &configuration(&network, 150, true))?;
    wait_for_answers(&network, "the director", by_director)?;
    at_virtual_mac("the director")?;
    let shown = agent.control().run(&["cluster"])?;
    ensure!(shown.matches("active").count() >= 2 && shown.contains("r51"), "{shown}");
    let metrics = agent.control().run(&["metrics"])?;
    ensure!(metrics.contains("lvs_vrrp_state{router=\"r51\",state=\"active\"} 1\n"), "{metrics}");

    agent.kill()?;
    let took = wait_for_answers(&network, "keepalived's machine", by_other)?;
    println!("keepalived took over {took:?} after lvsd was killed");
    at_virtual_mac("keepalived's machine")?;
    expect_silence_of_the_dead(&network)?;

    agent.start_again()?;
    wait_for_answers(&network, "the director", by_director)?;
    at_virtual_mac("the director")?;
    ensure!(agent.terminate()?.success(), "lvsd said: {}", agent.log());
    let links = network.director.run("ip", &["link", "show"])?;
    ensure!(!links.contains("vmac"), "an interface is left: {links}");
    wait_for_answers(&network, "keepalived's machine", by_other).map(drop)
}
