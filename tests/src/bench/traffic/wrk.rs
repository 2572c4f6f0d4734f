//! The HTTP load generator wrk, and what it says.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::lab::namespace::Namespace;

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connections {
    /// A few that stay, with one request after the other.
    Kept,
    /// A new one for every request.
    New,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) requests_per_second: f64,
    /// 99 of 100 answers came within so many microseconds.
    pub(super) percentile_99: f64,
}

const CONNECTIONS: &str = "32";

/// Puts load on the web server at `target` for so many seconds.
///
/// # Errors
/// Requests failed: then the figures mean nothing.
pub(super) fn run(
    client: &Namespace,
    target: SocketAddr,
    connections: Connections,
    seconds: u32,
) -> Result<Answered> {
    let (duration, address) = (format!("{seconds}s"), format!("http://{target}/"));
    let mut arguments =
        vec!["--threads", "1", "--connections", CONNECTIONS, "--duration", &duration, "--latency", &address];
    if connections == Connections::New {
        arguments.extend(["--header", "Connection: close"]);
    }
    let said = client.run("wrk", &arguments)?;
    parse(&said).with_context(|| format!("wrk against {target} said: {said}"))
}

fn parse(said: &str) -> Result<Answered> {
    let value = |name: &str| {
        let mut lines = said.lines().filter_map(|line| line.trim().strip_prefix(name));
        lines.next().map(str::trim).with_context(|| format!("no line {name}"))
    };
    // A request that takes longer than two seconds is a `timeout`: slow, and counted as such by the latency.
    let fails = |line: &str| {
        line.contains("Non-2xx")
            || line.contains("Socket errors") && !line.contains("connect 0, read 0, write 0,")
    };
    ensure!(!said.lines().any(fails), "requests failed");
    Ok(Answered {
        requests_per_second: value("Requests/sec:")?.parse()?,
        percentile_99: microseconds(value("99%")?)?,
    })
}

fn microseconds(text: &str) -> Result<f64> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => f64::NAN,
    };
    ensure!(factor.is_finite(), "{text} has no unit of time");
    Ok(text[..text.len() - unit.len()].parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://10.0.0.11:80/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   561.40us  187.93us   4.57ms   92.73%
    Req/Sec    57.12k     2.10k   59.80k    80.00%
  Latency Distribution
     50%  530.00us
     75%  590.00us
     90%  662.00us
     99%    1.32ms
  56843 requests in 1.00s, 8.46MB read
Requests/sec:  56793.10
Transfer/sec:      8.45MB
";

    #[test]
    fn what_wrk_says() {
        let answered = parse(SAID).unwrap();
        assert_eq!(answered, Answered { requests_per_second: 56_793.1, percentile_99: 1320.0 });
        let failed = SAID.replace("Requests/sec", "  Socket errors: connect 0, read 3\nRequests/sec");
        assert!(parse(&failed).is_err());
        let slow = failed.replace("read 3", "read 0, write 0, timeout 2");
        assert!(parse(&slow).is_ok());
        assert!(parse("").is_err());
        assert_eq!(microseconds("2.50s").unwrap(), 2_500_000.0);
        assert!(microseconds("12").is_err());
    }
}
