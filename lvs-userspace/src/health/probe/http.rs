//! `type: http`: one request over a connection of its own.

use std::pin::pin;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use regex::bytes::Regex;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Failure, dial};
use crate::config::model::{Check, HttpProbe};
use crate::health::hexadecimal::hexadecimal;

/// So much of a body is read and looked at, whatever the server sends.
const MAX_BODY: usize = 1 << 20;

pub(super) async fn probe(check: &Check, probe: &HttpProbe) -> Result<String, Failure> {
    let stream = dial::tcp(check).await?;
    exchange(stream, request(check, probe)?, probe).await
}

fn request(check: &Check, probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = probe.host.clone().unwrap_or_else(|| match (check.address, check.port) {
        (std::net::IpAddr::V6(address), 80) => format!("[{address}]"),
        (address, 80) => address.to_string(),
        (address, port) => std::net::SocketAddr::new(address, port).to_string(),
    });
    let mut request = Request::builder()
        .method(probe.method.as_str())
        .uri(&probe.path)
        .header(HOST, host)
        .header(CONNECTION, "close");
    if !probe.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(USER_AGENT.as_str())) {
        request = request.header(USER_AGENT, concat!("lvsd/", env!("CARGO_PKG_VERSION")));
    }
    for (name, value) in &probe.headers {
        request = request.header(name, value);
    }
    // The configuration's reader has tried all parts; this can only fail if it was wrong.
    request.body(Empty::new()).map_err(|error| Failure::Unexpected(format!("no request: {error}")))
}

/// Sends the request and judges the answer.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Empty<Bytes>>,
    probe: &HttpProbe,
) -> Result<String, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await.map_err(broken)?;
        judge(response, probe).await
    });
    let mut connection = pin!(connection);
    // The connection must be driven for the answer to come. It ends first where the server closes it while
    // the last bytes of the body are still to be taken out of it.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(broken(error)),
        },
    }
}

async fn judge(response: Response<Incoming>, probe: &HttpProbe) -> Result<String, Failure> {
    let status = response.status().as_u16();
    let answered = status.to_string();
    if !probe.status.iter().any(|(from, to)| (*from..=*to).contains(&status)) {
        return Err(Failure::Unexpected(answered));
    }
    if probe.body.is_none() && probe.body_regex.is_none() && probe.body_sha256.is_none() {
        return Ok(answered);
    }
    let (body, is_whole) = read(response.into_body()).await?;
    let lacks = |what: String| Err(Failure::Unexpected(format!("{answered}, the body {what}")));
    if let Some(text) = &probe.body
        && !body.windows(text.len()).any(|window| window == text.as_bytes())
    {
        return lacks(format!("does not contain {text:?}"));
    }
    if let Some(pattern) = &probe.body_regex {
        let regex = Regex::new(pattern).map_err(|error| Failure::Unexpected(error.to_string()))?;
        if !regex.is_match(&body) {
            return lacks(format!("does not match {pattern:?}"));
        }
    }
    if let Some(digest) = &probe.body_sha256 {
        if !is_whole {
            return lacks(format!("is longer than {MAX_BODY} bytes"));
        }
        let found = Sha256::digest(&body);
        if found.as_slice() != digest {
            return lacks(format!("has the SHA-256 {}", hexadecimal(&found)));
        }
    }
    Ok(answered)
}

/// The body up to [`MAX_BODY`], and whether that is all of it.
async fn read(mut incoming: Incoming) -> Result<(Vec<u8>, bool), Failure> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        if let Some(data) = frame.map_err(broken)?.data_ref() {
            let room = MAX_BODY - body.len();
            body.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((body, false));
            }
        }
    }
    Ok((body, true))
}

fn broken(error: hyper::Error) -> Failure {
    // The reason below tells more than "connection error" above it.
    let mut reason: &dyn std::error::Error = &error;
    while let Some(below) = reason.source() {
        reason = below;
    }
    Failure::Broken(reason.to_string())
}
