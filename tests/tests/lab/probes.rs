//! Every type of check against the real server from Debian's packages, and against servers that misbehave.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::identity::Identity;
use lvs_tests::lab::namespace::Namespace;
use lvs_tests::lab::servers::certificates::Certificates;
use lvs_tests::lab::servers::misbehaving::{self, Manner};
use lvs_tests::lab::servers::postfix::Postfix;
use lvs_tests::lab::servers::{daemons, inn};
use lvs_userspace::config::model::Check;
use lvs_userspace::config::{self, Config};
use lvs_userspace::health::probe;
use lvs_userspace::health::watch::{Finding, Outcome};

/// One machine on which servers and probes run.
struct Machine {
    namespace: Namespace,
    lab: PathBuf,
    /// Removes everything; last.
    _identity: Identity,
}

impl Machine {
    fn build() -> Result<Self> {
        let identity = Identity::take()?;
        let namespace = Namespace::create(format!("{}-machine", identity.name()))?;
        let lab = identity.directory();
        fs::write(lab.join("password"), format!("{}\n", daemons::PASSWORD))?;
        fs::write(lab.join("wrong"), "wrong\n")?;
        fs::write(lab.join("radius"), "testing\n")?;
        Ok(Self { namespace, lab, _identity: identity })
    }

    /// A probe as the file would have it: the keys after its type.
    fn check(&self, kind: &str, keys: &str) -> Result<Check> {
        let keys = keys.replace("LAB", &self.lab.display().to_string());
        // What the row says of the address comes first.
        let address = if keys.contains("address:") { "" } else { ", address: 192.0.2.1" };
        let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
        let text = format!(
            "version: 1\ninterfaces: [lo]\nservices:\n  - name: s\n    vip: 192.0.2.2\n    port: 0\n    protocol: tcp\n    \
             health: {{checks: [{{type: {kind}{keys}{address}}}]}}\n    real_servers: [{{address: 192.0.2.1}}]\n"
        );
        let config: Config = config::parse(&text, "row").map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
        let check = config.services[0].real_servers[0].checks.first().context("no check")?;
        // No machine but this one has the address.
        let mut check = Check::clone(check);
        if check.address == IpAddr::from([192, 0, 2, 1]) {
            check.address = Ipv4Addr::LOCALHOST.into();
        }
        Ok(check)
    }

    fn probe(&self, check: &Check) -> Result<Outcome> {
        self.namespace.enter(|| {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(tokio.block_on(probe::run(check, None)))
        })
    }

    /// Type, keys, and what the result must begin with: `+` that it
    /// passed, `-` that it failed, `?` that it found out nothing.
    fn expect(&self, rows: &[(&str, &str, &str)]) -> Result<()> {
        for (kind, keys, expected) in rows {
            let outcome = self.probe(&self.check(kind, keys)?)?;
            let sign = match outcome.finding {
                Finding::Passed => '+',
                Finding::Failed => '-',
                Finding::Inconclusive => '?',
            };
            let said = format!("{sign}{}", outcome.summary);
            ensure!(said.starts_with(expected), "{kind} {keys}: {said:?} instead of {expected:?}");
        }
        Ok(())
    }
}

