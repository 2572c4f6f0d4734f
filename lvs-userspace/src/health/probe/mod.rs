//! One attempt, one outcome. All the IO of health checks is here, and nothing is decided.

mod content;
mod dial;
mod dns;
mod exchange;
mod external;
mod ftp;
mod grpc;
mod http;
mod http2;
mod icmp;
mod ldap;
mod mysql;
mod path;
mod pgsql;
mod radius;
mod redis;
mod sip;
mod talk;
mod tcp;
mod text;
mod udp;

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::watch::{Certificate, Finding, Outcome};
use crate::config::model::{Check, Probe};
use crate::dataplane::Probes;
use crate::tls;

/// Programs that run at the same time; others wait for their turn.
static PROGRAMS: Semaphore = Semaphore::const_new(64);

/// Why a probe did not pass.
#[derive(Debug, Error)]
enum Failure {
    #[error("no connection within {} s", .0.as_secs_f64())]
    NoConnection(Duration),
    #[error("no answer within {} s", .0.as_secs_f64())]
    NoAnswer(Duration),
    /// The agent's own side: no socket, no such interface, no such source address.
    #[error("{what}: {}", .error.kind())]
    Local { what: &'static str, error: io::Error },
    /// The agent's own side as well: a file, a program.
    #[error("{0}")]
    Own(String),
    #[error("{}", .0.kind())]
    Connecting(io::Error),
    #[error("TLS: {0}")]
    Tls(tls::Error),
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server has answered, but not as it should.
    #[error("{0}")]
    Unexpected(String),
}

impl Failure {
    /// The agent's own side is at fault; the server may be well or not.
    const fn is_own(&self) -> bool {
        use tls::Error::{Authorities, File, Name};
        matches!(self, Self::Local { .. } | Self::Own(_) | Self::Tls(Authorities(_) | File { .. } | Name(_)))
    }
}

/// What a probe that passed has found.
struct Answer {
    /// In a few words.
    said: String,
    /// When the server's certificate ends, in seconds since 1970.
    certificate_end: Option<u64>,
}

impl From<String> for Answer {
    fn from(said: String) -> Self {
        Self { said, certificate_end: None }
    }
}

/// Probes once; takes as long as the check's timeout allows and no longer. Without `probes` a check that takes
/// the path of the clients' packets finds out nothing.
pub async fn run(check: &Check, probes: Option<&Probes>) -> Outcome {
    // Nobody closes it, and without a turn the program is run all the same.
    let _turn = match check.probe {
        Probe::External(_) => PROGRAMS.acquire().await.ok(),
        _ => None,
    };
    let begun = Instant::now();
    let result = match check.path {
        // Apart, as in `attempt`: the others need no room for what it keeps.
        Some(_) => Box::pin(path::take(probes, in_time(check))).await,
        None => in_time(check).await,
    };
    let word = check.probe.word();
    let mut certificate = None;
    let (finding, summary) = match result {
        Ok(Answer { said, certificate_end }) => {
            let remark;
            (certificate, remark) = judge(check, certificate_end);
            (Finding::Passed, format!("{word} {said}{remark}"))
        }
        Err(Failure::Unexpected(answer)) => (Finding::Failed, format!("{word} {answer}")),
        Err(failure) if failure.is_own() => (Finding::Inconclusive, format!("{word}: {failure}")),
        Err(failure) => (Finding::Failed, format!("{word}: {failure}")),
    };
    Outcome { finding, summary, took: begun.elapsed(), certificate }
}

/// The certificate, and what is to be said about it: `, the certificate ends in 3 days`.
fn judge(check: &Check, end: Option<u64>) -> (Option<Certificate>, String) {
    let (Some(end), Some(secure)) = (end, check.probe.secure()) else { return (None, String::new()) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(end).saturating_sub(now);
    let ends_soon = left < secure.expiry_warning;
    let remark = match ends_soon {
        true => format!(", the certificate ends in {} days", left.as_secs() / 86_400),
        false => String::new(),
    };
    (Some(Certificate { end, ends_soon }), remark)
}

/// Probes for as long as the check's timeout allows.
async fn in_time(check: &Check) -> Result<Answer, Failure> {
    let limit = check.timing.timeout;
    timeout(limit, attempt(check)).await.unwrap_or(Err(Failure::NoAnswer(limit)))
}

/// The commonest are part of the future; the others would make each of those as large as the largest of them,
/// some twenty KiB, thousands of which may be under way.
async fn attempt(check: &Check) -> Result<Answer, Failure> {
    let said = match &check.probe {
        Probe::Icmp => icmp::probe(check).await,
        Probe::Tcp => tcp::probe(check).await,
        Probe::Udp(probe) => Box::pin(udp::probe(check, probe)).await,
        Probe::Http(probe) => return Box::pin(http::probe(check, probe)).await,
        Probe::Dns(probe) => Box::pin(dns::probe(check, probe)).await,
        Probe::Text(probe) => return Box::pin(text::probe(check, probe)).await,
        Probe::Exchange(probe) => return Box::pin(exchange::probe(check, probe)).await,
        Probe::Redis(login) => Box::pin(redis::probe(check, login.as_ref())).await,
        Probe::Mysql(probe) => Box::pin(mysql::probe(check, probe)).await,
        Probe::Pgsql(probe) => Box::pin(pgsql::probe(check, probe)).await,
        Probe::Ldap(probe) => return Box::pin(ldap::probe(check, probe)).await,
        Probe::Radius(probe) => Box::pin(radius::probe(check, probe)).await,
        Probe::Sip(probe) => Box::pin(sip::probe(check, probe)).await,
        Probe::Grpc(probe) => return Box::pin(grpc::probe(check, probe)).await,
        Probe::External(probe) => Box::pin(external::probe(check, probe)).await,
    };
    said.map(Answer::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::watch::tests::check;

    /// Ten thousand that wait for an answer are to take a few MiB.
    #[test]
    fn a_probe_under_way_is_small() {
        let check = check(1);
        let size = size_of_val(&run(&check, None));
        assert!(size <= 1_024, "{size} bytes");
    }
}
