//! Servers that need no more than a file and a port.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{PATIENCE, directory, give, listens};
use crate::lab::command::run;
use crate::lab::namespace::Namespace;
use crate::lab::process::Process;

/// What the servers here have as their only password.
pub const PASSWORD: &str = "secret";

/// Starts a program and waits until it listens.
fn start(
    namespace: &Namespace,
    lab: &Path,
    name: &str,
    command: &mut Command,
    (protocol, port): (&str, u16),
) -> Result<Process> {
    let mut process = Process::start(name, command, lab)?;
    process
        .wait_until(&format!("to listen on port {port}"), PATIENCE, || listens(namespace, protocol, port))?;
    Ok(process)
}

/// vsftpd on port 21: anonymous, with the files `file` and `large`, and with AUTH TLS if there are certificate and key: it then
/// insists on both connections being of one TLS session.
pub fn vsftpd(namespace: &Namespace, lab: &Path, tls: Option<(&Path, &Path)>) -> Result<Process> {
    let directory = directory(lab, "vsftpd")?;
    fs::create_dir_all(directory.join("root"))?;
    fs::create_dir_all(directory.join("empty"))?;
    fs::write(directory.join("root/file"), "some text\n")?;
    fs::write(directory.join("root/large"), "x".repeat(2_000_000) + "the end")?;
    let (configuration, directory) = (directory.join("conf"), directory.display());
    // Its own sandbox does not let it run in every container.
    let text = format!(
        "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nanon_root={directory}/root\n\
         secure_chroot_dir={directory}/empty\nseccomp_sandbox=NO\nisolate_network=NO\n{}",
        tls.map_or_else(String::new, |(certificate, key)| format!(
            "ssl_enable=YES\nallow_anon_ssl=YES\nrsa_cert_file={}\nrsa_private_key_file={}\nforce_anon_logins_ssl=YES\n\
             force_anon_data_ssl=YES\nrequire_ssl_reuse=YES\nssl_ciphers=HIGH\n",
            certificate.display(),
            key.display()
        ))
    );
    fs::write(&configuration, text)?;
    start(namespace, lab, "vsftpd", namespace.command("vsftpd").arg(&configuration), ("tcp", 21))
}

/// unbound on port 53: www.lab is 192.0.2.7.
pub fn unbound(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "unbound")?;
    let (configuration, directory) = (directory.join("conf"), directory.display());
    let text = format!(
        "server:\n  directory: \"{directory}\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"{directory}/pid\"\n  \
         use-syslog: no\n  logfile: \"\"\n  interface: 0.0.0.0\n  interface: ::0\n  access-control: 0.0.0.0/0 allow\n  \
         access-control: ::0/0 allow\n  do-daemonize: no\n  local-zone: \"lab.\" static\n  \
         local-data: \"www.lab. A 192.0.2.7\"\nremote-control:\n  control-enable: no\n"
    );
    fs::write(&configuration, text)?;
    start(
        namespace,
        lab,
        "unbound",
        namespace.command("unbound").arg("-d").arg("-c").arg(&configuration),
        ("udp", 53),
    )
}

/// redis on port 6379, with [`PASSWORD`] for the user `default`.
pub fn redis(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "redis")?;
    let configuration = directory.join("conf");
    let text = format!("requirepass {PASSWORD}\nbind 0.0.0.0\nsave \"\"\ndir {}\n", directory.display());
    fs::write(&configuration, text)?;
    start(namespace, lab, "redis", namespace.command("redis-server").arg(&configuration), ("tcp", 6379))
}

/// MariaDB on port 3306.
pub fn mariadb(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "mariadb")?;
    give(&directory, "mysql")?;
    let data = directory.join("data");
    let mut install = Command::new("mariadb-install-db");
    install.arg("--no-defaults").arg("--user=mysql").arg(format!("--datadir={}", data.display()));
    run(install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]))?;
    let mut command = namespace.command("mariadbd");
    command.arg("--no-defaults").arg("--user=mysql").arg(format!("--datadir={}", data.display()));
    command.arg(format!("--socket={}/socket", directory.display()));
    command.arg(format!("--pid-file={}/pid", directory.display())).arg("--bind-address=*");
    start(namespace, lab, "mariadb", &mut command, ("tcp", 3306))
}

