//! Runs a program to its end: for so long, with so much output, and without leaving its children behind, even
//! when the agent is killed.

mod guard;

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

/// What is run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program<'a> {
    /// Path, or a name that is looked up in PATH; then the arguments.
    pub(crate) command: Vec<String>,
    /// Added to the agent's own.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// What it reads.
    pub(crate) input: &'a [u8],
    /// So much of its output is kept; the rest is thrown away, so that it does not wait for a reader.
    pub(crate) keep: usize,
}

#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    /// Standard output and standard error, as they came.
    pub(crate) output: Vec<u8>,
}

/// Has programs end with this process, however it ends, with the children that stayed in their process group. To be
/// called before this process has threads.
pub(crate) fn guard() -> io::Result<()> {
    guard::start()
}

/// The process group of the program: killed, with all children that stayed in it, when this is dropped.
struct Group(Pid);

impl Group {
    fn new(leader: Pid) -> Self {
        guard::watch(leader);
        Self(leader)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        match killpg(self.0, Signal::SIGKILL) {
            // Nobody is left, as it should be.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::warn!(group = %self.0, %error, "a program's children may be left"),
        }
        guard::forget(self.0);
    }
}

/// Has the kernel kill the program when the thread that starts it ends. tokio's workers, and the thread of
/// `block_on`, last as long as the runtime; threads of `spawn_blocking` do not, and must start no program.
#[allow(unsafe_code, reason = "between fork and exec only async-signal-safe calls may be made")]
fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let bind = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // A parent that died before would not be noticed any more.
        if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
    };
    // SAFETY: prctl and getppid are system calls and nothing else; neither of the results allocates.
    unsafe { command.pre_exec(bind) };
}

/// Waits for the end of the program. If the future is dropped, the program is killed with its children.
pub(crate) async fn run(program: &Program<'_>) -> io::Result<Finished> {
    let (reader, writer) = io::pipe()?;
    let (name, arguments) = program.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(name);
    command
        .args(arguments)
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(if program.input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .kill_on_drop(true);
    end_with_parent(&mut command);
    let child = command.spawn()?;
    // It holds the writing end, without which the output would never end.
    drop(command);
    // A child whose end was not waited for yet has an id.
    let group = child.id().map(|id| Group::new(Pid::from_raw(id.cast_signed())));
    let finished = finish(child, reader, program).await;
    drop(group);
    finished
}

async fn finish(mut child: Child, reader: PipeReader, program: &Program<'_>) -> io::Result<Finished> {
    let mut output = Vec::new();
    let mut receiver = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read what it is told is free to.
            stdin.write_all(program.input).await.ok();
        }
    };
    // The program's end counts and not that of its output, which a child may keep open.
    let status = {
        let collect = collect(&mut receiver, &mut output, program.keep);
        tokio::pin!(collect, feed);
        let mut fed = false;
        loop {
            tokio::select! {
                status = child.wait() => break status?,
                () = &mut feed, if !fed => fed = true,
                ended = &mut collect => {
                    ended?;
                    break child.wait().await?;
                }
            }
        }
    };
    // What it wrote last may still be in the pipe.
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = receiver.try_read(&mut buffer) {
        let room = program.keep.saturating_sub(output.len());
        output.extend_from_slice(&buffer[..read.min(room)]);
        if room == 0 {
            break;
        }
    }
    Ok(Finished { status, output })
}

async fn collect(receiver: &mut pipe::Receiver, output: &mut Vec<u8>, keep: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let read = receiver.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let room = keep.saturating_sub(output.len());
        output.extend_from_slice(&buffer[..read.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use tokio::time::timeout;

    use super::*;

    fn shell(script: &str) -> Program<'static> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Program { command, environment: vec![("LVS_TEST", "value".to_owned())], input: b"", keep: 1_000 }
    }

    #[tokio::test]
    async fn output_and_status_are_told() {
        let program = Program { input: b"some input", ..shell("cat; echo $LVS_TEST >&2; exit 3") };
        let finished = run(&program).await.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(String::from_utf8_lossy(&finished.output), "some inputvalue\n");
        let silent = run(&Program { input: &[b'x'; 1 << 20], ..shell("exit 0") }).await.unwrap();
        assert!(silent.status.success());
        assert!(run(&Program { command: vec!["/no/such/program".to_owned()], ..shell("") }).await.is_err());
    }

    #[tokio::test]
    async fn endless_output_is_bounded_and_a_background_child_is_not_waited_for() {
        let finished = run(&shell("yes | head -c 10000000; sleep 600 &")).await.unwrap();
        assert_eq!(finished.output.len(), 1_000);
        assert!(finished.status.success());
    }

    /// At the timeout the program goes, and its children with it.
    #[tokio::test]
    async fn a_program_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script =
            format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600'; true", file.display());
        let program = shell(&script);
        let watched = async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = run(&program) => panic!("it has ended by itself"),
            () = watched => {}
        }
        let pid = std::fs::read_to_string(&file).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        let gone = async {
            while std::fs::read_to_string(process.join("status"))
                .is_ok_and(|status| !status.contains("State:\tZ"))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let begun = Instant::now();
        timeout(Duration::from_secs(10), gone).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
