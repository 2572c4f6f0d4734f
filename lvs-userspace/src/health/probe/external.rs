//! `type: external`: a program finds out, as mon or Nagios would have it called.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Failure;
use crate::config::model::{Check, Convention, ExternalProbe};
use crate::program::{Program, run};

/// Of the output: a summary and some lines of detail.
const KEPT: usize = 8 << 10;

pub(super) async fn probe(check: &Check, probe: &ExternalProbe) -> Result<String, Failure> {
    let address = check.address.to_string();
    let fill = |word: &String| word.replace("{address}", &address).replace("{port}", &check.port.to_string());
    let mut command: Vec<String> = probe.command.iter().map(fill).collect();
    let mut environment = vec![("LVS_ADDRESS", address.clone()), ("LVS_PORT", check.port.to_string())];
    if probe.convention == Convention::Mon {
        // The hosts of the group follow the configured arguments.
        command.push(address.clone());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
        environment.extend([
            ("MON_GROUP", address),
            ("MON_SERVICE", "health".to_owned()),
            ("MON_DESCRIPTION", String::new()),
            ("MON_LAST_SUCCESS", now),
        ]);
    }
    let name = command[0].clone();
    let program = Program { command, environment, input: b"", keep: KEPT };
    let finished = run(&program).await.map_err(|error| Failure::Own(format!("{name}: {}", error.kind())))?;
    let output = String::from_utf8_lossy(&finished.output);
    let first = output.lines().next().unwrap_or_default();
    let summary: String = match probe.convention {
        Convention::Mon => first,
        // Performance data is for machines.
        Convention::Nagios => first.split('|').next().unwrap_or_default(),
    }
    .trim()
    .chars()
    .filter(|letter| !letter.is_control())
    .take(200)
    .collect();
    match (probe.convention, finished.status.code()) {
        // Nagios: 1 is a warning, and a server that warns serves.
        (_, Some(0)) | (Convention::Nagios, Some(1)) => {
            Ok(if summary.is_empty() { "ok".to_owned() } else { summary })
        }
        // Nagios: 3 is unknown.
        (Convention::Nagios, Some(3)) => Err(Failure::Own(summary)),
        (_, Some(code)) => Err(Failure::Unexpected(format!("exit {code}: {summary}"))),
        (_, None) => Err(Failure::Own(format!("{name}: {}", finished.status))),
    }
}
