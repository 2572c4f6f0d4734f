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

/// The commit that is checked out, with a mark if files differ from it; `None` outside a repository.
pub(crate) fn revision() -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(command::workspace()).args(["describe", "--always", "--dirty", "--exclude=*"]);
    command::output(&mut git).ok().map(|revision| revision.trim().to_owned())
}

/// A binary of lvs-tests.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo.args(["build", "--package", "lvs-tests", "--bin", name]);
    let binary = executables(&mut cargo, "bin")?.pop();
    binary.with_context(|| format!("`{}` made no executable", command::show(&cargo)))
}

/// The integration tests of a package whose name matches `pattern`, to be run by hand: as root, or on another
/// kernel.
pub(crate) fn tests(package: &str, pattern: &str) -> Result<Vec<PathBuf>> {
    let mut cargo = command::cargo();
    executables(cargo.args(["test", "--no-run", "--package", package, "--test", pattern]), "test")
}

/// The part of cargo's messages that tells where an executable went.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

fn executables(cargo: &mut Command, kind: &str) -> Result<Vec<PathBuf>> {
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", command::show(cargo)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", command::show(cargo), output.status);
    }
    Ok(find_executables(&String::from_utf8_lossy(&output.stdout), kind))
}

/// Executables of targets of a kind, `bin` or `test`. Building a test builds its package's binaries too.
fn find_executables(messages: &str, kind: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.kind == [kind]))
        .filter_map(|message| message.executable)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_of_a_kind() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["test"]},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"]},"executable":"/t/lvs-lab"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["test"]},"executable":"/t/packet-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(find_executables(messages, "test"), [PathBuf::from("/t/packet-1")]);
        assert!(find_executables(messages, "lib").is_empty());
    }
}
