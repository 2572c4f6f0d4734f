//! What was measured on. Nothing that names the machine or its owner.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What could not be found out is an empty string, or zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    /// Processors the kernel may use.
    pub processors: usize,
    /// Level, kind and size of each cache of the first processor.
    pub caches: Vec<String>,
    /// What the kernel does against faults of the processor that costs time, by the fault's name.
    pub mitigations: Vec<String>,
    /// Whether the processor is a hypervisor's.
    pub virtual_machine: bool,
    pub memory_mebibytes: u64,
    pub kernel: String,
    /// `net.core.bpf_jit_enable`: 0 is the interpreter.
    pub bpf_jit: String,
    /// `net.core.bpf_jit_harden`: 2 makes every program slower, 1 those of unprivileged users.
    pub bpf_jit_harden: String,
    pub clock_source: String,
    /// The compiler of the eBPF objects.
    pub ebpf_compiler: String,
}

/// Set by `cargo xtask bench`: only it knows the compiler.
const EBPF_COMPILER: &str = "LVS_BENCH_EBPF_COMPILER";

impl Machine {
    pub fn describe() -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            processor: field(&processor, "model name").to_owned(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
            mitigations: mitigations(Path::new("/sys/devices/system/cpu/vulnerabilities")),
            virtual_machine: field(&processor, "flags").split(' ').any(|flag| flag == "hypervisor"),
            memory_mebibytes: kibibytes(field(&memory, "MemTotal")) / 1024,
            kernel: version(&line("/proc/sys/kernel/osrelease")),
            bpf_jit: line("/proc/sys/net/core/bpf_jit_enable"),
            bpf_jit_harden: line("/proc/sys/net/core/bpf_jit_harden"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            ebpf_compiler: std::env::var(EBPF_COMPILER).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.virtual_machine { " of a virtual machine" } else { "" };
        writeln!(out, "{} x {}{place}, {} MiB", self.processors, self.processor, self.memory_mebibytes)?;
        writeln!(out, "caches: {}", self.caches.join(", "))?;
        writeln!(
            out,
            "Linux {}, BPF JIT {} (hardening {}), clock {}",
            self.kernel, self.bpf_jit, self.bpf_jit_harden, self.clock_source
        )?;
        write!(out, "mitigations: {}", self.mitigations.join("; "))?;
        match self.ebpf_compiler.as_str() {
            "" => Ok(()),
            compiler => write!(out, "\neBPF objects by {compiler}"),
        }
    }
}

/// What is behind the version tells of the distribution or the machine's owner, and little of the kernel.
fn version(release: &str) -> String {
    release.chars().take_while(|letter| letter.is_ascii_digit() || *letter == '.').collect()
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
}

fn kibibytes(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn line(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn children(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn caches(directory: &Path) -> Vec<String> {
    let caches = children(directory).into_iter().filter(|path| path.join("level").exists());
    let describe = |path: std::path::PathBuf| {
        let [level, kind, size] = ["level", "type", "size"].map(|name| line(path.join(name)));
        format!("L{level} {} {size}", kind.to_lowercase())
    };
    caches.map(describe).collect()
}

fn mitigations(directory: &Path) -> Vec<String> {
    let faults = children(directory).into_iter().filter_map(|path| {
        let state = line(&path);
        let fault = path.file_name()?.to_string_lossy().into_owned();
        (!state.starts_with("Not affected")).then(|| format!("{fault}: {state}"))
    });
    faults.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(text, "model name"), "Some CPU @ 2 GHz");
        assert_eq!(field(text, "stepping"), "");
        assert_eq!(version("6.18.44-ours-v1"), "6.18.44");
        assert_eq!(kibibytes("16309248 kB"), 16_309_248);
    }

    #[test]
    fn this_machine_has_a_description() {
        let machine = Machine::describe();
        assert!(!machine.kernel.is_empty() && machine.processors > 0);
        assert!(machine.to_string().contains(&machine.kernel));
    }
}
