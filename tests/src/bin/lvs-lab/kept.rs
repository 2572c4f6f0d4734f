//! Labs that stay: up, exec, pcap, down.

use std::os::unix::process::CommandExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use lvs_tests::lab::agent::binary;
use lvs_tests::lab::identity;
use lvs_tests::lab::namespace::Namespace;
use lvs_tests::lab::network::{Arms, Network};

use crate::setting::{METHODS, Setting};

pub(crate) fn up(arms: Arms) -> Result<()> {
    ensure!(identity::kept()?.is_empty(), "a lab is up already: remove it with `cargo xtask lab down`");
    Setting::build(arms)?.keep()
}

pub(crate) fn down() -> Result<()> {
    for (id, _) in identity::kept()? {
        identity::remove(&id)?;
        println!("removed lab {id}");
    }
    identity::sweep()
}

/// Becomes the command, inside the machine's namespace.
pub(crate) fn exec(machine: &str, command: &[String]) -> Result<()> {
    let [program, arguments @ ..] = command else {
        bail!("no command given");
    };
    let error = namespace(machine)?.command(program).args(arguments).exec();
    Err(error).context("cannot start nsenter")
}

pub(crate) fn pcap(machine: &str, interface: &str, file: &Path) -> Result<()> {
    let file = file.to_str().context("the file's name is not UTF-8")?;
    exec(machine, &["tcpdump", "-i", interface, "-Z", "root", "-U", "-w", file].map(str::to_owned))
}

fn namespace(machine: &str) -> Result<Namespace> {
    let labs = identity::kept()?;
    let Some((id, _)) = labs.first() else {
        bail!("no lab is up: build one with `cargo xtask lab up`");
    };
    let namespace = Namespace::existing(format!("lvs-{id}-{machine}"));
    ensure!(namespace.path().exists(), "the lab has no machine {machine}: see `cargo xtask lab up`");
    Ok(namespace)
}

/// What to try in the lab, for the one who has just built it.
pub(crate) fn how_to_explore(network: &Network) -> Result<String> {
    let instance = network.identity.name();
    let methods: Vec<String> = METHODS
        .iter()
        .map(|method| format!("10.1.0.{0} and fd01::{0} {1}", 100 + method.vip, method.forward))
        .collect();
    let lvsctl = format!("{} --instance {instance}", binary("lvsctl")?.display());
    Ok(format!(
        "
The lab is up until `cargo xtask lab down`. Machines: client, director, rs1, rs2, rs3, switch.
VIPs: {}; TCP 80 and 7, UDP 7.

  cargo xtask lab exec client curl http://10.1.0.100/
  cargo xtask lab exec client curl 'http://[fd01::102]/'
  cargo xtask lab exec director {lvsctl} services
  cargo xtask lab exec director {lvsctl} connections
  cargo xtask lab exec director bpftool net
  cargo xtask lab pcap rs1 eth0 /tmp/rs1.pcap

Configuration: {}
Pinned maps:   {}/{instance}
",
        methods.join("; "),
        network.identity.directory().join("lvs.yaml").display(),
        identity::BPF_FILE_SYSTEM,
    ))
}
