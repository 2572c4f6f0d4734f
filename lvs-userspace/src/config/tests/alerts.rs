//! Alerts: what is read, and what is said about mistakes.

use super::mistakes::said;
use super::model::{AlertChannel, TlsMode};
use super::*;

fn file(alerts: &str) -> String {
    format!(
        "version: 1
interfaces: [eth0]
alerts:
{alerts}
services:
  - name: www
    vip: 10.0.0.3
    port: 80
    protocol: tcp
    real_servers: [{{address: 192.168.0.1}}]
"
    )
}

#[test]
fn every_kind_of_alert_is_read() {
    let text = file(
        "  - {name: a, type: program, command: [/bin/alert, -x], services: [www], real_servers: [192.168.0.1]}
  - {name: b, type: mail, to: [a@b.c], from: 'Me <d@e.f>', server: mail, tls: starttls, user: me, verify: false}
  - {name: c, type: webhook, url: 'https://[2001:db8::1]/x?y', after: 1m, failures: 10, every: 1h, up: false, group: 0, cluster: false}
  - {name: d, type: syslog, facility: local0, period: 'hr {9am-5pm}'}",
    );
    let alerts = parse(&text, "lvs.yaml").unwrap().alerts;
    assert_eq!(alerts[0].services, ["www"]);
    assert_eq!(alerts[0].real_servers, [address("192.168.0.1")]);
    assert_eq!(alerts.iter().map(|alert| alert.cluster).collect::<Vec<_>>(), [false, true, false, true]);
    let AlertChannel::Program(program) = &alerts[0].channel else { panic!("{:?}", alerts[0]) };
    assert_eq!(program.command, ["/bin/alert", "-x"]);
    let AlertChannel::Mail(mail) = &alerts[1].channel else { panic!("{:?}", alerts[1]) };
    assert_eq!((mail.port, mail.tls, mail.trust.insecure), (25, TlsMode::Starttls, true));
    let AlertChannel::Webhook(hook) = &alerts[2].channel else { panic!("{:?}", alerts[2]) };
    assert_eq!((hook.host.as_str(), hook.port, hook.path.as_str()), ("2001:db8::1", 443, "/x?y"));
    assert_eq!(hook.authority, "[2001:db8::1]");
    assert_eq!((alerts[2].after, alerts[2].every, alerts[2].up), (second(60), Some(second(3600)), false));
    assert_eq!((alerts[2].failures, alerts[3].failures), (10, 1));
    assert_eq!((alerts[2].group, alerts[3].group), (Duration::ZERO, second(5)));
    let AlertChannel::Syslog(syslog) = &alerts[3].channel else { panic!("{:?}", alerts[3]) };
    assert_eq!((syslog.facility, syslog.socket.to_str()), (16, Some("/dev/log")));
}

#[test]
fn mistakes_in_alerts_are_told_at_their_place() {
    for (alerts, expected) in ROWS {
        assert_eq!(said(&file(alerts)), *expected, "{alerts}");
    }
}

#[rustfmt::skip]
const ROWS: &[(&str, &[&str])] = &[
    ("  - {name: a, type: pager}", &[
        "4:21: \"pager\" is not known, at alerts[0].type; expected one of program, mail, webhook, syslog",
    ]),
    ("  - {name: a, type: syslog}\n  - {name: a, type: syslog}", &[
        "5:12: another alert is called a, on line 4, at alerts[1].name; expected a name of its own for each alert",
    ]),
    ("  - {name: a, type: syslog, services: [ftp], real_servers: [192.168.0.9]}", &[
        "4:40: there is no service ftp, at alerts[0].services[0]; expected one of the file's services",
        "4:61: 192.168.0.9 is no real server of any service, at alerts[0].real_servers[0]; expected one of the file's real servers",
    ]),
    ("  - {name: a, type: syslog, facility: local9, period: 'hr {25}', up: maybe}", &[
        "4:39: \"local9\" is no facility of syslog, at alerts[0].facility; expected one of kern, user, mail, daemon, auth, syslog, lpr, news, uucp, cron, authpriv, ftp, local0, local1, local2, local3, local4, local5, local6, local7",
        "4:55: \"hr {25}\" is no period: \"25\" is no hour (0-23, 12am-11pm), at alerts[0].period; expected a period such as `wd {Mon-Fri} hr {9am-6pm}`",
        "4:70: found the text \"maybe\", at alerts[0].up; expected true or false",
    ]),
    ("  - {name: a, type: mail, to: [nobody], from: a@b.c, server: mail, user: me}", &[
        "4:32: \"nobody\" is no mail address, at alerts[0].to[0]; expected a mail address such as admin@example.org or \"Admin <admin@example.org>\"",
        "4:74: a login on a connection that is not encrypted, at alerts[0].user; expected `tls: starttls` or `tls: tls` with it",
    ]),
    ("  - {name: a, type: webhook, url: 'ftp://x', secret_file: secret}", &[
        "4:35: \"ftp://x\" is no URL of a web server, at alerts[0].url; expected a URL such as https://alerts.example.org/hook",
        "4:59: \"secret\" is no absolute path, at alerts[0].secret_file; expected a path that begins with a slash",
    ]),
    ("  - {name: a, type: syslog, failures: 0}", &[
        "4:39: 0 is out of range, at alerts[0].failures; expected a whole number from 1 to 1000",
    ]),
    ("  - {name: a, type: program, command: []}", &[
        "4:39: an empty list, at alerts[0].command; expected a list of at least one item, each item text on one line, of 1 to 4096 bytes",
    ]),
];
