//! `type: http` and `type: https`: one request over a connection of its own.

use std::net::{IpAddr, SocketAddr};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

use super::content::{self, MOST};
use super::http2::crew;
use super::{Answer, Failure, dial};
use crate::config::model::{Check, HttpProbe, Secure};
use crate::health::hexadecimal::hexadecimal;
use crate::tls;

pub(super) async fn probe(check: &Check, probe: &HttpProbe) -> Result<Answer, Failure> {
    let stream = dial::tcp(check).await?;
    let Some(secure) = &probe.secure else { return exchange(stream, check, probe).await.map(Answer::from) };
    let protocol = if probe.http2 { "h2" } else { "http/1.1" };
    let name = server_name(check, probe, secure);
    let stream = tls::connect(&secure.trust, &name, &[protocol], stream).await.map_err(Failure::Tls)?;
    let certificate_end = tls::end_of(&stream);
    Ok(Answer { said: exchange(stream, check, probe).await?, certificate_end })
}

/// The name that is asked for and must be in the certificate.
fn server_name(check: &Check, probe: &HttpProbe, secure: &Secure) -> String {
    let host =
        || probe.host.as_ref().map(|host| host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name));
    let name = secure.server_name.as_deref().or_else(host);
    name.map_or_else(|| check.address.to_string(), str::to_owned)
}

fn authority(check: &Check, probe: &HttpProbe) -> String {
    let usual = if probe.secure.is_some() { 443 } else { 80 };
    probe.host.clone().unwrap_or_else(|| match (check.address, check.port) {
        (IpAddr::V6(address), port) if port == usual => format!("[{address}]"),
        (address, port) if port == usual => address.to_string(),
        (address, port) => SocketAddr::new(address, port).to_string(),
    })
}

fn request(check: &Check, probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, Failure> {
    let authority = authority(check, probe);
    let request = Request::builder().method(probe.method.as_str());
    // HTTP/2 has both in one (RFC 9113 section 8.3.1).
    let mut request = match probe.http2 {
        true => {
            let scheme = if probe.secure.is_some() { "https" } else { "http" };
            request.uri(format!("{scheme}://{authority}{}", probe.path))
        }
        false => request.uri(&probe.path).header(HOST, authority).header(CONNECTION, "close"),
    };
    if !probe.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(USER_AGENT.as_str())) {
        request = request.header(USER_AGENT, concat!("lvsd/", env!("CARGO_PKG_VERSION")));
    }
    for (name, value) in &probe.headers {
        request = request.header(name, value);
    }
    // The configuration's reader has tried all parts; this can only fail if it was wrong.
    request.body(Empty::new()).map_err(|error| Failure::Own(format!("no request: {error}")))
}

/// Sends the request and judges the answer. The connection must be driven for the answer to come, and ends
/// first where the server closes it while the last bytes of the body are still to be taken out of it.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    check: &Check,
    probe: &HttpProbe,
) -> Result<String, Failure> {
    let request = request(check, probe)?;
    if probe.http2 {
        let (crew, work) = crew();
        let begun = http2::handshake(crew, TokioIo::new(stream));
        let answer = async {
            let (mut sender, connection) = begun.await.map_err(broken)?;
            beside(connection, async {
                judge(sender.send_request(request).await.map_err(broken)?, probe).await
            })
            .await
        };
        tokio::pin!(answer, work);
        return tokio::select! {
            biased;
            answer = &mut answer => answer,
            () = &mut work => answer.await,
        };
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    beside(connection, async { judge(sender.send_request(request).await.map_err(broken)?, probe).await })
        .await
}

pub(super) async fn beside<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::pin!(connection, exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(broken(error)),
        },
    }
}

async fn judge(response: Response<Incoming>, probe: &HttpProbe) -> Result<String, Failure> {
    let answered = response.status().as_u16().to_string();
    let status = response.status().as_u16();
    if !probe.status.iter().any(|(from, to)| (*from..=*to).contains(&status)) {
        return Err(Failure::Unexpected(answered));
    }
    if probe.body.is_none() && probe.body_regex.is_none() && probe.body_sha256.is_none() {
        return Ok(answered);
    }
    let (body, is_whole) = read(response.into_body()).await?;
    let lacks = |what: String| Err(Failure::Unexpected(format!("{answered}, the body {what}")));
    if let Some(what) = content::lacks(&body, probe.body.as_ref(), probe.body_regex.as_ref())? {
        return lacks(what);
    }
    if let Some(digest) = &probe.body_sha256 {
        if !is_whole {
            return lacks(format!("is longer than {MOST} bytes"));
        }
        let found = Sha256::digest(&body);
        if found.as_slice() != digest {
            return lacks(format!("has the SHA-256 {}", hexadecimal(&found)));
        }
    }
    Ok(answered)
}

/// The body up to [`MOST`], and whether that is all of it.
async fn read(mut incoming: Incoming) -> Result<(Vec<u8>, bool), Failure> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        if let Some(data) = frame.map_err(broken)?.data_ref() {
            let room = MOST - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((body, false));
            }
        }
    }
    Ok((body, true))
}

pub(super) fn broken(error: hyper::Error) -> Failure {
    // The reason below tells more than "connection error" above it.
    let mut reason: &dyn std::error::Error = &error;
    while let Some(below) = reason.source() {
        reason = below;
    }
    Failure::Broken(reason.to_string())
}
