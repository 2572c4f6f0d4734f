//! `lvsd` and `lvsctl` as an operator uses them, in a network namespace of their own. Needs root and the
//! director's object (`cargo xtask build-ebpf`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Namespace, connect};

/// The verifier takes most of it, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

const WEB: &str = "version: 1
interfaces: [eth0]
services:
  - name: web
    vip: 192.0.2.10
    port: 80
    protocol: tcp
    scheduler: wrr
    forward: dr
    real_servers:
      - {address: 10.0.0.2, weight: 5}
      - {address: 10.0.0.3}
  - name: dns
    vip: 192.0.2.11
    port: 53
    protocol: udp
    scheduler: mh
    forward: nat
    real_servers:
      - {address: 10.0.0.2, port: 5353}
";

/// A director with one link to a neighbour that has the real servers' addresses.
struct Lab {
    director: Namespace,
    servers: Namespace,
    instance: String,
    directory: tempfile::TempDir,
    agent: Option<Child>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill().ok();
            agent.wait().ok();
        }
        // Nothing to remove where the agent has ended in order.
        fs::remove_dir_all(Path::new("/sys/fs/bpf").join(&self.instance)).ok();
        fs::remove_dir_all(Path::new("/run").join(&self.instance)).ok();
        fs::remove_dir_all(Path::new("/var/lib").join(&self.instance)).ok();
    }
}

impl Lab {
    fn new(name: &str) -> Self {
        let (director, servers) = (Namespace::new("agent"), Namespace::new("agent"));
        connect(&director, &servers);
        director.ip("address add 10.0.0.1/24 dev eth0");
        for address in ["10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24"] {
            servers.ip(&format!("address add {address} dev eth0"));
        }
        director.run("sysctl -qw net.ipv4.ip_forward=1");
        let instance = format!("test-agent-{}-{name}", std::process::id());
        let directory = tempfile::tempdir().unwrap();
        Self { director, servers, instance, directory, agent: None }
    }

    /// With the agent at work on `configuration`.
    fn started(name: &str, configuration: &str) -> Self {
        let mut lab = Self::new(name);
        lab.write(configuration);
        lab.start(&[]);
        lab
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("lvs.yaml")
    }

    fn write(&self, configuration: &str) {
        fs::write(self.file(), configuration).unwrap();
    }

    fn lvsd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.director.name)).arg("--");
        command.arg(env!("CARGO_BIN_EXE_lvsd")).arg("--config").arg(self.file());
        command.args(["--instance", &self.instance]).args(arguments);
        command
    }

    /// Starts the agent and waits until it answers.
    fn start(&mut self, arguments: &[&str]) {
        let log = File::create(self.directory.path().join("log")).unwrap();
        self.start_with_log(arguments, log);
    }

    fn start_with_log(&mut self, arguments: &[&str], log: impl Into<Stdio>) {
        self.agent = Some(self.lvsd(arguments).stderr(log).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !self.lvsctl(&["status"]).status.success() {
            let ended = self.agent.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "lvsd has ended: {}", self.log());
            assert!(Instant::now() < deadline, "lvsd does not answer: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs an agent that is expected to end by itself; its last words.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.lvsd(arguments).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "lvsd has not refused: {words}");
        words
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.agent.as_ref().unwrap().id().cast_signed());
        kill(pid, signal).unwrap();
    }

    /// Waits for the agent's end.
    fn ended(&mut self) {
        let status = self.agent.take().unwrap().wait().unwrap();
        assert!(status.success(), "lvsd ended with {status}: {}", self.log());
    }

    fn lvsctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lvsctl"));
        command.args(["--instance", &self.instance]).args(arguments).output().unwrap()
    }

    /// What `lvsctl` printed; it must succeed.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.lvsctl(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lvsctl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.told(&[command, "--json"])).unwrap()
    }

    fn pins(&self) -> PathBuf {
        Path::new("/sys/fs/bpf").join(&self.instance).join(format!("v{}", lvs_common::LAYOUT_VERSION))
    }

    fn has_program(&self, interface: &str) -> bool {
        self.director.ip(&format!("link show {interface}")).contains("prog/xdp")
    }

    /// Ids of the link and of every map, which stay the same only if they are adopted.
    fn identities(&self) -> Vec<(String, String)> {
        let mut identities = Vec::new();
        for entry in fs::read_dir(self.pins()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let kind = if name.starts_with("link_") { "link" } else { "map" };
            let shown =
                Command::new("bpftool").args(["-j", kind, "show", "pinned"]).arg(&path).output().unwrap();
            let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
            identities.push((name, shown["id"].to_string()));
        }
        identities.sort();
        identities
    }

    fn assert_nothing_is_left(&self) {
        assert!(!self.has_program("eth0"), "a program is left on eth0");
        let pins = Path::new("/sys/fs/bpf").join(&self.instance);
        assert!(!pins.exists(), "{} is left", pins.display());
        let run = Path::new("/run").join(&self.instance);
        assert!(!run.exists(), "{} is left", run.display());
    }
}

