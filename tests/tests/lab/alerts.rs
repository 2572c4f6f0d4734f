//! People are told, by every way there is.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lvs_tests::lab::address::{self, Family, Net};
use lvs_tests::lab::command::run_with_input;
use lvs_tests::lab::configuration::Configuration;
use lvs_tests::lab::network::{Network, Shape};
use lvs_tests::lab::pair::{NODES, Pair};
use lvs_tests::lab::realserver::{HTTP_PORT, start_web};
use lvs_tests::lab::servers::certificates::Certificates;
use lvs_tests::lab::servers::daemons;
use lvs_tests::lab::servers::postfix::Postfix;
use lvs_tests::lab::servers::rsyslog::Rsyslog;
use lvs_tests::lab::wait::{wait_for, wait_until};
use lvs_userspace::api::model::Events;

use crate::setup::{Balanced, Preparation, real_servers, service};

const FAMILY: Family = Family::V4;
const PATIENCE: Duration = Duration::from_secs(20);

fn site(network: &Network, alerts: &str) -> Configuration {
    let mut service = service(FAMILY, HTTP_PORT, "tcp", "rr", "dr", real_servers(network, FAMILY));
    service.health =
        "{checks: [{type: tcp, interval: 200ms, fast_interval: 100ms, timeout: 500ms, rise: 2, fall: 2}]}"
            .to_owned();
    let mut configuration = Configuration::new(network, vec![service]);
    configuration.alerts = alerts.to_owned();
    configuration
}

fn executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Mail through Postfix with STARTTLS and a login, syslog through rsyslog; a server that dies and returns is told both times.
#[test]
fn mail_and_syslog_arrive() -> Result<()> {
    let mut servers = None;
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        let lab = network.identity.directory();
        let started = Certificates::make(&lab).and_then(|certificates| {
            let pair = (certificates.server.as_path(), certificates.server_key.as_path());
            let dovecot = daemons::dovecot(&network.director, &lab, pair)?;
            let logins = daemons::dovecot_logins(&lab);
            let postfix = Postfix::start(&network.director, &lab, Some((pair.0, pair.1, &logins)))?;
            fs::write(lab.join("password"), daemons::PASSWORD)?;
            Ok((postfix, Rsyslog::start(&network.director, &lab)?, dovecot))
        });
        let socket =
            started.as_ref().map_or_else(|_| PathBuf::new(), |(_, rsyslog, _)| rsyslog.socket.clone());
        servers = Some(started);
        let alerts = format!(
            "  - {{name: admin, type: mail, to: [admin@lab], from: lvsd@lab, server: 127.0.0.1, tls: starttls, ca: {}, user: bob, password_file: {}, group: 0}}
  - {{name: log, type: syslog, facility: local0, socket: {}, group: 0}}
",
            lab.join("certificates/ca.pem").display(),
            lab.join("password").display(),
            socket.display()
        );
        site(network, &alerts)
    })?;
    let (postfix, rsyslog, _dovecot) = servers.context("not started")??;
    let name = "tcp-80-v4 10.0.0.11:80";
    balanced.programs[0].web.kill()?;
    wait_until("the first mail", PATIENCE, || postfix.mails().len() == 1)
        .with_context(|| format!("{}\n{}", balanced.explain(), postfix.log()))?;
    let mail = postfix.mails().remove(0);
    ensure!(mail.contains(&format!("Subject: ALERT {name} down")), "{mail}");
    ensure!(mail.contains("From: lvsd@lab") && mail.contains("To: admin@lab"), "{mail}");
    ensure!(mail.contains("connection refused after"), "{mail}");
    ensure!(mail.contains("using TLSv1.3"), "not encrypted: {mail}");
    ensure!(postfix.log().contains("sasl_username=bob"), "nobody logged in: {}", postfix.log());

    let network = &balanced.network;
    balanced.programs[0].web = start_web(network, &network.servers[0].namespace, "rs1")?;
    wait_until("the second mail", PATIENCE, || {
        postfix.mails().iter().any(|mail| mail.contains(&format!("Subject: UPALERT {name} up")))
    })?;
    let lines = wait_for("the lines of syslog", PATIENCE, || {
        let lines = rsyslog.messages();
        (lines.lines().count() == 2).then_some(lines)
    })?;
    let mut lines = lines.lines();
    let line = lines.next().unwrap_or_default();
    ensure!(
        line.starts_with(&format!("local0.warning lvsd: {name} down: tcp: connection refused")),
        "{line}"
    );
    let line = lines.next().unwrap_or_default();
    ensure!(line.starts_with(&format!("local0.notice lvsd: {name} up: tcp connected")), "{line}");
    Ok(())
}

