//! Requests through the director and through proxies to the same kind of web server.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};

use super::topology::{self, Topology};
use super::wrk::{self, Answered, Connections};
use crate::bench::Options;
use crate::bench::figure::{Better, Figure};
use crate::lab::address::Family;
use crate::lab::agent::{Agent, start_realserver_in};
use crate::lab::configuration::{Configuration, RealServer, Service};
use crate::lab::namespace::Namespace;
use crate::lab::process::Process;
use crate::lab::realserver::listens;

const PORT: u16 = 80;
const HAPROXY_PORT: u16 = 8001;
const NGINX_PORT: u16 = 8002;
const PATIENCE: Duration = Duration::from_secs(10);
const METHODS: [&str; 3] = ["dr", "nat", "ipip"];
const HAPROXY: &str = "HAProxy (tcp)";

/// A way to the web server.
struct Case {
    name: &'static str,
    /// Through the director, or where nothing but the kernel and the proxies is.
    director: bool,
    target: SocketAddr,
    kept: Vec<Answered>,
    new: Vec<Answered>,
}

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let (runs, seconds) = options.pick((1, 1), (2, 1), (5, 3));
    let with_director = Bed::with_director()?;
    let with_proxies = Bed::with_proxies()?;
    let mut cases = cases();
    let few: &[&str] = options.pick(&["ipip", HAPROXY], &["dr", "nat", "ipip", HAPROXY], &[]);
    cases.retain(|case| few.is_empty() || few.contains(&case.name));
    for _ in 0..runs {
        for case in &mut cases {
            let bed = if case.director { &with_director } else { &with_proxies };
            let measure = |connections| {
                wrk::run(&bed.topology.client, case.target, connections, seconds)
                    .with_context(|| format!("{}, {connections:?} connections", case.name))
            };
            let (kept, new) = (measure(Connections::Kept)?, measure(Connections::New)?);
            case.kept.push(kept);
            case.new.push(new);
        }
    }
    let kinds = [Case::requests, Case::latency, Case::connections];
    Ok(kinds.iter().flat_map(|kind| cases.iter().map(kind)).collect())
}

fn cases() -> Vec<Case> {
    let case = |name, director, address, port| Case {
        name,
        director,
        target: SocketAddr::new(address, port),
        kept: Vec::new(),
        new: Vec::new(),
    };
    let [server, director] = [topology::server(Family::V4), topology::director(Family::V4)];
    let mut cases = vec![case("routed, no balancer", false, server, PORT)];
    cases
        .extend((1..).zip(METHODS).map(|(vip, name)| case(name, true, topology::vip(Family::V4, vip), PORT)));
    cases.push(case(HAPROXY, false, director, HAPROXY_PORT));
    cases.push(case("nginx stream", false, director, NGINX_PORT));
    cases
}

impl Case {
    fn requests(&self) -> Figure {
        let value = |answered: &Answered| answered.requests_per_second;
        self.figure("requests a second", "1/s", Better::Higher, &self.kept, value)
    }

    fn latency(&self) -> Figure {
        let value = |answered: &Answered| answered.percentile_99;
        self.figure("99 % of answers within", "us", Better::Lower, &self.kept, value)
    }

    fn connections(&self) -> Figure {
        let value = |answered: &Answered| answered.requests_per_second;
        self.figure("requests a second, each on a new connection", "1/s", Better::Higher, &self.new, value)
    }

    fn figure(
        &self,
        what: &str,
        unit: &str,
        better: Better,
        runs: &[Answered],
        value: fn(&Answered) -> f64,
    ) -> Figure {
        Figure {
            section: "traffic".into(),
            case: format!("{what}: {}", self.name),
            unit: unit.into(),
            samples: runs.iter().map(value).collect(),
            reference: (self.name != HAPROXY).then(|| format!("{what}: {HAPROXY}")),
            goal: None,
            better,
            note: Some(
                "load, balancer and web server share the machine's processors, so the balancer is only a part"
                    .into(),
            ),
        }
    }
}

