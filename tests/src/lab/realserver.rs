//! What runs on a real server: a web server, the echo, iperf3. And its preparation for VIPs, by hand.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::address::Family;
use super::agent::binary;
use super::namespace::Namespace;
use super::network::{Network, Server};
use super::process::Process;

pub const HTTP_PORT: u16 = 80;
/// The same web server again, for nat to translate to.
pub const OTHER_HTTP_PORT: u16 = 8080;
pub const IPERF_PORT: u16 = 5201;
/// Bytes of the large file.
pub const LARGE_FILE: usize = 20_000_000;

const PATIENCE: Duration = Duration::from_secs(10);

/// The programs of one machine.
#[derive(Debug)]
pub struct Programs {
    pub web: Process,
    pub echo: Process,
    pub iperf: Process,
}

impl Programs {
    /// Starts everything and waits until it serves. `addresses` are what UDP is answered from: the
    /// machine's own and the VIPs, which need not exist yet.
    pub fn start(network: &Network, namespace: &Namespace, name: &str, addresses: &[IpAddr]) -> Result<Self> {
        let lab = network.identity.directory();
        namespace.sysctl(&[("ipv4.ip_nonlocal_bind", "1"), ("ipv6.ip_nonlocal_bind", "1")])?;

        let mut echo = namespace.command(&binary("lvs-lab")?.to_string_lossy());
        echo.args(["echo", name]).args(addresses.iter().map(IpAddr::to_string));
        let mut iperf = namespace.command("iperf3");
        iperf.args(["--server", "--port", &IPERF_PORT.to_string()]);
        let start = |program: &str, command| Process::start(&format!("{name}-{program}"), command, &lab);
        let mut programs = Self {
            web: start_web(network, namespace, name)?,
            echo: start("echo", &mut echo)?,
            iperf: start("iperf3", &mut iperf)?,
        };

        wait_until_listening(&mut programs.iperf, namespace, IPERF_PORT)?;
        programs.echo.wait_for_words("ready", PATIENCE)?;
        Ok(programs)
    }

    /// Lets them run on: for labs that are kept.
    pub fn detach(self) {
        self.web.detach();
        self.echo.detach();
        self.iperf.detach();
    }
}

/// Starts the web server alone and waits until it serves.
pub fn start_web(network: &Network, namespace: &Namespace, name: &str) -> Result<Process> {
    let lab = network.identity.directory();
    let directory = lab.join(name);
    fs::create_dir_all(directory.join("upload"))?;
    let configuration = directory.join("nginx.conf");
    fs::write(&configuration, nginx_configuration(name, &directory, &large_file(&lab)?))?;
    let mut web = namespace.command("nginx");
    web.arg("-c").arg(&configuration).arg("-p").arg(&directory).args(["-e", "stderr"]);
    let mut process = Process::start(&format!("{name}-nginx"), &mut web, &lab)?;
    wait_until_listening(&mut process, namespace, HTTP_PORT)?;
    Ok(process)
}

fn wait_until_listening(process: &mut Process, namespace: &Namespace, port: u16) -> Result<()> {
    process.wait_until(&format!("to listen on port {port}"), PATIENCE, || listens(namespace, port))
}

/// Starts the programs of every real server.
pub fn start_all(network: &Network) -> Result<Vec<Programs>> {
    network
        .servers
        .iter()
        .map(|server| {
            let mut addresses: Vec<IpAddr> = Family::BOTH.map(|family| server.address(family)).to_vec();
            addresses.extend(network.vips());
            Programs::start(network, &server.namespace, &server.name, &addresses)
        })
        .collect()
}

/// Gives the server the VIPs without letting the wire know: no answers to ARP for them, and no ARP
/// requests in their name. (IPv6 answers only for addresses of the interface that was asked.)
pub fn prepare_by_hand(server: &Server, vips: impl IntoIterator<Item = IpAddr>) -> Result<()> {
    server.namespace.sysctl(&[("ipv4.conf.all.arp_ignore", "1"), ("ipv4.conf.all.arp_announce", "2")])?;
    for vip in vips {
        let family = Family::of(vip);
        server.namespace.addresses(family, &format!("addr add {vip}/{} dev lo", family.host_bits()))?;
    }
    Ok(())
}

/// The lab's large file: the same noise in every run, so that a block out of place shows.
pub fn large_file(lab: &Path) -> Result<PathBuf> {
    let path = lab.join("large");
    if !path.exists() {
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut noise = Vec::with_capacity(LARGE_FILE);
        while noise.len() < LARGE_FILE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend(state.to_ne_bytes());
        }
        fs::write(&path, noise).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(path)
}

/// Where `name` is after it was uploaded to a server.
pub fn uploaded(network: &Network, server: &str, name: &str) -> PathBuf {
    network.identity.directory().join(server).join("upload").join(name)
}

/// Does anything in the namespace listen on this TCP port?
pub fn listens(namespace: &Namespace, port: u16) -> bool {
    namespace
        .run("ss", &["--no-header", "--listening", "--tcp", "--numeric", "sport", "=", &port.to_string()])
        .is_ok_and(|list| !list.trim().is_empty())
}

fn nginx_configuration(name: &str, directory: &Path, large: &Path) -> String {
    let (directory, large) = (directory.display(), large.display());
    format!(
        "daemon off;
master_process off;
user root;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {HTTP_PORT} backlog=1024;
        listen [::]:{HTTP_PORT} backlog=1024;
        listen {OTHER_HTTP_PORT};
        listen [::]:{OTHER_HTTP_PORT};
        add_header x-server {name};
        location / {{ return 200 \"{name}\\n\"; }}
        location = /.testpage {{ return 200 \"this is a test page\\n\"; }}
        location = /large {{ alias {large}; }}
        # Five seconds long, so that something can happen meanwhile.
        location = /slow {{ alias {large}; limit_rate 4m; }}
        location /upload/ {{
            root {directory};
            dav_methods PUT;
            client_max_body_size 64m;
        }}
    }}
}}
"
    )
}