/// A certificate that ends soon is told once and is no failure; so is its renewal.
#[test]
fn a_certificate_that_ends_soon_is_told() -> Result<()> {
    let mut started = None;
    let balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        let lab = network.identity.directory();
        let servers = Certificates::make(&lab).and_then(|certificates| {
            // On a machine of its own, since nginx listens on port 80 of every address there.
            let namespace = &network.client;
            let nginx = daemons::nginx(namespace, &lab, &certificates)?;
            Ok((Rsyslog::start(&network.director, &lab)?, nginx, certificates))
        });
        let socket = servers.as_ref().map_or_else(|_| PathBuf::new(), |(rsyslog, ..)| rsyslog.socket.clone());
        started = Some(servers);
        let alerts = format!(
            "  - {{name: log, type: syslog, facility: local0, socket: {}, group: 0}}\n",
            socket.display()
        );
        let mut site = site(network, &alerts);
        let client = address::client(FAMILY);
        site.services[0].health = format!(
            "{{checks: [{{type: https, port: 443, address: {client}, server_name: www.lab, ca: {}, interval: 200ms, fall: 100}}]}}",
            lab.join("certificates/ca.pem").display()
        );
        site
    })?;
    let (rsyslog, mut nginx, certificates) = started.context("not started")??;
    let lines = |count: usize| {
        wait_for("the lines of syslog", PATIENCE, || {
            let lines: Vec<String> = rsyslog.messages().lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
        .with_context(|| balanced.explain())
    };
    let told = lines(3)?;
    ensure!(
        told.iter().all(|line| line.contains("certificate expiring: the certificate ends on 20")),
        "{told:?}"
    );
    certificates.renew(60)?;
    nginx.kill()?;
    let lab = balanced.network.identity.directory();
    let _nginx = daemons::nginx(&balanced.network.client, &lab, &certificates)?;
    let told = lines(6)?;
    ensure!(told.len() == 6, "{told:?}");
    ensure!(
        told[3..].iter().all(|line| {
            line.starts_with("local0.notice")
                && line.contains("certificate renewed: the certificate that is shown now")
        }),
        "{told:?}"
    );
    let events: Events = balanced.agent.control().json(&["events"])?;
    ensure!(events.events.len() == 6, "nothing but certificates: {events:?}");
    Ok(())
}

/// The seed's own lvs.alert and Debian's mail.alert, unchanged. /sbin/ipvsadm is one that writes down how
/// it is called, in a mount namespace of its own; sendmail is Postfix's.
#[test]
fn alerts_of_mon_run_unchanged() -> Result<()> {
    let mut postfix = None;
    let mut calls = PathBuf::new();
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        let lab = network.identity.directory();
        let started = Postfix::start(&network.director, &lab, None).and_then(|postfix| {
            calls = lab.join("ipvsadm.calls");
            executable(&lab.join("ipvsadm"), &format!("#!/bin/sh\necho \"$@\" >> {}\n", calls.display()))?;
            let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/seed/lvs.alert");
            executable(
                &lab.join("lvs.alert"),
                &format!(
                    "#!/bin/sh\nexec unshare --mount sh -c 'mount -t tmpfs none /usr/sbin && \
                     install {}/ipvsadm /usr/sbin/ipvsadm && exec {} \"$@\"' lvs.alert \"$@\"\n",
                    lab.display(),
                    seed.display()
                ),
            )?;
            executable(
                &lab.join("mail.alert"),
                &format!(
                    "#!/bin/sh\nMAIL_CONFIG={} exec /usr/lib/mon/alert.d/mail.alert \"$@\"\n",
                    postfix.configuration.display()
                ),
            )?;
            Ok(postfix)
        });
        postfix = Some(started);
        let lab = lab.display();
        // As in the seed's mon.cf: one alert for each real server.
        let alerts = format!(
            "  - {{name: mail, type: program, command: [{lab}/mail.alert, admin@lab], group: 0}}
  - name: lvs
    type: program
    command: [{lab}/lvs.alert, -P, tcp, -V, \"10.0.0.3:80\", -R, 10.0.0.11, -W, \"5\", -F, dr]
    real_servers: [10.0.0.11]
    group: 0
"
        );
        site(network, &alerts)
    })?;
    let postfix = postfix.context("not started")??;
    balanced.programs[0].web.kill()?;
    balanced.programs[1].web.kill()?;
    let called = |lines: usize| {
        wait_for("lvs.alert to be called", PATIENCE, || {
            let text = fs::read_to_string(&calls).unwrap_or_default();
            (text.lines().count() >= lines).then_some(text)
        })
    };
    let text = called(1).with_context(|| balanced.explain())?;
    ensure!(text == "-d -t 10.0.0.3:80 -r 10.0.0.11\n", "{text}");
    let network = &balanced.network;
    balanced.programs[0].web = start_web(network, &network.servers[0].namespace, "rs1")?;
    let text = called(2)?;
    ensure!(text.ends_with("-a -t 10.0.0.3:80 -r 10.0.0.11 -w 5 -g\n"), "{text}");

    wait_until("the mails", PATIENCE, || postfix.mails().len() >= 3).with_context(|| balanced.explain())?;
    let mails = postfix.mails().join("\n");
    for subject in
        ["Subject: ALERT tcp-80-v4/health: 10.0.0.11", "Subject: UPALERT tcp-80-v4/health: 10.0.0.11"]
    {
        ensure!(mails.contains(subject), "no {subject:?} in\n{mails}");
    }
    Ok(())
}