/// A row of machines with a web server at its end. In this order it ends: programs first.
struct Bed {
    #[expect(dead_code, reason = "runs as long as the bed lives")]
    agent: Option<Agent>,
    #[expect(dead_code, reason = "run as long as the bed lives")]
    processes: Vec<Process>,
    topology: Topology,
}

impl Bed {
    fn with_director() -> Result<Self> {
        let topology = Topology::build()?;
        let server = &topology.server;
        let mut processes = vec![start_nginx(&topology, server, "web", &web_server(), PORT)?];
        let vips: Vec<IpAddr> = (1..=3).map(|vip| topology::vip(Family::V4, vip)).collect();
        let mut arguments = vec!["--ipip".to_owned()];
        // Not the VIP of nat, to which the server answers from its own address.
        for vip in [vips[0], vips[2]] {
            arguments.extend(["--vip".to_owned(), vip.to_string()]);
        }
        arguments.extend(["--director".to_owned(), "10.0.0.2".to_owned()]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        processes.push(start_realserver_in(server, &topology.identity, "server", &arguments)?);

        let services = METHODS.iter().zip(vips).map(|(forward, vip)| Service {
            name: (*forward).to_owned(),
            vip,
            port: PORT,
            protocol: "tcp",
            scheduler: "mh",
            forward,
            real_servers: vec![RealServer {
                address: Some(topology::server(Family::V4)),
                port: None,
                weight: 1,
            }],
            health: String::new(),
        });
        let configuration = Configuration {
            interfaces: vec!["eth0".into(), "eth1".into()],
            embryonic: None,
            services: services.collect(),
            alerts: String::new(),
        };
        let agent = Agent::start_in(&topology.director, &topology.identity, &configuration.to_string())?;
        Ok(Self { agent: Some(agent), processes, topology })
    }

    fn with_proxies() -> Result<Self> {
        let topology = Topology::build()?;
        let director = &topology.director;
        let processes = vec![
            start_nginx(&topology, &topology.server, "web", &web_server(), PORT)?,
            start_nginx(&topology, director, "stream", &stream_proxy(), NGINX_PORT)?,
            start_haproxy(&topology)?,
        ];
        Ok(Self { agent: None, processes, topology })
    }
}

fn start_nginx(
    topology: &Topology,
    machine: &Namespace,
    name: &str,
    configuration: &str,
    port: u16,
) -> Result<Process> {
    let directory = topology.identity.directory().join(name);
    fs::create_dir_all(&directory)?;
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration)?;
    let mut command = machine.command("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(&directory).args(["-e", "stderr"]);
    let mut process = Process::start(name, &mut command, &topology.identity.directory())?;
    process.wait_until(&format!("to listen on port {port}"), PATIENCE, || listens(machine, port))?;
    Ok(process)
}

/// One process for each, as each of them is one of several on two processors.
const NGINX: &str = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
user root;
pid nginx.pid;
error_log stderr;
worker_rlimit_nofile 16384;
events { worker_connections 8192; }
";

fn web_server() -> String {
    format!(
        "{NGINX}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {PORT} backlog=8192;
        location / {{ return 200 \"hello\\n\"; }}
    }}
}}
"
    )
}

fn stream_proxy() -> String {
    let server = topology::server(Family::V4);
    format!(
        "{NGINX}
stream {{
    server {{
        listen {NGINX_PORT} backlog=8192;
        proxy_pass {server}:{PORT};
    }}
}}
"
    )
}

fn start_haproxy(topology: &Topology) -> Result<Process> {
    let server = topology::server(Family::V4);
    let file = topology.identity.directory().join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "global
    maxconn 8192
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen web
    bind :{HAPROXY_PORT} backlog 8192
    server server {server}:{PORT}
"
        ),
    )?;
    let mut command = topology.director.command("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let mut process = Process::start("haproxy", &mut command, &topology.identity.directory())?;
    process.wait_until("to listen", PATIENCE, || listens(&topology.director, HAPROXY_PORT))?;
    Ok(process)
}
