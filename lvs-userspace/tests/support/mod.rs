//! Network namespaces for tests: uniquely named, entered by a thread of their own, gone at the end.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, setns};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with `lo` up, deleted when dropped.
pub(crate) struct Namespace {
    pub name: String,
}

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lvs-{role}-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// `ip ARGUMENTS` in this namespace; its output.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let arguments: Vec<_> = ["-n", &self.name].into_iter().chain(arguments.split_whitespace()).collect();
        run("ip", &arguments)
    }

    /// Many `ip` commands, one a line, by one process.
    #[allow(dead_code, reason = "not every test crate needs it")]
    pub(crate) fn batch(&self, commands: &str) {
        let mut child =
            Command::new("ip").args(["-n", &self.name, "-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "ip -batch failed");
    }

    /// Any program in this namespace; its output. /sys stays the machine's.
    pub(crate) fn run(&self, command: &str) -> String {
        let net = format!("--net=/run/netns/{}", self.name);
        let arguments: Vec<_> = [net.as_str(), "--"].into_iter().chain(command.split_whitespace()).collect();
        run("nsenter", &arguments)
    }

    /// Runs `work` on a thread inside this namespace, with a tokio runtime of its own.
    #[allow(dead_code, reason = "not every test crate needs it")]
    pub(crate) fn enter<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let handle = File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(handle, CloneFlags::CLONE_NEWNET).unwrap();
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(work())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// The MAC of an interface.
    #[allow(dead_code, reason = "not every test crate needs it")]
    pub(crate) fn mac(&self, interface: &str) -> [u8; 6] {
        let output = self.ip(&format!("-br link show dev {interface}"));
        let text = output.split_whitespace().nth(2).unwrap();
        let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        bytes.try_into().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A failure here must not hide the one that ends the test.
        drop(Command::new("ip").args(["netns", "del", &self.name]).status());
    }
}

/// A veth pair `eth0` - `eth0` between two namespaces, up and without IPv6's duplicate address detection.
#[allow(dead_code, reason = "not every test crate needs it")]
pub(crate) fn connect(one: &Namespace, other: &Namespace) {
    run(
        "ip",
        &[
            "link",
            "add",
            "eth0",
            "netns",
            &one.name,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &other.name,
        ],
    );
    for namespace in [one, other] {
        namespace.run("sysctl -qw net.ipv6.conf.eth0.accept_dad=0");
        namespace.ip("link set eth0 up");
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{program} {} (these tests need root): {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