#[test]
fn http_and_https_by_nginx() -> Result<()> {
    let machine = Machine::build()?;
    let certificates = Certificates::make(&machine.lab)?;
    let _server = daemons::nginx(&machine.namespace, &machine.lab, &certificates)?;
    let trust = "ca: LAB/certificates/ca.pem";
    let tls = |keys: &str| format!("port: 443, {trust}, {keys}");
    let client = format!(
        "port: 444, {trust}, server_name: www.lab, certificate: LAB/certificates/lvsd.pem, key: LAB/certificates/lvsd.key, \
         body: CN=lvsd"
    );
    let (whole, other) = (sha256("this is a test page\n")?, sha256("another page\n")?);
    machine.expect(&[
        ("tcp", "port: 80", "+tcp connected"),
        ("http", "port: 80, body: test page", "+http 200"),
        ("http", "port: 80, body: other page", "-http 200, the body does not contain \"other page\""),
        ("http", "port: 80, body_regex: 'test\\s+page'", "+http 200"),
        ("http", "port: 80, body_regex: '^page'", "-http 200, the body does not match"),
        ("http", &format!("port: 80, body_sha256: {whole}"), "+http 200"),
        ("http", &format!("port: 80, body_sha256: {other}"), "-http 200, the body has the SHA-256"),
        ("http", "port: 80, path: /moved", "-http 302"),
        ("http", "port: 80, path: /moved, status: [200-399]", "+http 302"),
        ("http", "port: 80, path: /broken", "-http 503"),
        (
            "http",
            "port: 80, path: /host, host: www.lab, headers: ['X-Probe: yes'], body: www.lab yes",
            "+http 200",
        ),
        ("http", "port: 80, method: HEAD", "+http 200"),
        (
            "https",
            &tls("server_name: www.lab, body: HTTP/1.1 www.lab"),
            "+https 200, the certificate ends in 9 days",
        ),
        ("https", &tls("host: www.lab, body: HTTP/1.1 www.lab, expiry_warning: 1d"), "+https 200"),
        ("https", &tls("host: www.lab, http2: true, body: HTTP/2.0 www.lab"), "+https 200"),
        ("https", &tls("body: HTTP/1.1"), "+https 200"),
        ("https", &tls("server_name: other.lab"), "-https: TLS: "),
        ("https", "port: 443, server_name: www.lab", "-https: TLS: "),
        ("https", "port: 443, ca: /nowhere.pem", "?https: TLS: /nowhere.pem"),
        ("https", "port: 443, verify: false", "+https 200"),
        ("https", "port: 80, verify: false", "-https: TLS: "),
        ("https", &client, "+https 200"),
        ("https", &format!("port: 444, {trust}"), "-https 400"),
        ("http", "port: 443", "-http 400"),
    ])
}

fn sha256(text: &str) -> Result<String> {
    let mut command = std::process::Command::new("sha256sum");
    let output = lvs_tests::lab::command::run_with_input(&mut command, text)?;
    Ok(output.split_whitespace().next().unwrap_or_default().to_owned())
}

#[test]
fn mail_by_postfix_and_dovecot() -> Result<()> {
    let machine = Machine::build()?;
    let certificates = Certificates::make(&machine.lab)?;
    let pair = (certificates.server.as_path(), certificates.server_key.as_path());
    let _dovecot = daemons::dovecot(&machine.namespace, &machine.lab, pair)?;
    let logins = daemons::dovecot_logins(&machine.lab);
    let _postfix = Postfix::start(&machine.namespace, &machine.lab, Some((pair.0, pair.1, &logins)))?;
    let trust = "ca: LAB/certificates/ca.pem, server_name: www.lab";
    let login = "user: bob, password_file: LAB/password";
    let wrong = "user: bob, password_file: LAB/wrong";
    machine.expect(&[
        ("smtp", "port: 25", "+smtp 220 mail.lab ESMTP"),
        ("smtp", &format!("port: 25, tls: starttls, {trust}"), "+smtp 220 mail.lab ESMTP"),
        ("smtp", &format!("port: 25, tls: starttls, {trust}, {login}"), "+smtp 235 "),
        ("smtp", "port: 25, tls: starttls", "-smtp: TLS: "),
        ("smtp", "port: 143", "-smtp answered \"* OK"),
        ("imap", "port: 143", "+imap * OK"),
        ("imap", &format!("port: 143, {login}"), "+imap a OK"),
        ("imap", &format!("port: 143, tls: starttls, {trust}, {login}"), "+imap a OK"),
        ("imap", &format!("port: 993, tls: tls, {trust}, {login}"), "+imap a OK"),
        ("imap", "port: 110", "-imap answered \"+OK"),
        ("pop", "port: 110", "+pop +OK"),
        ("pop", &format!("port: 110, {login}"), "+pop +OK"),
        ("pop", &format!("port: 110, tls: starttls, {trust}, {login}"), "+pop +OK"),
        ("pop", &format!("port: 995, tls: tls, {trust}"), "+pop +OK"),
        ("exchange", "port: 25, banner: '^220 ', send: \"NOOP\\r\\n\", expect: '250'", "+exchange answered"),
        ("exchange", "port: 25, banner: '^554', timeout: 300ms", "-exchange: no answer within 0.3 s"),
        // Last, since Dovecot makes everybody wait who comes from where a wrong password came from.
        ("smtp", &format!("port: 25, timeout: 20s, tls: starttls, {trust}, {wrong}"), "-smtp answered \"535"),
        ("imap", &format!("port: 143, timeout: 10s, {wrong}"), "-imap answered \"a NO"),
        ("pop", &format!("port: 110, timeout: 10s, {wrong}"), "-pop answered \"-ERR"),
    ])
}