/// Signed as documented; a server that answers 503 is asked again; a restart of the agent loses nothing.
#[test]
fn a_webhook_is_signed_and_survives_failures_and_restarts() -> Result<()> {
    const SECRET: &str = "a secret of the lab";
    let mut listener = None;
    let mut balanced = Balanced::start(Shape::default(), Preparation::ByHand, |network| {
        listener = Some(network.director.enter(|| Ok(TcpListener::bind("127.0.0.1:9000")?)));
        let secret = network.identity.directory().join("secret");
        // A missing file shows in the test below: nothing arrives.
        fs::write(&secret, format!("{SECRET}\n")).ok();
        let alerts = format!(
            "  - {{name: hook, type: webhook, url: \"http://127.0.0.1:9000/hook?a=b\", secret_file: {}, group: 0}}\n",
            secret.display()
        );
        site(network, &alerts)
    })?;
    let listener = listener.context("not started")??;
    let (sender, requests) = mpsc::channel();
    let statuses = ["503 Not Now", "503 Not Now", "204 Good", "200 Good"];
    let server = thread::spawn(move || -> Result<()> {
        for status in statuses {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !is_complete(&request) {
                let read = stream.read(&mut buffer)?;
                ensure!(read > 0, "the request ends early");
                request.extend_from_slice(&buffer[..read]);
            }
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
            sender.send(String::from_utf8(request)?)?;
        }
        Ok(())
    });
    balanced.programs[0].web.kill()?;
    let first = requests.recv_timeout(PATIENCE).with_context(|| balanced.explain())?;
    let kept = PathBuf::from("/var/lib").join(balanced.agent.control().instance());
    wait_until("the state to be kept", PATIENCE, || {
        fs::read_to_string(kept.join("state.json")).is_ok_and(|state| state.contains("\"told\":{\"hook\""))
    })?;
    balanced.agent.kill()?;
    balanced.agent.start_again()?;
    let second = requests.recv_timeout(PATIENCE).with_context(|| balanced.explain())?;
    let third = requests.recv_timeout(PATIENCE).with_context(|| balanced.explain())?;
    // The next agent knows that people were told, and so tells of the end.
    let network = &balanced.network;
    balanced.programs[0].web = start_web(network, &network.servers[0].namespace, "rs1")?;
    let end = requests.recv_timeout(PATIENCE).with_context(|| balanced.explain())?;
    ensure!(end.contains("\"kind\":\"up\""), "{end}");
    server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let parts = |request: &str| -> Result<(String, String)> {
        let (head, body) = request.split_once("\r\n\r\n").context("no body")?;
        Ok((head.to_owned(), body.to_owned()))
    };
    let (head, body) = parts(&first)?;
    ensure!(parts(&second)?.1 == body && parts(&third)?.1 == body, "the message changed:\n{first}\n{third}");
    ensure!(head.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{head}");
    let header = |name: &str| {
        let line = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned));
        line.with_context(|| format!("no {name} in {head}"))
    };
    let signed = format!("{}.{body}", header("x-lvs-timestamp")?);
    let mut openssl = std::process::Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-r", "-hmac", SECRET]);
    let digest = run_with_input(&mut openssl, &signed)?;
    let digest = digest.split_whitespace().next().unwrap_or_default().to_owned();
    ensure!(header("x-lvs-signature")? == format!("sha256={digest}"), "{head}");
    let json: serde_json::Value = serde_json::from_str(&body)?;
    ensure!(json["kind"] == "alert" && json["items"][0]["server"] == "10.0.0.11:80", "{body}");
    // Nothing waits any more.
    let waiting = kept.join("alerts");
    wait_until("the queue to be empty", PATIENCE, || {
        fs::read_dir(&waiting).is_ok_and(|entries| entries.count() == 0)
    })?;
    Ok(())
}