/// PostgreSQL on port 5432, which asks everybody for a password.
pub fn postgresql(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "postgresql")?;
    give(&directory, "postgres")?;
    let versions = fs::read_dir("/usr/lib/postgresql").context("PostgreSQL is not installed")?;
    let version = versions.flatten().map(|entry| entry.path()).max().context("PostgreSQL has no version")?;
    let as_postgres = |mut command: Command, program: &str| {
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(version.join("bin").join(program));
        command
    };
    let data = directory.join("data");
    let mut install = as_postgres(Command::new("setpriv"), "initdb");
    run(install.arg("-D").arg(&data).args(["--auth=trust", "--no-sync"]))?;
    fs::write(data.join("pg_hba.conf"), "host all all 0.0.0.0/0 scram-sha-256\n")?;
    let mut command = as_postgres(namespace.command("setpriv"), "postgres");
    command.arg("-D").arg(&data).args(["-c", "listen_addresses=*", "-c"]);
    command.arg(format!("unix_socket_directories={}", directory.display()));
    start(namespace, lab, "postgresql", &mut command, ("tcp", 5432))
}

/// OpenLDAP on port 389: cn=admin,dc=lab with [`PASSWORD`].
pub fn slapd(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "slapd")?;
    fs::create_dir_all(directory.join("db"))?;
    let (configuration, directory) = (directory.join("conf"), directory.display());
    let text = format!(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_ldif\n\
         pidfile {directory}/pid\ndatabase ldif\ndirectory {directory}/db\nsuffix \"dc=lab\"\n\
         rootdn \"cn=admin,dc=lab\"\nrootpw {PASSWORD}\n"
    );
    fs::write(&configuration, text)?;
    let mut command = namespace.command("slapd");
    command.arg("-f").arg(&configuration).args(["-h", "ldap://0.0.0.0:389", "-d", "0"]);
    start(namespace, lab, "slapd", &mut command, ("tcp", 389))
}

/// Dovecot on ports 110 and 143, with TLS on 995 and 993; every user has [`PASSWORD`], also with those who ask
/// at [`dovecot_logins`].
pub fn dovecot(namespace: &Namespace, lab: &Path, (certificate, key): (&Path, &Path)) -> Result<Process> {
    let directory = directory(lab, "dovecot")?;
    fs::create_dir_all(directory.join("mail"))?;
    give(&directory.join("mail"), "nobody")?;
    let (configuration, directory) = (directory.join("conf"), directory.display());
    let text = format!(
        "protocols = imap pop3
base_dir = {directory}/run
log_path = /dev/stderr
listen = *
ssl = yes
ssl_cert = <{}
ssl_key = <{}
disable_plaintext_auth = no
first_valid_uid = 1
mail_location = maildir:{directory}/mail/%u
passdb {{
  driver = static
  args = password={PASSWORD}
}}
service auth {{
  unix_listener {} {{
    mode = 0666
  }}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/mail/%u
}}
",
        certificate.display(),
        key.display(),
        dovecot_logins(lab).display()
    );
    fs::write(&configuration, text)?;
    let mut command = namespace.command("dovecot");
    start(namespace, lab, "dovecot", command.arg("-F").arg("-c").arg(&configuration), ("tcp", 993))
}

/// The socket at which Dovecot answers other programs who may log in.
pub fn dovecot_logins(lab: &Path) -> PathBuf {
    lab.join("dovecot/logins")
}

