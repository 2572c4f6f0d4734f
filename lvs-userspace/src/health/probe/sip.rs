//! `type: sip`: OPTIONS (RFC 3261 section 11).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use super::talk::Talk;
use super::{Failure, dial, udp};
use crate::config::model::{Check, SipProbe, Transport};

/// Tells our requests apart.
static NEXT: AtomicU64 = AtomicU64::new(1);

pub(super) async fn probe(check: &Check, probe: &SipProbe) -> Result<String, Failure> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let call = format!("{number}-{}", std::process::id());
    let line = match probe.transport {
        Transport::Udp => {
            let socket = dial::udp(check).await?;
            let local = socket.local_addr().map_err(Failure::Connecting)?;
            socket.send(request(check, "UDP", local, &call).as_bytes()).await.map_err(Failure::Connecting)?;
            loop {
                let answer = udp::receive(&socket).await?;
                let answer = String::from_utf8_lossy(&answer).into_owned();
                let line = answer.lines().next().unwrap_or_default().to_owned();
                // 1xx says that the answer is to come.
                if !line.starts_with("SIP/2.0 1") {
                    break line;
                }
            }
        }
        Transport::Tcp => {
            let mut talk = Talk::open(check, None).await?;
            let local = SocketAddr::new(check.source.unwrap_or(unspecified(check.address)), 0);
            talk.send(request(check, "TCP", local, &call).as_bytes()).await?;
            talk.line().await?
        }
    };
    let status = line.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
    let shown: String = line.chars().filter(|letter| !letter.is_control()).take(60).collect();
    match status {
        Some(status) if probe.status.iter().any(|(from, to)| (*from..=*to).contains(&status)) => {
            Ok(status.to_string())
        }
        _ => Err(Failure::Unexpected(format!("answered {shown:?}"))),
    }
}

const fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

fn request(check: &Check, transport: &str, local: SocketAddr, call: &str) -> String {
    let target = SocketAddr::new(check.address, check.port);
    format!(
        "OPTIONS sip:{target} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {local};branch=z9hG4bK{call};rport\r\n\
         Max-Forwards: 70\r\n\
         To: <sip:{target}>\r\n\
         From: <sip:lvsd@{local}>;tag={call}\r\n\
         Call-ID: {call}@lvsd\r\n\
         CSeq: 1 OPTIONS\r\n\
         Contact: <sip:lvsd@{local}>\r\n\
         Accept: application/sdp\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
