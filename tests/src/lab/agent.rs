//! The director's agent and the command line, driven as an operator would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;

use super::hang::{Hang, Part};
use super::identity::{BPF_FILE_SYSTEM, Identity};
use super::namespace::Namespace;
use super::network::Network;
use super::process::Process;

/// How long the agent may take to be ready: loading and verifying the program takes most of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// One `lvsd` in the director's namespace. Dropped, it gets SIGTERM.
#[derive(Debug)]
pub struct Agent {
    /// Ends before the program does.
    hang: Option<Hang>,
    process: Process,
    control: Control,
    file: PathBuf,
}

/// `lvsctl` for one instance; works as long as its agent runs.
#[derive(Clone, Debug)]
pub struct Control {
    namespace: Namespace,
    instance: String,
}

impl Agent {
    /// Starts the agent under the lab's name and waits until it answers.
    pub fn start(network: &Network, configuration: &str) -> Result<Self> {
        Self::start_in(&network.director, &network.identity, configuration)
    }

    /// The same in a namespace of another network.
    pub fn start_in(director: &Namespace, identity: &Identity, configuration: &str) -> Result<Self> {
        Self::start_as(identity.name(), director, identity, configuration)
    }

    /// The same under a name of its own, which must begin with the lab's.
    pub fn start_as(
        instance: String,
        director: &Namespace,
        identity: &Identity,
        configuration: &str,
    ) -> Result<Self> {
        let directory = identity.directory();
        let file = directory.join(format!("{instance}.yaml"));
        let control = Control { namespace: director.clone(), instance };
        fs::write(&file, configuration)?;
        let process = control.spawn(&file, &directory)?;
        let mut agent = Self { hang: None, process, control, file };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let control = &self.control;
        self.process.wait_until("to answer lvsctl", PATIENCE, || control.run(&["services"]).is_ok())
    }

    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// What the agent has said since it was last started.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Replaces the file and asks the agent to read it.
    ///
    /// # Errors
    /// The agent refuses the new file; it then goes on with the old one.
    pub fn reload(&self, configuration: &str) -> Result<()> {
        fs::write(&self.file, configuration)?;
        self.control.run(&["reload"])?;
        Ok(())
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Has these of its threads hang, until [`Self::go_on`].
    pub fn hang(&mut self, part: Part) -> Result<()> {
        self.hang = Some(Hang::begin(self.pid(), part)?);
        Ok(())
    }

    /// After [`Self::hang`].
    pub fn go_on(&mut self) {
        self.hang = None;
    }

    /// Ends the agent without a word, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again after [`Self::kill`] or [`Self::terminate`], and waits until it answers.
    pub fn start_again(&mut self) -> Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        self.process = self.control.spawn(&self.file, directory)?;
        self.wait_until_ready()
    }

    /// SIGTERM: the orderly end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.process.terminate()
    }

    /// SIGUSR2: the end that another agent follows.
    pub fn make_way(&mut self) -> Result<ExitStatus> {
        self.process.end_by(Signal::SIGUSR2)
    }

    /// A second agent under the same name; it should refuse and end. Returns its exit status and words.
    pub fn start_second(&self) -> Result<(ExitStatus, String)> {
        let mut command = self.control.agent(&self.file)?;
        let output = command.output()?;
        let words = [output.stdout, output.stderr].concat();
        Ok((output.status, String::from_utf8_lossy(&words).into_owned()))
    }

    /// Lets the agent run on: for labs that are kept.
    pub fn detach(self) {
        self.process.detach();
    }
}

impl Control {
    /// Runs `lvsctl` and returns what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let program = binary("lvsctl")?;
        let mut all = vec!["--instance", &self.instance];
        all.extend(arguments);
        self.namespace.run(&program.to_string_lossy(), &all)
    }

    /// Runs `lvsctl … --json` and reads what it printed.
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let mut all = arguments.to_vec();
        all.push("--json");
        let text = self.run(&all)?;
        serde_json::from_str(&text).with_context(|| format!("lvsctl {all:?} printed: {text}"))
    }

    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Where the agent's pins are while it works.
    pub fn pins(&self) -> PathBuf {
        Path::new(BPF_FILE_SYSTEM).join(&self.instance)
    }

    pub fn socket(&self) -> PathBuf {
        Path::new("/run").join(&self.instance).join("lvsd.sock")
    }

    fn agent(&self, file: &Path) -> Result<std::process::Command> {
        let mut command = self.namespace.command(&binary("lvsd")?.to_string_lossy());
        command.arg("--config").arg(file).args(["--instance", &self.instance]);
        Ok(command)
    }

    fn spawn(&self, file: &Path, directory: &Path) -> Result<Process> {
        Process::start(&format!("lvsd-{}", self.instance), &mut self.agent(file)?, directory)
    }
}

/// Starts `lvsd realserver` in a server's namespace; it prepares the machine until it gets SIGTERM.
pub fn start_realserver(
    network: &Network,
    server: &super::network::Server,
    arguments: &[&str],
) -> Result<Process> {
    start_realserver_in(&server.namespace, &network.identity, &server.name, arguments)
}

/// The same in a namespace of another network, which calls the machine `name`.
pub fn start_realserver_in(
    namespace: &Namespace,
    identity: &Identity,
    name: &str,
    arguments: &[&str],
) -> Result<Process> {
    let instance = format!("{}-{name}", identity.name());
    let mut command = namespace.command(&binary("lvsd")?.to_string_lossy());
    command.arg("realserver").args(arguments).args(["--instance", &instance]);
    let mut process = Process::start(&format!("{name}-realserver"), &mut command, &identity.directory())?;
    process.wait_for_words("ready", PATIENCE)?;
    Ok(process)
}

/// A program of this workspace: in the directory that `LVS_BIN_DIR` names, or where this program is.
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut places = Vec::new();
    if let Some(directory) = std::env::var_os("LVS_BIN_DIR") {
        places.push(PathBuf::from(directory));
    } else {
        let program = std::env::current_exe()?;
        // Tests are in a directory below the programs.
        places.extend(program.ancestors().skip(1).take(2).map(Path::to_path_buf));
    }
    match places.iter().map(|place| place.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("there is no program {name} in {places:?}: build it, or set LVS_BIN_DIR"),
    }
}
