//! rsyslog on a socket of its own, which writes facility, severity and text of everything.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{PATIENCE, directory};
use crate::lab::namespace::Namespace;
use crate::lab::process::Process;

#[derive(Debug)]
pub struct Rsyslog {
    pub process: Process,
    pub socket: PathBuf,
    log: PathBuf,
}

impl Rsyslog {
    pub fn start(namespace: &Namespace, lab: &Path) -> Result<Self> {
        let directory = directory(lab, "rsyslog")?;
        let (socket, log) = (directory.join("log.socket"), directory.join("messages"));
        let configuration = directory.join("rsyslog.conf");
        let text = format!(
            "global(workDirectory=\"{}\")
module(load=\"imuxsock\" SysSock.Use=\"off\")
input(type=\"imuxsock\" Socket=\"{}\")
template(name=\"plain\" type=\"string\" string=\"%syslogfacility-text%.%syslogseverity-text% %programname%:%msg%\\n\")
action(type=\"omfile\" file=\"{}\" template=\"plain\")
",
            directory.display(),
            socket.display(),
            log.display()
        );
        fs::write(&configuration, text)?;
        let mut command = namespace.command("rsyslogd");
        command.arg("-n").arg("-f").arg(&configuration).arg("-i").arg(directory.join("pid"));
        let mut process = Process::start("rsyslogd", &mut command, lab)?;
        process.wait_until("to open its socket", PATIENCE, || socket.exists())?;
        Ok(Self { process, socket, log })
    }

    pub fn messages(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}
