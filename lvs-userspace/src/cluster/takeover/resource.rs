//! Programs that run where a group is: each is called with `start` when the group comes, and with `stop` when it
//! goes, as the init scripts of old are.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::timeout;

use crate::config::model::{Group, Resource};
use crate::program::{self, Program};

/// Bytes of a program's output that are read.
const OUTPUT: usize = 4096;
/// Of them, characters that are told.
const TOLD: usize = 200;

/// A program did not do what it was called for.
#[derive(Debug, thiserror::Error)]
#[error("`{command} {action}` {reason}")]
pub struct Failure {
    /// With its arguments.
    command: String,
    action: &'static str,
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("cannot be run: {0}")]
    Run(std::io::Error),
    #[error("was not done after {0:?} and has been killed")]
    Timeout(Duration),
    #[error("failed: {status}{output}")]
    Failed { status: ExitStatus, output: String },
}

/// First to last; those behind one that fails are not started.
pub(super) async fn start(group: &Group) -> Result<(), Failure> {
    for resource in &group.resources {
        run(group, resource, "start").await?;
    }
    Ok(())
}

/// Last to first, all of them, whatever fails.
pub(super) async fn stop(group: &Group) -> Vec<Failure> {
    let mut failures = Vec::new();
    for resource in group.resources.iter().rev() {
        failures.extend(run(group, resource, "stop").await.err());
    }
    failures
}

/// The program is killed, with its children, when the future is dropped or its time is up.
async fn run(group: &Group, resource: &Resource, action: &'static str) -> Result<(), Failure> {
    let mut command = resource.command.clone();
    command.push(action.to_owned());
    let environment = vec![("LVS_GROUP", group.name.clone())];
    let program = Program { command, environment, input: &[], keep: OUTPUT };
    let reason = match timeout(resource.timeout, program::run(&program)).await {
        Ok(Ok(finished)) if finished.status.success() => return Ok(()),
        Ok(Ok(finished)) => Reason::Failed { status: finished.status, output: told(&finished.output) },
        Ok(Err(error)) => Reason::Run(error),
        Err(_) => Reason::Timeout(resource.timeout),
    };
    Err(Failure { command: resource.command.join(" "), action, reason })
}

/// The last of its lines, as the end of a sentence.
fn told(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(String::new, |line| {
        let told: String = line.chars().filter(|character| !character.is_control()).take(TOLD).collect();
        format!(", saying: {told}")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn group(scripts: &[&str], timeout: Duration) -> Group {
        let resources = scripts.iter().map(|script| Resource {
            command: ["sh", "-c", script, "name"].map(str::to_owned).to_vec(),
            timeout,
        });
        Group {
            name: "web".to_owned(),
            order: Vec::new(),
            addresses: Vec::new(),
            resources: resources.collect(),
            fence: None,
        }
    }

    const ENOUGH: Duration = Duration::from_secs(30);

    fn log(place: &Path, name: &str) -> String {
        format!("echo {name} $1 $LVS_GROUP >> {}/log", place.display())
    }

    #[tokio::test]
    async fn they_start_first_to_last_and_stop_last_to_first() {
        let place = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| log(place.path(), name));
        let group = group(&[&one, &two], ENOUGH);
        start(&group).await.unwrap();
        assert!(stop(&group).await.is_empty());
        let log = fs::read_to_string(place.path().join("log")).unwrap();
        assert_eq!(log, "one start web\ntwo start web\ntwo stop web\none stop web\n");
    }

    #[tokio::test]
    async fn a_failed_start_is_the_last_and_a_failed_stop_is_not() {
        let place = tempfile::tempdir().unwrap();
        let [one, three] = ["one", "three"].map(|name| log(place.path(), name));
        let bad = "echo first; echo no such disk >&2; exit 3";
        let group = group(&[&one, bad, &three], ENOUGH);
        let failure = start(&group).await.unwrap_err().to_string();
        assert!(failure.ends_with("name start` failed: exit status: 3, saying: no such disk"), "{failure}");
        let failures = stop(&group).await;
        assert_eq!(failures.len(), 1, "{failures:?}");
        let log = fs::read_to_string(place.path().join("log")).unwrap();
        assert_eq!(log, "one start web\nthree stop web\none stop web\n");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_and_the_others_are_stopped_all_the_same() {
        let place = tempfile::tempdir().unwrap();
        let one = log(place.path(), "one");
        let pid = format!("echo $$ > {}/pid; exec sleep 600", place.path().display());
        let mut group = group(&[&one, &pid], ENOUGH);
        group.resources[1].timeout = Duration::from_millis(500);
        let failures = stop(&group).await;
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].to_string().ends_with("was not done after 500ms and has been killed"));
        assert_eq!(fs::read_to_string(place.path().join("log")).unwrap(), "one stop web\n");
        let pid = fs::read_to_string(place.path().join("pid")).unwrap();
        let status = Path::new("/proc").join(pid.trim()).join("status");
        let gone = async {
            while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(ENOUGH, gone).await.unwrap();
        let missing = Group { resources: group.resources[..1].to_vec(), ..group.clone() };
        let mut missing = missing;
        missing.resources[0].command = vec!["/no/such/program".to_owned()];
        let failure = start(&missing).await.unwrap_err().to_string();
        assert!(failure.starts_with("`/no/such/program start` cannot be run: "), "{failure}");
    }
}