#[test]
fn files_names_and_directories() -> Result<()> {
    let machine = Machine::build()?;
    let (namespace, lab) = (&machine.namespace, machine.lab.as_path());
    let _ftp = daemons::vsftpd(namespace, lab, None)?;
    let _dns = daemons::unbound(namespace, lab)?;
    let _ldap = daemons::slapd(namespace, lab)?;
    fs::write(lab.join("anybody"), "me@lab\n")?;
    let login = "user: anonymous, password_file: LAB/anybody";
    machine.expect(&[
        ("ftp", "port: 21", "+ftp 220 "),
        ("ftp", &format!("port: 21, {login}"), "+ftp 230 "),
        ("ftp", &format!("port: 21, {login}, file: file"), "+ftp 213 10"),
        ("ftp", &format!("port: 21, {login}, file: other"), "-ftp answered \"550"),
        (
            "ftp",
            &format!("port: 21, {login}, file: file, body: me text, body_regex: '^some .*\\s$'"),
            "+ftp 213 10",
        ),
        (
            "ftp",
            &format!("port: 21, {login}, file: file, body: other"),
            "-ftp the file does not contain \"other\"",
        ),
        (
            "ftp",
            &format!("port: 21, {login}, file: file, body_regex: '^text'"),
            "-ftp the file does not match",
        ),
        ("ftp", &format!("port: 21, {login}, file: large, body: the end"), "-ftp the file does not contain"),
        ("ftp", &format!("port: 21, {login}, file: large, body: xxx"), "+ftp 213 2000007"),
        ("ftp", "port: 21, timeout: 10s, user: bob, password_file: LAB/wrong", "-ftp answered \"530"),
        ("dns", "port: 53, name: www.lab", "+dns 192.0.2.7"),
        ("dns", "port: 53, name: www.lab, answer: 192.0.2.7, transport: tcp", "+dns 192.0.2.7"),
        ("dns", "port: 53, name: www.lab, answer: 192.0.2.8", "-dns answered 192.0.2.7, not 192.0.2.8"),
        ("dns", "port: 53, name: www.lab, record: AAAA", "-dns no record of type AAAA"),
        ("dns", "port: 53, name: other.lab", "-dns answered Non-Existent Domain"),
        ("udp", "port: 53, timeout: 400ms", "+udp not refused"),
        ("udp", "port: 54, timeout: 400ms", "-udp: connection refused"),
        ("ldap", "port: 389", "+ldap bound"),
        ("ldap", "port: 389, user: 'cn=admin,dc=lab', password_file: LAB/password", "+ldap bound"),
        (
            "ldap",
            "port: 389, user: 'cn=admin,dc=lab', password_file: LAB/wrong",
            "-ldap bind refused with result 49",
        ),
        ("icmp", "", "+icmp answered"),
    ])
}

/// AUTH TLS, and a data connection that vsftpd takes only if it goes on with the session of the first.
#[test]
fn files_by_ftp_over_tls() -> Result<()> {
    let machine = Machine::build()?;
    let certificates = Certificates::make(&machine.lab)?;
    let pair = (certificates.server.as_path(), certificates.server_key.as_path());
    let _ftp = daemons::vsftpd(&machine.namespace, &machine.lab, Some(pair))?;
    fs::write(machine.lab.join("anybody"), "me@lab\n")?;
    let login = "port: 21, user: anonymous, password_file: LAB/anybody, file: file, body: some text";
    let trust = "tls: starttls, ca: LAB/certificates/ca.pem";
    machine.expect(&[
        ("ftp", login, "-ftp answered \"530"),
        ("ftp", &format!("{login}, {trust}"), "+ftp 213 10, the certificate ends in 9 days"),
        ("ftp", &format!("{login}, {trust}, expiry_warning: 0"), "+ftp 213 10"),
        ("ftp", &format!("{login}, {trust}, server_name: other.lab"), "-ftp: TLS: "),
        ("ftp", &format!("{login}, tls: starttls"), "-ftp: TLS: "),
    ])
}

