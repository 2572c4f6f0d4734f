//! `cargo xtask vm`: the packet tests on another kernel, in a virtual machine without acceleration.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    build, command,
    initramfs::Initramfs,
    kernel::Kernel,
    packages::{self, tool},
    test::{self, Tally},
};

/// The oldest kernel the project promises to run on: Debian 12's own.
pub(crate) const OLDEST: &str = "6.1";
/// From the start of the machine to the end of the tests.
const TIME_LIMIT: Duration = Duration::from_secs(600);
const MEMORY: &str = "1024M";
/// What the tests may use and Debian builds as a module.
const MODULES: [&str; 1] = ["veth"];
/// Packages and their tests that need nothing but the kernel: they send packets by BPF_PROG_TEST_RUN.
const PACKET_TESTS: [(&str, &str); 2] = [("lvs-userspace", "decapsulation"), ("lvs-tests", "packet")];
/// The last line of the guest, with the exit code of the tests.
const MARKER: &str = "lvs-vm: tests ended with ";

/// The first process of the guest. Kernel messages go to the first serial line, the tests' output to the second.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /tmp /run /sbin /usr/bin /usr/sbin
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
ip link set lo up
for module in /modules/*; do
    case $module in
    *.xz) unxz "$module" && insmod "${module%.xz}" ;;
    *.ko) insmod "$module" ;;
    esac
done
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/tmp RUST_BACKTRACE=1
"#;

#[derive(Args)]
pub(crate) struct Options {
    /// Kernel series, such as 6.1, 6.12 or 7.3: whatever Debian packages.
    #[arg(default_value = OLDEST)]
    version: String,
    /// Run this test binary in place of the packet tests.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// For the test binary: names, --nocapture, and so on.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let tally = match &options.binary {
        Some(binary) => boot(&options.version, binary, &options.arguments)?,
        None => {
            build::everything()?;
            run_tests(&options.version, &options.arguments)?
        }
    };
    println!("{tally}");
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the packet tests on a kernel of the series `version`.
pub(crate) fn run_tests(version: &str, arguments: &[String]) -> Result<Tally> {
    let mut tally = Tally::default();
    for (package, name) in PACKET_TESTS {
        for binary in build::tests(package, name)? {
            tally += boot(version, &binary, arguments)?;
        }
    }
    Ok(tally)
}

fn boot(version: &str, binary: &Path, arguments: &[String]) -> Result<Tally> {
    packages::ensure_tools(&[
        tool("qemu-system-x86_64", "qemu-system-x86"),
        tool("busybox", "busybox-static"),
        tool("strip", "binutils"),
    ])?;
    let directory = command::target_directory().join("vm").join(version);
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let kernel = Kernel::fetch(version, &directory)?;
    let archive = directory.join("initramfs");
    fs::write(&archive, initramfs(&kernel, binary, arguments, &directory)?)
        .with_context(|| format!("cannot write {}", archive.display()))?;
    let console = directory.join("console.log");

    println!("starting Linux {version} in a virtual machine");
    let mut qemu = test::limited(Command::new("timeout"), Path::new("qemu-system-x86_64"), TIME_LIMIT);
    qemu.args(["-accel", "tcg", "-smp", "2", "-m", MEMORY])
        .args(["-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&archive)
        .args(["-append", "console=ttyS0 panic=-1 loglevel=4"]);
    let mut code = None;
    let tally = test::count(&mut qemu, TIME_LIMIT, |line| {
        if let Some(number) = line.strip_prefix(MARKER) {
            code = number.parse::<u32>().ok();
        }
    });
    let Some(code) = code else {
        let log = fs::read(&console).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        tally?;
        bail!("the virtual machine ended before its tests did; its console is in {}", console.display());
    };
    let tally = tally?;
    if code != 0 && tally.failed == 0 {
        bail!("the tests ended with exit code {code} ({tally})");
    }
    Ok(tally)
}

fn initramfs(kernel: &Kernel, binary: &Path, arguments: &[String], directory: &Path) -> Result<Vec<u8>> {
    let mut archive = Initramfs::new();
    let Some(busybox) = command::find("busybox") else { bail!("no busybox in PATH") };
    archive.program(&busybox, Path::new("/bin/busybox"))?;
    for name in MODULES {
        if let Some(module) = kernel.module(name)?
            && let Some(file) = module.file_name()
        {
            archive.copy(&module, &Path::new("/modules").join(file))?;
        }
    }
    // Debug information is most of a test binary, and the guest holds it in memory.
    let stripped = directory.join("test");
    command::run(Command::new("strip").arg("--strip-debug").arg("-o").args([&stripped, binary]))?;
    archive.program(&stripped, Path::new("/test"))?;
    let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
    let init = format!(
        "{INIT}cd /tmp\n/test {} >/dev/ttyS1 2>&1 </dev/null\necho \"{MARKER}$?\" >/dev/ttyS1\npoweroff -f\n",
        words.join(" ")
    );
    archive.file(Path::new("/init"), 0o755, init.as_bytes());
    Ok(archive.finish())
}

/// A word as the shell reads it back.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        for word in ["plain", "two words", "it's", "$HOME `x` \"y\" \\"] {
            let script = format!("printf %s {}", quote(word));
            assert_eq!(command::output(Command::new("sh").args(["-c", &script])).unwrap(), word);
        }
    }
}