/// FreeRADIUS on port 1812, whose clients have the secret `testing`; bob has [`PASSWORD`].
pub fn freeradius(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "freeradius")?;
    fs::write(directory.join("users"), format!("bob Cleartext-Password := \"{PASSWORD}\"\n"))?;
    let shown = directory.display();
    let text = format!(
        "name = radiusd
logdir = {shown}
raddbdir = {shown}
run_dir = {shown}
libdir = /usr/lib/freeradius
pidfile = {shown}/pid
security {{
  reject_delay = 0
  status_server = yes
}}
client all {{
  ipaddr = 0.0.0.0/0
  secret = testing
}}
modules {{
  pap {{
  }}
  files {{
    usersfile = {shown}/users
  }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = *
    port = 1812
  }}
  authorize {{
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
  }}
}}
"
    );
    fs::write(directory.join("radiusd.conf"), text)?;
    let mut command = namespace.command("freeradius");
    command.arg("-f").arg("-d").arg(&directory).args(["-n", "radiusd", "-l", "stdout"]);
    start(namespace, lab, "freeradius", &mut command, ("udp", 1812))
}

/// Kamailio on port 5060 of UDP and TCP, which says OK to everything.
pub fn kamailio(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "kamailio")?;
    let configuration = directory.join("conf");
    let modules =
        PathBuf::from("/usr/lib").join(format!("{}-linux-gnu/kamailio/modules/", std::env::consts::ARCH));
    let text = format!(
        "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nchildren=1\ntcp_children=1\nlisten=udp:0.0.0.0:5060\n\
         listen=tcp:0.0.0.0:5060\nmpath=\"{}\"\nloadmodule \"sl.so\"\n\
         request_route {{ sl_send_reply(\"200\", \"OK\"); }}\n",
        modules.display()
    );
    fs::write(&configuration, text)?;
    let mut command = namespace.command("kamailio");
    command.args(["-DD", "-E", "-f"]).arg(&configuration).arg("-Y").arg(&directory).arg("-w").arg(&directory);
    start(namespace, lab, "kamailio", command.arg("-P").arg(directory.join("pid")), ("tcp", 5060))
}

/// etcd on port 2379, which speaks grpc.health.v1.
pub fn etcd(namespace: &Namespace, lab: &Path) -> Result<Process> {
    let directory = directory(lab, "etcd")?;
    let mut command = namespace.command("etcd");
    command.arg("--data-dir").arg(directory.join("data"));
    command.args([
        "--listen-client-urls",
        "http://0.0.0.0:2379",
        "--advertise-client-urls",
        "http://127.0.0.1:2379",
    ]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
    start(namespace, lab, "etcd", &mut command, ("tcp", 2379))
}

/// nginx on port 443 with a certificate, and with HTTP/2; on 444 it wants one of its clients.
pub fn nginx(
    namespace: &Namespace,
    lab: &Path,
    certificates: &super::certificates::Certificates,
) -> Result<Process> {
    let directory = directory(lab, "nginx-tls")?;
    let configuration = directory.join("conf");
    let shown = directory.display();
    let (ca, certificate, key) =
        (certificates.ca.display(), certificates.server.display(), certificates.server_key.display());
    let text = format!(
        "daemon off;
master_process off;
user root;
pid {shown}/pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {shown}/body;
    proxy_temp_path {shown}/proxy;
    fastcgi_temp_path {shown}/fastcgi;
    uwsgi_temp_path {shown}/uwsgi;
    scgi_temp_path {shown}/scgi;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    server {{
        listen 80;
        location / {{ return 200 \"this is a test page\\n\"; }}
        location = /moved {{ return 302 /; }}
        location = /broken {{ return 503; }}
        location = /host {{ return 200 \"$host $http_x_probe\\n\"; }}
    }}
    server {{
        listen 443 ssl http2;
        location / {{ return 200 \"$server_protocol $ssl_server_name\\n\"; }}
    }}
    server {{
        listen 444 ssl;
        ssl_client_certificate {ca};
        ssl_verify_client on;
        location / {{ return 200 \"$ssl_client_s_dn\\n\"; }}
    }}
}}
"
    );
    fs::write(&configuration, text)?;
    let mut command = namespace.command("nginx");
    command.arg("-c").arg(&configuration).arg("-p").arg(&directory).args(["-e", "stderr"]);
    start(namespace, lab, "nginx-tls", &mut command, ("tcp", 444))
}