#[test]
fn databases() -> Result<()> {
    let machine = Machine::build()?;
    let (namespace, lab) = (&machine.namespace, machine.lab.as_path());
    let _redis = daemons::redis(namespace, lab)?;
    let _mariadb = daemons::mariadb(namespace, lab)?;
    let _postgresql = daemons::postgresql(namespace, lab)?;
    let login = "user: default, password_file: LAB/password";
    // A hundred probes in a row must not make the server refuse this host (max_connect_errors is 100).
    for _ in 0..105 {
        machine.expect(&[("mysql", "port: 3306", "+mysql ")])?;
    }
    machine.expect(&[
        ("mysql", "port: 3306, user: root", "+mysql "),
        ("mysql", "port: 3306, user: root, database: mysql", "+mysql "),
        ("mysql", "port: 6379, timeout: 500ms", "-mysql: no answer within"),
        ("pgsql", "port: 5432", "+pgsql asked to authenticate"),
        ("pgsql", "port: 5432, user: postgres, database: postgres", "+pgsql asked to authenticate"),
        ("pgsql", "port: 3306", "-pgsql "),
        ("redis", &format!("port: 6379, {login}"), "+redis PONG"),
        ("redis", "port: 6379", "-redis answered \"-NOAUTH"),
        ("redis", "port: 6379, user: default, password_file: LAB/wrong", "-redis answered \"-WRONGPASS"),
    ])
}

#[test]
fn users_calls_and_services() -> Result<()> {
    let machine = Machine::build()?;
    let (namespace, lab) = (&machine.namespace, machine.lab.as_path());
    let _radius = daemons::freeradius(namespace, lab)?;
    let _sip = daemons::kamailio(namespace, lab)?;
    let _etcd = daemons::etcd(namespace, lab)?;
    machine.expect(&[
        ("radius", "port: 1812, secret_file: LAB/radius", "+radius answered"),
        (
            "radius",
            "port: 1812, secret_file: LAB/radius, user: bob, password_file: LAB/password",
            "+radius accepted bob",
        ),
        (
            "radius",
            "port: 1812, secret_file: LAB/radius, user: bob, password_file: LAB/wrong",
            "-radius rejected bob",
        ),
        ("radius", "port: 1812, secret_file: LAB/wrong, timeout: 500ms", "-radius: no answer within"),
        ("radius", "port: 1812, secret_file: LAB/nowhere", "?radius: /"),
        ("sip", "port: 5060", "+sip 200"),
        ("sip", "port: 5060, transport: tcp", "+sip 200"),
        ("sip", "port: 5060, status: [300-399]", "-sip answered \"SIP/2.0 200 OK\""),
        ("grpc", "port: 2379", "+grpc SERVING"),
        ("grpc", "port: 2379, service: nobody", "-grpc grpc status 5"),
        ("grpc", "port: 5060, timeout: 500ms", "-grpc"),
    ])
}