/// A director dies and comes back: the other one tells, once, and what it has told it takes back. A program in mon's
/// convention writes down how it is called.
#[test]
fn the_death_of_a_director_is_told_by_the_other() -> Result<()> {
    let mut pair = Pair::build(Shape::default())?;
    let lab = pair.network.identity.directory();
    let (calls, program) = (lab.join("calls"), lab.join("tell"));
    // One write, since two directors might call it at the same time.
    let script = format!(
        "#!/bin/sh\ntext=$(cat | tail -n +2)\necho \"$MON_ALERTTYPE $MON_GROUP/$MON_SERVICE|$*|$text\" >> {}\n",
        calls.display()
    );
    executable(&program, &script)?;
    let mut site = Configuration::new(
        &pair.network,
        vec![service(FAMILY, HTTP_PORT, "tcp", "rr", "dr", real_servers(&pair.network, FAMILY))],
    );
    site.alerts = format!(
        "  - {{name: pager, type: program, command: [{0}, pager], group: 1s}}
  - {{name: www, type: program, command: [{0}, www], services: [tcp-80-v4], group: 0}}
",
        program.display()
    );
    pair.start(site.to_string())?;
    let called = |pair: &Pair, what: &str, count: usize| {
        wait_for(what, PATIENCE, || {
            let text = fs::read_to_string(&calls).unwrap_or_default();
            (text.matches("pager|").count() >= count).then_some(text)
        })
        .with_context(|| pair.explain())
    };
    ensure!(!calls.exists(), "nothing has happened yet: {:?}", fs::read_to_string(&calls));

    pair.agents[0].as_mut().context("it runs")?.kill()?;
    pair.wait_for_active(1)?;
    let text = called(&pair, "the takeover to be told", 1)?;
    ensure!(text.starts_with("failure www/cluster|-s cluster -g www -h director-1 www -t "), "{text}");
    ensure!(text.contains("cluster director-1 silent: director-1 is silent on all paths"), "{text}");
    ensure!(
        text.contains("cluster www taken over: director-2 holds group www for term 2: director-1 is silent"),
        "{text}"
    );

    pair.agents[0].as_mut().context("it was there")?.start_again()?;
    pair.wait_for_standby(0)?;
    let text = called(&pair, "the return to be told", 2)?;
    ensure!(text.contains("up www/cluster|-s cluster -g www -h director-1 -t "), "{text}");
    ensure!(text.contains("cluster director-1 heard: director-1 is heard"), "{text}");
    ensure!(text.matches(" taken over:").count() == 1 && text.matches(" silent:").count() == 1, "{text}");

    // The standby's file has another weight: both see it, and the active one tells people.
    let same = site.to_string();
    site.set_weight(&pair.network.servers[0], 7);
    pair.reload(0, &site.to_string())?;
    let differs = |director: usize| -> Result<Vec<String>> {
        Ok(pair.status(director)?.groups.swap_remove(0).differs_from)
    };
    let wait_for_difference = |what: &str, differ: bool| {
        wait_until(what, PATIENCE, || {
            [0, 1].into_iter().all(|director| {
                let other = NODES[1 - director].to_owned();
                let expected = if differ { vec![other] } else { Vec::new() };
                differs(director).is_ok_and(|seen| seen == expected)
            })
        })
        .with_context(|| pair.explain())
    };
    wait_for_difference("both to see the difference", true)?;
    for director in [0, 1] {
        let shown = pair.agent(director)?.control().run(&["cluster"])?;
        let warning = format!("warning: group www: {} would serve it differently: ", NODES[1 - director]);
        ensure!(shown.contains(&warning), "{shown}");
    }
    let text = called(&pair, "the difference to be told", 3)?;
    let about = "cluster director-1 configurations differ: director-1 would serve group www differently: ";
    ensure!(text.matches(about).count() == 1, "{text}");
    ensure!(!text.contains("cluster director-2 configurations differ"), "the standby is quiet: {text}");
    // It has it in its log and in its events.
    wait_until("the standby to see it for a while", PATIENCE, || {
        let words = "director-2 would serve group www differently";
        let events = pair.agent(0).and_then(|agent| agent.control().run(&["events"])).unwrap_or_default();
        events.contains(words) && pair.agent(0).is_ok_and(|agent| agent.log().contains(words))
    })
    .with_context(|| pair.explain())?;
    pair.reload(0, &same)?;
    wait_for_difference("both to agree again", false)?;
    let text = called(&pair, "the agreement to be told", 4)?;
    ensure!(text.contains("cluster director-1 configurations agree: "), "{text}");
    let shown = pair.agent(1)?.control().run(&["cluster"])?;
    ensure!(!shown.contains("would serve it differently"), "{shown}");

    // Both are cut off, and each tells what it sees; the standby, that it may not serve.
    pair.set_heartbeat_links(false)?;
    let told = |pair: &Pair, words: &[&str]| {
        wait_until("what a cut tells", PATIENCE, || {
            let text = fs::read_to_string(&calls).unwrap_or_default();
            words.iter().all(|words| text.contains(words))
        })
        .with_context(|| format!("{}\n{}", fs::read_to_string(&calls).unwrap_or_default(), pair.explain()))
    };
    let stands_back = "cluster www not held: does not take group www: somebody answers for its addresses";
    told(&pair, &["cluster director-2 silent: ", stands_back])?;
    called(&pair, "all that a cut tells", 6)?;
    let log = pair.agent(1)?.log();
    for path in ["10.9.0.2", "10.9.1.2"] {
        let words = format!("director-1 is silent on the path from {path}");
        ensure!(log.matches(&words).count() <= 2 && log.contains(&words), "{words}: {log}");
    }
    pair.set_heartbeat_links(true)?;
    told(&pair, &["cluster director-2 heard: ", "cluster www held: director-2 holds group www"])?;

    // Another machine has one of the addresses, and asks the wire for a third one in its name.
    let vip = address::vip(FAMILY, 0);
    let (stranger, nobody) = (&pair.network.client, address::host(Net::Clients, FAMILY, 99));
    stranger.addresses(FAMILY, &format!("addr add {vip}/32 dev eth0"))?;
    let asked = stranger.run("ping", &["-c", "1", "-W", "1", "-I", &vip.to_string(), &nobody.to_string()]);
    ensure!(asked.is_err(), "nobody has {nobody}");
    told(
        &pair,
        &[&format!("|-s cluster -g www -h {vip} -t "), &format!("cluster {vip} address conflict: ")],
    )?;
    let text = fs::read_to_string(&calls)?;
    ensure!(!text.contains("www|cluster"), "what is about a service only: {text}");
    let events: Events = pair.agent(1)?.control().json(&["events"])?;
    ensure!(events.events.iter().all(|event| event.what == "cluster"), "{events:?}");
    Ok(())
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}
