//! Programs in mon's convention: `-s SERVICE -g GROUP -h "HOST ..." -t SECONDS [-u] ARGUMENT...`, the message on
//! standard input, its first line the summary. What mon's own alerts do with it was observed with mon 1.3.6.

use super::Failure;
use crate::alert::message::{CLUSTER, Item, Kind, Message};
use crate::config::model::ProgramAlert;
use crate::program::{Program, run};

/// Of the output, for the log.
const KEPT: usize = 4_096;
/// mon's "service" is what is watched of a group of hosts: ours has one name for it, and another ([`CLUSTER`]) for what is
/// between directors, where mon's "group" is a group of addresses.
const SERVICE: &str = "health";

/// Once for each service: mon's arguments name one group.
pub(super) async fn deliver(alert: &ProgramAlert, message: &Message) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for message in message.by_service() {
        if let Err(failure) = call(alert, &message).await {
            failures.push(failure);
        }
    }
    match failures.is_empty() {
        true => Ok(()),
        // mon does not call twice either: the program may have done its work.
        false => Err(Failure::Final(failures.join("; "))),
    }
}

async fn call(alert: &ProgramAlert, message: &Message) -> Result<(), String> {
    let hosts = hosts(message);
    let (service, group) = names(&message.items[0]);
    let mut command = vec![alert.command[0].clone()];
    let time = message.unix_seconds.to_string();
    for (flag, value) in [("-s", service), ("-g", &group), ("-h", &hosts), ("-t", &time)] {
        command.extend([flag.to_owned(), value.to_owned()]);
    }
    if message.kind == Kind::Up {
        command.push("-u".to_owned());
    }
    command.extend(alert.command[1..].iter().cloned());

    let details: String = message.lines().map(|line| line + "\n").collect();
    let input = format!("{hosts}\n{details}");
    let program = Program {
        environment: environment(message, &hosts, &details),
        command,
        input: input.as_bytes(),
        keep: KEPT,
    };
    let finished = run(&program).await.map_err(|error| format!("{}: {error}", alert.command[0]))?;
    if finished.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&finished.output);
    let said = said.lines().next().unwrap_or_default();
    Err(format!("{} ended with {}: {said}", alert.command[0], finished.status))
}

/// mon's names for what is watched, and of whom.
fn names(item: &Item) -> (&'static str, String) {
    match item.is_of_the_cluster() {
        true => (CLUSTER, item.groups.join(" ")),
        false => (SERVICE, item.service.clone()),
    }
}

/// The convention: hosts that failed, apart by blanks. What is about the service as a whole names it.
fn hosts(message: &Message) -> String {
    let of = |item: &Item| item.server.map(|server| server.ip().to_string()).or_else(|| item.about.clone());
    let mut addresses: Vec<String> = message.items.iter().filter_map(of).collect();
    addresses.dedup();
    match addresses.is_empty() {
        true => message.items[0].service.clone(),
        false => addresses.join(" "),
    }
}

fn environment(message: &Message, hosts: &str, details: &str) -> Vec<(&'static str, String)> {
    let item = &message.items[0];
    // mon: 0 = failure, 1 = ok.
    let (kind, status, result) = match message.kind {
        Kind::Alert => ("failure", "0", "1"),
        Kind::Up => ("up", "1", "0"),
    };
    let (service, group) = names(item);
    let since = message.unix_seconds.saturating_sub(item.seconds).to_string();
    vec![
        ("MON_GROUP", group),
        ("MON_SERVICE", service.to_owned()),
        ("MON_ALERTTYPE", kind.to_owned()),
        ("MON_OPSTATUS", status.to_owned()),
        ("MON_RETVAL", result.to_owned()),
        ("MON_LAST_SUMMARY", hosts.to_owned()),
        ("MON_LAST_OUTPUT", details.to_owned()),
        ("MON_FIRST_FAILURE", since.clone()),
        ("MON_LAST_FAILURE", since),
        ("MON_DESCRIPTION", message.subject()),
    ]
}