/// Debian's own monitors of mon, and plugins of Nagios, unchanged.
#[test]
fn external_programs_run_unchanged() -> Result<()> {
    let machine = Machine::build()?;
    let certificates = Certificates::make(&machine.lab)?;
    let _nginx = daemons::nginx(&machine.namespace, &machine.lab, &certificates)?;
    let _ftp = daemons::vsftpd(&machine.namespace, &machine.lab, None)?;
    let mon = |program: &str| {
        format!("port: 80, timeout: 20s, convention: mon, command: [/usr/lib/mon/mon.d/{program}]")
    };
    let nagios = |arguments: &str| {
        format!("port: 80, timeout: 20s, convention: nagios, command: [/usr/lib/nagios/plugins/{arguments}]")
    };
    let sleeper = "port: 80, timeout: 200ms, convention: nagios, command: [sh, -c, 'sleep 600 & sleep 600']";
    let endless = "port: 80, timeout: 500ms, convention: nagios, command: ['yes']";
    machine.expect(&[
        ("external", &mon("fping.monitor"), "+external "),
        ("external", &mon("http.monitor"), "+external "),
        ("external", &mon("ftp.monitor"), "+external "),
        ("external", &mon("http.monitor, -p, \"81\""), "-external exit 1: 127.0.0.1"),
        ("external", &nagios("check_http, -I, '{address}', -p, '{port}'"), "+external HTTP OK"),
        ("external", &nagios("check_http, -I, '{address}', -u, /broken"), "-external exit 2: HTTP CRITICAL"),
        ("external", &nagios("check_http, -I, '{address}', -w, '0.0000001'"), "+external HTTP WARNING"),
        ("external", &nagios("nothing"), "?external: "),
        (
            "external",
            "port: 80, convention: nagios, command: [sh, -c, 'echo what; exit 3']",
            "?external: what",
        ),
        ("external", sleeper, "-external: no answer within 0.2 s"),
        ("external", endless, "-external: no answer within 0.5 s"),
    ])
}

/// Every type with what it needs.
const TYPES: [(&str, &str); 19] = [
    ("http", "body: x"),
    ("http", "http2: true"),
    ("https", "verify: false"),
    ("dns", "name: www.lab"),
    ("dns", "name: www.lab, transport: tcp"),
    ("smtp", ""),
    ("smtp", "tls: starttls, verify: false"),
    ("ftp", ""),
    ("imap", ""),
    ("pop", ""),
    ("nntp", ""),
    ("exchange", "banner: '^hello'"),
    ("redis", ""),
    ("mysql", ""),
    ("pgsql", ""),
    ("ldap", ""),
    ("radius", "secret_file: LAB/radius"),
    ("sip", ""),
    ("grpc", ""),
];
const TIMEOUT: Duration = Duration::from_millis(400);
/// A body of one MiB, and what the kernel buffers on both sides.
const MOST: u64 = 16 << 20;
/// The machine may be busy.
const SLACK: Duration = Duration::from_secs(1);

/// Not one of them passes, hangs, or eats memory.
#[test]
fn misbehaving_servers_fail_in_time() -> Result<()> {
    let machine = Machine::build()?;
    let misbehaving = Manner::ALL.map(|manner| misbehaving::start(&machine.namespace, manner));
    let misbehaving: Vec<_> = misbehaving.into_iter().collect::<Result<_>>()?;
    let named = Manner::ALL.iter().zip(&misbehaving);
    let mut servers: Vec<_> = named.map(|(manner, server)| (format!("{manner:?}"), server.address)).collect();
    servers.push(("closed".to_owned(), SocketAddr::from(([127, 0, 0, 1], 9))));
    servers.push(("black hole".to_owned(), black_hole(&machine.namespace)?));
    for (kind, keys) in TYPES {
        for (manner, address) in &servers {
            let keys = if keys.is_empty() { String::new() } else { format!("{keys}, ") };
            let keys = format!("{keys}port: {}, timeout: {}ms", address.port(), TIMEOUT.as_millis());
            let mut check = machine.check(kind, &keys)?;
            check.address = address.ip();
            let said = || misbehaving.iter().map(|server| server.said()).sum::<u64>();
            let before = said();
            let outcome = machine.probe(&check)?;
            ensure!(said() - before < MOST, "{kind} takes in {} bytes of {manner}", said() - before);
            ensure!(outcome.finding == Finding::Failed, "{kind} passes against {manner}: {outcome:?}");
            ensure!(outcome.took <= TIMEOUT + SLACK, "{kind} hangs at {manner}: {outcome:?}");
            ensure!(outcome.summary.len() < 400, "{kind} is told too much by {manner}: {outcome:?}");
        }
    }
    Ok(())
}

/// An address whose packets go nowhere: its MAC is nobody's.
fn black_hole(namespace: &Namespace) -> Result<SocketAddr> {
    namespace.links("link add hole type veth peer name wall\nlink set hole up\nlink set wall up")?;
    namespace.run("ip", &["address", "add", "10.9.9.1/24", "dev", "hole"])?;
    namespace.run(
        "ip",
        &["neigh", "add", "10.9.9.2", "lladdr", "02:00:00:00:00:99", "dev", "hole", "nud", "permanent"],
    )?;
    Ok(SocketAddr::from(([10, 9, 9, 2], 80)))
}

