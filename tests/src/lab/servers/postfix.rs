//! Postfix, which takes every mail for the domain `lab` and puts it into a directory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use nix::unistd::{Gid, Uid, User};

use super::{PATIENCE, directory, give, listens};
use crate::lab::namespace::Namespace;
use crate::lab::process::Process;

#[derive(Debug)]
pub struct Postfix {
    pub process: Process,
    /// For `sendmail`, as MAIL_CONFIG.
    pub configuration: PathBuf,
    mails: PathBuf,
    log: PathBuf,
}

impl Postfix {
    /// On port 25 of the namespace. `tls`: certificate and key for STARTTLS, and where Dovecot answers who may
    /// log in then.
    pub fn start(namespace: &Namespace, lab: &Path, tls: Option<(&Path, &Path, &Path)>) -> Result<Self> {
        let directory = directory(lab, "postfix")?;
        for child in ["queue", "data", "box", "conf"] {
            fs::create_dir_all(directory.join(child))?;
        }
        give(&directory.join("data"), "postfix")?;
        give(&directory.join("box"), "nobody")?;
        let configuration = directory.join("conf");
        let nobody = User::from_name("nobody")?;
        let uid = nobody.as_ref().map_or(Uid::from_raw(65_534), |user| user.uid);
        let gid = nobody.as_ref().map_or(Gid::from_raw(65_534), |user| user.gid);
        let tls = tls.map_or_else(String::new, |(certificate, key, logins)| {
            format!(
                "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = may\nsmtpd_tls_received_header = yes\n\
                 smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\nsmtpd_tls_auth_only = yes\n",
                certificate.display(),
                key.display(),
                logins.display()
            )
        });
        let directory = directory.display();
        let main = format!(
            "compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
myhostname = mail.lab
inet_interfaces = all
mynetworks = 0.0.0.0/0, [::]/0
mydestination =
virtual_mailbox_domains = lab
virtual_mailbox_base = {directory}/box
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtpd_peername_lookup = no
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
{tls}"
        );
        fs::write(configuration.join("main.cf"), main)?;
        fs::write(configuration.join("master.cf"), MASTER)?;
        let mut command = namespace.command("postfix");
        command.arg("-c").arg(&configuration).arg("start-fg");
        let mut process = Process::start("postfix", &mut command, lab)?;
        process.wait_until("to listen on port 25", PATIENCE, || listens(namespace, "tcp", 25))?;
        let (mails, log) = (lab.join("postfix/box/all/new"), lab.join("postfix/maillog"));
        Ok(Self { process, configuration, mails, log })
    }

    /// What it has done, for messages of failures.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// All mails that have arrived.
    pub fn mails(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.mails).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect()
    }
}

/// Debian's own, without the services that are not needed, and without chroot.
const MASTER: &str = "\
smtp      inet  n       -       n       -       -       smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
virtual   unix  -       n       n       -       -       virtual
proxymap  unix  -       -       n       -       -       proxymap
anvil     unix  -       -       n       -       1       anvil
postlog   unix-dgram n  -       n       -       1       postlogd
";
