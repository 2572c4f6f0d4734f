//! Debian packages that a chore needs: found by what they install, fetched when missing.

use std::{path::Path, process::Command, sync::Once};

use anyhow::{Context, Result, bail};

use crate::command;

/// What must be there, a program by its name or a file by its path, and the Debian package that brings it.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) place: &'static str,
    pub(crate) package: &'static str,
}

pub(crate) const fn tool(place: &'static str, package: &'static str) -> Tool {
    Tool { place, package }
}

/// What reads the eBPF objects back from the kernel.
pub(crate) const BPFTOOL: Tool = tool("bpftool", "bpftool");

/// What the lab, its demonstration and its tests call.
pub(crate) const LAB: &[Tool] = &[
    BPFTOOL,
    tool("ip", "iproute2"),
    tool("ethtool", "ethtool"),
    tool("nft", "nftables"),
    tool("tcpdump", "tcpdump"),
    tool("nginx", "nginx-light"),
    tool("curl", "curl"),
    tool("socat", "socat"),
    tool("iperf3", "iperf3"),
    tool("dig", "bind9-dnsutils"),
    tool("ping", "iputils-ping"),
    tool("openssl", "openssl"),
    tool("postfix", "postfix"),
    tool("rsyslogd", "rsyslog"),
    tool("/usr/lib/mon/alert.d/mail.alert", "mon"),
    tool("fping", "fping"),
    tool("/usr/lib/nagios/plugins/check_http", "monitoring-plugins-basic"),
    tool("vsftpd", "vsftpd"),
    tool("unbound", "unbound"),
    tool("redis-server", "redis-server"),
    tool("mariadbd", "mariadb-server"),
    tool("/usr/lib/postgresql", "postgresql"),
    tool("slapd", "slapd"),
    tool("/usr/lib/news/bin/nnrpd", "inn2"),
    tool("/usr/lib/dovecot/imap", "dovecot-imapd"),
    tool("/usr/lib/dovecot/pop3", "dovecot-pop3d"),
    tool("freeradius", "freeradius"),
    tool("kamailio", "kamailio"),
    tool("etcd", "etcd-server"),
    tool("keepalived", "keepalived"),
    tool("promtool", "prometheus"),
];

/// What the benchmark compares the balancer with, and the loads it puts on.
pub(crate) const BENCH: &[Tool] = &[
    tool("haproxy", "haproxy"),
    tool("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream"),
    tool("nft", "nftables"),
    tool("wrk", "wrk"),
];

impl Tool {
    fn is_there(&self) -> bool {
        if self.place.starts_with('/') {
            Path::new(self.place).exists()
        } else {
            command::find(self.place).is_some()
        }
    }
}

/// Installs what is missing of `tools`, or says what to install where there is no apt.
pub(crate) fn ensure_tools(tools: &[Tool]) -> Result<()> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| !tool.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !has_apt() {
        let places: Vec<_> = missing.iter().map(|tool| tool.place).collect();
        bail!(
            "missing: {}. Install them with this distribution's package manager (Debian calls the \
             packages {})",
            places.join(", "),
            names(&missing)
        );
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    install(&packages)?;
    match missing.iter().find(|tool| !tool.is_there()) {
        Some(tool) => bail!("package {} is installed, yet there is no {}", tool.package, tool.place),
        None => Ok(()),
    }
}

fn names(tools: &[Tool]) -> String {
    tools.iter().map(|tool| tool.package).collect::<Vec<_>>().join(", ")
}

pub(crate) fn has_apt() -> bool {
    command::find("apt-get").is_some()
}

/// Installs Debian packages, after one update of the lists for this run.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    update();
    println!("installing packages with apt-get: {}", packages.join(" "));
    command::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("cannot install {}", packages.join(" ")))
}

/// The version apt would install, after one update of the lists for this run.
pub(crate) fn candidate(package: &str) -> Result<Option<String>> {
    update();
    let policy = command::output(Command::new("apt-cache").args(["policy", package]))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    Ok(version.filter(|version| *version != "(none)").map(str::to_owned))
}

/// A source of the machine that is out of order does not matter as long as the packages we want come
/// from another one, hence no error.
fn update() {
    static UPDATE: Once = Once::new();
    UPDATE.call_once(|| {
        println!("updating the package lists with apt-get");
        if let Err(error) = command::run(apt_get().arg("update")) {
            eprintln!("warning: {error:#}");
        }
    });
}

fn apt_get() -> Command {
    // What inn2 needs to be configured anywhere.
    let inn = command::workspace().join("tests/fixtures/inn.conf");
    let mut command = command::as_root("env");
    command.arg(format!("INNCONF={}", inn.display()));
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "--quiet",
        "--option=DPkg::Lock::Timeout=120",
    ]);
    command
}