#[test]
fn news_by_inn() -> Result<()> {
    let machine = Machine::build()?;
    let certificates = Certificates::make(&machine.lab)?;
    let pair = (certificates.server.as_path(), certificates.server_key.as_path());
    let _inn = inn::nnrpd(&machine.namespace, &machine.lab, pair)?;
    let trust = "ca: LAB/certificates/ca.pem, server_name: www.lab";
    let (login, wrong) = ("user: bob, password_file: LAB/password", "user: bob, password_file: LAB/wrong");
    let greeting = "+nntp 200 news.lab InterNetNews NNRP server INN";
    machine.expect(&[
        ("nntp", "port: 119", greeting),
        ("nntp", &format!("port: 119, tls: starttls, {trust}"), greeting),
        ("nntp", &format!("port: 563, tls: tls, {trust}"), greeting),
        ("nntp", "port: 119, tls: starttls, verify: false", greeting),
        (
            "nntp",
            "port: 119, tls: starttls, ca: LAB/certificates/ca.pem, server_name: other.lab",
            "-nntp: TLS: ",
        ),
        ("nntp", "port: 119, tls: starttls", "-nntp: TLS: "),
        ("nntp", &format!("port: 119, tls: tls, {trust}"), "-nntp: TLS: "),
        ("nntp", &format!("port: 119, {login}"), "+nntp 281 "),
        ("nntp", &format!("port: 119, tls: starttls, {trust}, {login}"), "+nntp 281 "),
        ("nntp", &format!("port: 119, tls: starttls, {trust}, {wrong}"), "-nntp answered \"481 "),
        ("smtp", "port: 119", "-smtp answered \"200 news.lab"),
    ])
}

#[test]
fn probes_by_ipv6() -> Result<()> {
    let machine = Machine::build()?;
    let _dns = daemons::unbound(&machine.namespace, &machine.lab)?;
    let _ftp = daemons::vsftpd(&machine.namespace, &machine.lab, None)?;
    for (kind, keys, expected) in [
        ("icmp", "", "icmp answered"),
        ("tcp", "port: 21", "tcp connected"),
        ("ftp", "port: 21", "ftp 220"),
        ("dns", "port: 53, name: www.lab", "dns 192.0.2.7"),
        ("dns", "port: 53, name: www.lab, transport: tcp", "dns 192.0.2.7"),
        ("udp", "port: 53, timeout: 400ms", "udp not refused"),
    ] {
        let check = Check { address: Ipv6Addr::LOCALHOST.into(), ..machine.check(kind, keys)? };
        let outcome = machine.probe(&check)?;
        ensure!(
            outcome.finding == Finding::Passed && outcome.summary.starts_with(expected),
            "{kind}: {outcome:?}"
        );
    }
    Ok(())
}

/// From the source address that the file names.
#[test]
fn probes_leave_from_their_source_and_interface() -> Result<()> {
    let machine = Machine::build()?;
    let certificates = Certificates::make(&machine.lab)?;
    let _nginx = daemons::nginx(&machine.namespace, &machine.lab, &certificates)?;
    machine.namespace.run("ip", &["address", "add", "10.9.9.1/32", "dev", "lo"])?;
    machine.expect(&[
        ("tcp", "port: 80, source: 10.9.9.1", "+tcp connected"),
        ("tcp", "port: 80, source: 10.9.9.7", "?tcp: cannot use the source address"),
        ("http", "port: 80, interface: lo", "+http 200"),
        ("http", "port: 80, interface: nowhere", "?http: cannot use the interface"),
        ("icmp", "source: 10.9.9.1", "+icmp answered"),
    ])?;
    // The other kind of socket, where the kernel gives leave to it.
    machine.namespace.sysctl(&[("ipv4.ping_group_range", "0 2147483647")])?;
    machine.expect(&[("icmp", "", "+icmp answered"), ("icmp", "source: 10.9.9.1", "+icmp answered")])
}
