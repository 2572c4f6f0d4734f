//! Many checks from one agent: how much of the machine they take, and whether they keep time.

use std::fmt;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lvs_userspace::api::model::{Health, Pace};

use super::address::{self, Family, Net};
use super::agent::Agent;
use super::network::{Network, Shape};
use super::realserver::{HTTP_PORT, start_web};
use super::wait::wait_until;

/// Real servers of one service.
const SERVICE: u32 = 2_000;
/// All checks must have had a result by then.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ticks of /proc/PID/stat in a second (USER_HZ).
const TICKS: f64 = 100.0;

/// What it took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Checks by tcp, each of a real server of its own, and by http besides.
    pub tcp: u32,
    pub http: u32,
    pub span: Duration,
    /// Begun in that time.
    pub probes: u64,
    /// Of one processor.
    pub cpu: f64,
    /// Bytes in memory.
    pub resident: u64,
    /// The most that were open at the moments of looking.
    pub descriptors: usize,
    /// How many began within 1, 10, 100, 1000 ms of their time, and later.
    pub late: Vec<u64>,
    pub latest: Duration,
    /// To take one real server out, from the command to its answer.
    pub change: Duration,
}

/// Every check at an interval of a second, for a while.
pub fn measure(tcp: u32, http: u32, span: Duration) -> Result<Measured> {
    let network = Network::build(Shape { real_servers: 1, ..Shape::default() })?;
    let server = &network.servers[0];
    let _web = start_web(&network, &server.namespace, &server.name)?;
    // One machine has all addresses of this net.
    server.namespace.addresses(Family::V4, "route add local 10.50.0.0/16 dev lo")?;
    let via = address::real_server(Net::Servers, Family::V4, 1);
    network.director.addresses(Family::V4, &format!("route add 10.50.0.0/16 via {via}"))?;
    let agent = Agent::start(&network, &configuration(tcp, http))?;
    let control = agent.control();
    let health = || control.json::<Health>(&["health"]);
    wait_until("every check to pass", PATIENCE, || {
        health().is_ok_and(|health| {
            health.services.iter().flat_map(|service| &service.servers).all(|server| server.state == "up")
        })
    })
    .with_context(|| agent.log())?;

    let (begun, before, cpu) = (Instant::now(), health()?.pace, cpu(agent.pid())?);
    let mut descriptors = 0;
    while begun.elapsed() < span {
        descriptors = descriptors.max(fs::read_dir(format!("/proc/{}/fd", agent.pid()))?.count());
        thread::sleep(Duration::from_millis(100));
    }
    let used = self::cpu(agent.pid())? - cpu;
    let (took, after) = (begun.elapsed(), health()?);
    let down =
        after.services.iter().flat_map(|service| &service.servers).filter(|server| server.state != "up");
    ensure!(down.count() == 0, "servers were taken for dead: {}", agent.log());
    let asked = Instant::now();
    control.run(&["disable", "10.50.0.1"])?;
    let change = asked.elapsed();
    Ok(Measured {
        change,
        tcp,
        http,
        span: took,
        probes: after.pace.probes - before.probes,
        cpu: used / took.as_secs_f64(),
        resident: resident(agent.pid())?,
        descriptors,
        late: late(&after.pace, &before),
        latest: Duration::from_millis(after.pace.latest_milliseconds),
    })
}

fn late(after: &Pace, before: &Pace) -> Vec<u64> {
    after.late.iter().zip(&before.late).map(|(after, before)| after.probes - before.probes).collect()
}

fn configuration(tcp: u32, http: u32) -> String {
    let timing = "interval: 1s, fast_interval: 1s, timeout: 1s";
    let mut text = "version: 1\ninterfaces: [eth0]\nservices:\n".to_owned();
    for first in (0..tcp).step_by(SERVICE as usize) {
        let vip = address::vip(Family::V4, 0);
        let port = 1000 + first / SERVICE;
        text += &format!(
            "  - name: s{port}\n    vip: {vip}\n    port: {port}\n    protocol: tcp\n    scheduler: rr\n    \
             health: {{checks: [{{type: tcp, port: {HTTP_PORT}, {timing}}}]}}\n    real_servers:\n"
        );
        for number in first..tcp.min(first + SERVICE) {
            let address = format!("10.50.{}.{}", number / 200, number % 200 + 1);
            let checks = match number < http {
                true => format!(
                    ", checks: [{{type: tcp, port: {HTTP_PORT}, {timing}}}, {{type: http, port: {HTTP_PORT}, \
                     path: /.testpage, body: test page, {timing}}}]"
                ),
                false => String::new(),
            };
            text += &format!("      - {{address: {address}{checks}}}\n");
        }
    }
    text
}

/// Seconds of processor time.
fn cpu(pid: i32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold blanks, and ends with a bracket: utime and stime are the 12th and 13th after it.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields
        .get(11..13)
        .context("stat is short")?
        .iter()
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS)
}

fn resident(pid: i32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tcp, http, span, probes, cpu, resident, descriptors, late, latest, change } = self;
        let seconds = span.as_secs_f64();
        writeln!(out, "{tcp} tcp and {http} http checks, one a second each, for {seconds:.0} s")?;
        writeln!(out, "probes            {:.0} a second", *probes as f64 / seconds)?;
        writeln!(out, "processor         {:.0} % of one", cpu * 100.0)?;
        writeln!(out, "memory            {} MiB", resident >> 20)?;
        writeln!(out, "descriptors       {descriptors} at the most")?;
        let share = |count: &u64| format!("{:.1} %", *count as f64 * 100.0 / (*probes).max(1) as f64);
        let classes = ["<= 1 ms", "<= 10 ms", "<= 100 ms", "<= 1 s", "later"];
        let late: Vec<_> =
            classes.iter().zip(late).map(|(class, count)| format!("{class}: {}", share(count))).collect();
        writeln!(out, "late              {}", late.join(", "))?;
        writeln!(out, "latest            {} ms since the start", latest.as_millis())?;
        write!(out, "one server out    {} ms", change.as_millis())
    }
}
