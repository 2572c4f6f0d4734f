//! Runs other programs, as the user or as root, and says which one failed.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where this program keeps what it builds. Not CARGO_TARGET_DIR: the agent's build script, which cannot
/// know against which directory a relative one counts, looks for the eBPF objects here.
pub(crate) fn target_directory() -> PathBuf {
    workspace().join("target")
}

/// The cargo that runs this program, at the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

pub(crate) fn is_root() -> bool {
    // The owner of a process's directory in /proc is its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether root's rights are to be had without a question.
pub(crate) fn may_be_root() -> bool {
    is_root() || output(Command::new("sudo").args(["--non-interactive", "true"])).is_ok()
}

/// A program to be run as root: itself when we are, else through sudo, which keeps what cargo and rustup
/// need to find their files.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        return command;
    }
    let mut command = Command::new("sudo");
    command.args(["-E", "env"]);
    let kept = ["HOME", "CARGO_HOME", "RUSTUP_HOME", "RUST_BACKTRACE"].map(|name| (name, env::var_os(name)));
    for (name, value) in kept.into_iter().chain([("PATH", Some(search_path()))]) {
        if let Some(value) = value {
            let mut assignment = OsString::from(name);
            assignment.push("=");
            assignment.push(value);
            command.arg(assignment);
        }
    }
    command.arg(program);
    command
}

/// The user's PATH and the system's directories that it may lack: ip and bpftool are there.
fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Where a program lies.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// Runs to the end with the terminal's own output; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{}`", show(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", show(command));
    }
    Ok(())
}

/// Runs to the end and gives the standard output; standard error goes into the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", show(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", show(command), output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
