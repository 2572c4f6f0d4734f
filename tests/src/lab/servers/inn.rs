//! INN's server for readers, on its own: it needs no `innd`, but a history and an overview, empty as they are.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::daemons::PASSWORD;
use super::{PATIENCE, directory, give, listens};
use crate::lab::command::run;
use crate::lab::namespace::Namespace;
use crate::lab::process::Process;

/// Where Debian has INN's programs.
const PROGRAMS: &str = "/usr/lib/news/bin";
/// The user they run as.
const USER: &str = "news";

/// nnrpd on port 119 with STARTTLS, and on port 563 with TLS from the first byte on. It is called news.lab, and lets everybody
/// read; bob may log in with [`PASSWORD`].
pub fn nnrpd(namespace: &Namespace, lab: &Path, (certificate, key): (&Path, &Path)) -> Result<[Process; 2]> {
    let directory = directory(lab, "inn")?;
    for name in ["db", "log", "run", "tmp", "spool", "spool/articles", "spool/overview"] {
        let path = directory.join(name);
        fs::create_dir_all(&path)?;
        give(&path, USER)?;
    }
    let place = directory.display();
    let write = |name: &str, text: &str| -> Result<()> {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        give(&path, USER)
    };
    write(
        "inn.conf",
        &format!(
            "domain: lab\npathhost: news.lab\nmta: \"/bin/false %s\"\nhismethod: hisv6\novmethod: tradindexed\n\
             pathnews: /usr/lib/news\npathbin: {PROGRAMS}\npathetc: {place}\npathdb: {place}/db\npathlog: {place}/log\n\
             pathrun: {place}/run\npathspool: {place}/spool\npathtmp: {place}/tmp\n\
             tlscertfile: {}\ntlskeyfile: {place}/key.pem\n",
            certificate.display()
        ),
    )?;
    write("storage.conf", "method tradspool { class: 0 newsgroups: * }\n")?;
    write(
        "readers.conf",
        &format!(
            "auth all {{ hosts: \"*\" default: anybody auth: \"ckpasswd -f {place}/passwords\" }}\n\
             access all {{ users: \"*\" newsgroups: \"*\" }}\n"
        ),
    )?;
    let mut hash = Command::new("openssl");
    write("passwords", &format!("bob:{}", run(hash.args(["passwd", "-6", PASSWORD]))?))?;
    write("db/active", "lab.test 0000000000 0000000001 y\n")?;
    write("db/newsgroups", "lab.test\n")?;
    write("db/history", "")?;
    // It insists on a key that nobody else can read.
    write("key.pem", &fs::read_to_string(key)?)?;
    run(Command::new("chmod").arg("600").arg(directory.join("key.pem")))?;

    let configuration = directory.join("inn.conf");
    for (program, arguments) in [("makedbz", &["-i", "-o", "-s", "1000"][..]), ("makehistory", &["-O", "-x"])]
    {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]);
        command.arg(Path::new(PROGRAMS).join(program)).args(arguments).env("INNCONF", &configuration);
        run(&mut command)?;
    }
    let start = |name: &str, port: u16, option: &[&str]| -> Result<Process> {
        let program = Path::new(PROGRAMS).join("nnrpd");
        let mut command = namespace.command(&program.to_string_lossy());
        command.args(["-D", "-f", "-p", &port.to_string(), "-c"]).arg(directory.join("readers.conf"));
        command.args(option).env("INNCONF", &configuration);
        let mut process = Process::start(name, &mut command, lab)?;
        let listening = || listens(namespace, "tcp", port);
        process.wait_until(&format!("to listen on port {port}"), PATIENCE, listening)?;
        Ok(process)
    };
    Ok([start("nnrpd", 119, &[])?, start("nnrpds", 563, &["-S"])?])
}