#[test]
fn it_starts_answers_and_leaves_nothing() {
    let mut lab = Lab::started("life", WEB);
    assert!(lab.has_program("eth0"));
    let socket = fs::metadata(Path::new("/run").join(&lab.instance).join("lvsd.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);

    let services = lab.json("services");
    let web = &services["services"][0];
    assert_eq!(web["name"], "web");
    assert_eq!(web["owner"], "file");
    assert_eq!(web["destinations"][0]["weight"], 5);
    assert_eq!(services["interfaces"][0]["name"], "eth0");
    // The MACs were asked for before the services were published.
    for service in services["services"].as_array().unwrap() {
        for destination in service["destinations"].as_array().unwrap() {
            assert!(destination["next_hop"]["mac"].is_string(), "{destination}");
        }
    }
    let table = lab.told(&["services"]);
    assert!(table.contains("-> 10.0.0.2:5353"), "{table}");

    let stats = lab.json("stats");
    assert_eq!(stats["services"][1]["destinations"][0]["traffic"]["packets_in"], 0);
    assert!(stats["causes"].as_array().unwrap().iter().any(|cause| cause["name"] == "no_route"));
    assert!(lab.told(&["stats"]).contains("-> 10.0.0.3:80"));
    assert_eq!(lab.json("connections")["connections"].as_array().unwrap().len(), 0);
    let unknown = lab.lvsctl(&["connections", "--service", "nobody"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no service nobody"));
    let status = lab.json("status");
    assert_eq!(status["instance"], lab.instance.as_str());
    assert_eq!(status["warnings"].as_array().unwrap().len(), 0, "{status}");

    lab.signal(Signal::SIGTERM);
    lab.ended();
    lab.assert_nothing_is_left();
    let words = lab.lvsctl(&["services"]);
    assert!(String::from_utf8_lossy(&words.stderr).contains("is lvsd running?"));
}

#[test]
fn a_reload_changes_what_differs_and_nothing_after_a_mistake() {
    let lab = Lab::started("reload", WEB);
    let (before, identities) = (lab.json("services"), lab.identities());
    assert!(lab.told(&["reload"]).contains("nothing to change"));

    lab.write(&WEB.replace("scheduler: mh", "schedular: mh"));
    let refused = lab.lvsctl(&["reload"]);
    assert!(!refused.status.success());
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("lvs.yaml:17:5") && words.contains("schedular"), "{words}");
    // For programs, the mistakes as `check` tells them.
    let (asked, checked) =
        (lab.lvsctl(&["reload", "--json"]), lab.lvsctl(&["check", "--json", lab.file().to_str().unwrap()]));
    assert!(!asked.status.success() && !checked.status.success());
    let [mut asked, checked] =
        [asked, checked].map(|output| serde_json::from_slice::<Value>(&output.stdout).unwrap());
    assert_eq!(asked["mistakes"][0]["position"], serde_json::json!([17, 5]));
    let error = asked.as_object_mut().unwrap().remove("error").unwrap();
    assert_eq!(error.as_str().unwrap().trim(), words.trim_start_matches("lvsctl: ").trim());
    assert_eq!(asked, checked);
    lab.write(&WEB.replace("[eth0]", "[eth0, eth7]"));
    let words = String::from_utf8(lab.lvsctl(&["reload"]).stderr).unwrap();
    assert!(words.contains("lvs.yaml:2:20") && words.contains("no interface eth7"), "{words}");
    assert_eq!(lab.json("services"), before);

    lab.write(&WEB.replace("10.0.0.3", "10.0.0.4").replace("weight: 5", "weight: 7"));
    lab.told(&["reload"]);
    let after = lab.json("services");
    assert_eq!(after["services"][1], before["services"][1], "the other service is left alone");
    let destinations = after["services"][0]["destinations"].as_array().unwrap();
    let of = |address: &str| destinations.iter().find(|destination| destination["address"] == address);
    assert_eq!(of("10.0.0.2").unwrap()["weight"], 7);
    assert!(of("10.0.0.4").unwrap()["next_hop"]["mac"].is_string());
    assert!(of("10.0.0.3").is_none());
    assert_eq!(lab.identities(), identities);

    // SIGHUP asks for the same.
    lab.write(WEB);
    lab.signal(Signal::SIGHUP);
    lab.wait_for("SIGHUP is heeded", |lab| !lab.told(&["services"]).contains("10.0.0.4"));
}

#[test]
fn a_reload_brings_the_program_to_other_interfaces() {
    let lab = Lab::started("interfaces", WEB);
    lab.director.ip("link add side type veth peer name far");
    lab.director.ip("link set side up");
    lab.write(&WEB.replace("[eth0]", "[eth0, side]"));
    lab.told(&["reload"]);
    assert!(lab.has_program("eth0") && lab.has_program("side"));
    lab.write(&WEB.replace("[eth0]", "[side]"));
    lab.told(&["reload"]);
    assert!(!lab.has_program("eth0") && lab.has_program("side"));
    // lo has no native XDP: refused, and the interfaces are those before.
    lab.write(&WEB.replace("[eth0]", "[eth0, lo]"));
    let words = String::from_utf8(lab.lvsctl(&["reload"]).stderr).unwrap();
    assert!(words.contains("interface lo refuses native XDP"), "{words}");
    assert!(!lab.has_program("eth0") && lab.has_program("side"));
}

#[test]
fn an_interface_that_comes_back_gets_its_program_again() {
    let mut lab = Lab::new("again");
    lab.director.ip("link add side type veth peer name far");
    lab.write(&WEB.replace("[eth0]", "[eth0, side]"));
    lab.start(&[]);
    lab.director.ip("link delete side");
    lab.wait_for("the loss is noticed", |lab| {
        lab.told(&["status"]).contains("interface side: it has no program")
    });
    assert!(lab.has_program("eth0"));
    lab.director.ip("link add side type veth peer name far");
    lab.wait_for("the program is back", |lab| lab.has_program("side"));
    lab.wait_for("nothing is wrong", |lab| !lab.told(&["status"]).contains("interface side"));
    assert!(lab.has_program("eth0"));
}

#[test]
fn a_real_server_that_nobody_answers_for_is_told() {
    let lab = Lab::started("silent", &WEB.replace("10.0.0.3", "10.0.0.9"));
    let status = lab.told(&["status"]);
    assert!(status.contains("real server 10.0.0.9: nobody answers"), "{status}");
    assert!(lab.told(&["services"]).contains("unknown"));
    lab.servers.ip("address add 10.0.0.9/24 dev eth0");
    lab.wait_for("it is found", |lab| !lab.told(&["status"]).contains("10.0.0.9"));
}

#[test]
fn a_second_agent_is_refused() {
    let lab = Lab::started("second", WEB);
    let words = lab.refused(&[]);
    let pid = lab.agent.as_ref().unwrap().id();
    assert!(words.contains("is running") && words.contains(&pid.to_string()), "{words}");
    lab.told(&["services"]);
}

#[test]
fn a_killed_agent_is_succeeded_without_a_gap() {
    let mut lab = Lab::started("killed", WEB);
    let (services, identities) = (lab.json("services"), lab.identities());
    lab.signal(Signal::SIGKILL);
    lab.agent.take().unwrap().wait().unwrap();
    assert!(lab.has_program("eth0"));

    lab.start(&[]);
    assert_eq!(lab.identities(), identities);
    assert_eq!(lab.json("services"), services);
    assert!(lab.told(&["reload"]).contains("nothing to change"));
    assert!(lab.log().contains("changes=0"), "{}", lab.log());
    lab.signal(Signal::SIGINT);
    lab.ended();
    lab.assert_nothing_is_left();
}

#[test]
fn forwarding_is_kept_when_asked_for() {
    let mut lab = Lab::started("keep", WEB);
    let identities = lab.identities();
    assert!(lab.told(&["stop", "--keep-forwarding"]).contains("forwarded on"));
    // At once: the agent before has let go of everything when it answers.
    assert!(!Path::new("/run").join(&lab.instance).join("lvsd.lock").exists());
    lab.ended();
    assert!(lab.has_program("eth0"));

    lab.start(&[]);
    assert_eq!(lab.identities(), identities);
    lab.signal(Signal::SIGUSR2);
    lab.ended();
    assert_eq!(lab.identities(), identities);

    lab.start(&[]);
    assert!(lab.told(&["stop"]).contains("nothing behind"));
    lab.assert_nothing_is_left();
    lab.ended();
}

/// Also where it has no room for a single line.
#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let mut lab = Lab::new("unread");
    lab.write(WEB);
    // What is said where the log is hung has to go somewhere.
    File::create(lab.directory.path().join("log")).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let blocking = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
    fcntl(&writer, FcntlArg::F_SETFL(blocking | OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(blocking)).unwrap();

    lab.start_with_log(&[], writer);
    assert!(lab.told(&["reload"]).contains("nothing to change"));
    assert!(lab.told(&["stop"]).contains("nothing behind"));
    lab.ended();
    lab.assert_nothing_is_left();
    drop(reader);
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let mut lab = Lab::new("refused");
    lab.write(&WEB.replace("[eth0]", "[eth0, lo]"));
    let words = lab.refused(&[]);
    assert!(
        words.contains("interface lo refuses native XDP") && words.contains("--allow-generic"),
        "{words}"
    );
    lab.assert_nothing_is_left();

    lab.write(&WEB.replace("[eth0]", "[eth0, nope]").replace("weight: 5", "weight: five"));
    assert!(lab.refused(&[]).contains("lvs.yaml:11:"), "mistakes in the file come first");
    lab.write(&WEB.replace("[eth0]", "[nope, eth0, none]"));
    let words = lab.refused(&[]);
    assert!(words.contains("lvs.yaml:2:14") && words.contains("lvs.yaml:2:26"), "{words}");
    lab.assert_nothing_is_left();

    lab.write(&WEB.replace("[eth0]", "[eth0, lo]"));
    lab.start(&["--allow-generic"]);
    let status = lab.json("status");
    assert_eq!(status["interfaces"][1]["mode"], "generic");
    assert!(status["warnings"].to_string().contains("generic"), "{status}");
    lab.told(&["stop"]);
    lab.ended();
    lab.assert_nothing_is_left();
}

#[test]
fn nat_without_forwarding_is_warned_about() {
    let mut lab = Lab::new("forwarding");
    lab.director.run("sysctl -qw net.ipv4.ip_forward=0");
    lab.write(WEB);
    lab.start(&[]);
    let status = lab.told(&["status"]);
    assert!(status.contains("warning: interface eth0 does not forward ipv4"), "{status}");
}

#[test]
fn check_and_schema_need_no_agent() {
    let lab = Lab::new("check");
    lab.write(WEB);
    let file = lab.file();
    let file = file.to_str().unwrap();
    assert!(lab.told(&["check", file]).contains("2 services, 3 destinations"));
    assert!(lab.told(&["schema"]).contains("real_servers"));
    lab.write(&WEB.replace("port: 80", "port: 80000").replace("udp", "icmp"));
    let output = lab.lvsctl(&["check", file]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("lvs.yaml:6:11") && words.contains("lvs.yaml:16:15"), "{words}");
}
