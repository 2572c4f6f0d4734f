//! Builds the workspace, and names what came out.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{build_ebpf, command};

/// The eBPF objects, then everything that embeds or uses them.
pub(crate) fn everything() -> Result<()> {
    build_ebpf::build(&[])?;
    command::run(command::cargo().arg("build"))
}

/// A binary of lvs-tests.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--package", "lvs-tests", "--bin", name]);
    executable(&mut cargo, name)
}

/// A test of lvs-tests, to be run by hand: as root, or on another kernel.
pub(crate) fn test(name: &str) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["test", "--no-run", "--package", "lvs-tests", "--test", name]);
    executable(&mut cargo, name)
}

/// The part of cargo's messages that tells where an executable went.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

fn executable(cargo: &mut Command, name: &str) -> Result<PathBuf> {
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", command::show(cargo)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", command::show(cargo), output.status);
    }
    find_executable(&String::from_utf8_lossy(&output.stdout), name)
        .with_context(|| format!("`{}` made no executable {name}", command::show(cargo)))
}

fn find_executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == name))
        .find_map(|message| message.executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_of_the_named_target() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"packet"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"lvs-lab"},"executable":"/t/lvs-lab"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"packet"},"executable":"/t/packet-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(find_executable(messages, "packet"), Some(PathBuf::from("/t/packet-1")));
        assert_eq!(find_executable(messages, "lab"), None);
    }
}
