//! `type: grpc`: grpc.health.v1.Health/Check over HTTP/2.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;

use super::http::{beside, broken};
use super::http2::crew;
use super::talk::server_name;
use super::{Answer, Failure, dial};
use crate::config::model::{Check, GrpcProbe, TlsMode};
use crate::tls;

/// An answer is a few bytes.
const MOST: usize = 4_096;
const SERVING: u8 = 1;

pub(super) async fn probe(check: &Check, probe: &GrpcProbe) -> Result<Answer, Failure> {
    let stream = dial::tcp(check).await?;
    match probe.secure.mode {
        TlsMode::None | TlsMode::Starttls => exchange(check, probe, "http", stream).await.map(Answer::from),
        TlsMode::Tls => {
            let name = server_name(check, &probe.secure);
            let stream =
                tls::connect(&probe.secure.trust, &name, &["h2"], stream).await.map_err(Failure::Tls)?;
            let certificate_end = tls::end_of(&stream);
            Ok(Answer { said: exchange(check, probe, "https", stream).await?, certificate_end })
        }
    }
}

async fn exchange<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(
    check: &Check,
    probe: &GrpcProbe,
    scheme: &str,
    stream: S,
) -> Result<String, Failure> {
    let target = SocketAddr::new(check.address, check.port);
    let request = Request::post(format!("{scheme}://{target}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(message(&probe.service))))
        .map_err(|error| Failure::Own(format!("no request: {error}")))?;
    let (crew, work) = crew();
    let answer = async {
        let (mut sender, connection) = http2::handshake(crew, TokioIo::new(stream)).await.map_err(broken)?;
        beside(connection, async { judge(sender.send_request(request).await.map_err(broken)?).await }).await
    };
    tokio::pin!(answer, work);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        () = &mut work => answer.await,
    }
}

/// HealthCheckRequest { service = 1 }, not compressed, with its length in front.
fn message(service: &str) -> Vec<u8> {
    let mut body = Vec::new();
    if !service.is_empty() {
        body.push(0x0a);
        // A name is shorter than 4096 bytes: two septets.
        let length = u16::try_from(service.len()).unwrap_or_default();
        if length > 127 {
            body.push((length & 0x7f) as u8 | 0x80);
            body.push((length >> 7) as u8);
        } else {
            body.push(length as u8);
        }
        body.extend(service.as_bytes());
    }
    let mut message = vec![0];
    message.extend(u32::try_from(body.len()).unwrap_or_default().to_be_bytes());
    message.extend(body);
    message
}

async fn judge(answer: hyper::Response<hyper::body::Incoming>) -> Result<String, Failure> {
    let (head, mut incoming) = answer.into_parts();
    let mut trailers = head.headers;
    if head.status != 200 {
        return Err(Failure::Unexpected(format!("status {}", head.status.as_u16())));
    }
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        match frame.map_err(broken)?.into_data() {
            Ok(data) if body.len() + data.len() <= MOST => body.extend_from_slice(&data),
            Ok(_) => return Err(Failure::Unexpected(format!("more than {MOST} bytes"))),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    let status = trailers.get("grpc-status").and_then(|status| status.to_str().ok()).unwrap_or("0");
    if status != "0" {
        return Err(Failure::Unexpected(format!("grpc status {status}")));
    }
    // HealthCheckResponse { status = 1 }: UNKNOWN is left out.
    let status = match body.get(5..) {
        Some([0x08, status, ..]) => *status,
        _ => 0,
    };
    match status {
        SERVING => Ok("SERVING".to_owned()),
        2 => Err(Failure::Unexpected("NOT_SERVING".to_owned())),
        other => Err(Failure::Unexpected(format!("serving status {other}"))),
    }
}
