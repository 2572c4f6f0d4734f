//! A POST of JSON, signed so that the receiver knows who it is from.

use std::fmt::Write as _;
use std::fs;

use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Failure;
use crate::alert::message::Message;
use crate::config::model::WebhookAlert;
use crate::tls;

/// What is posted.
#[derive(Serialize)]
struct Body<'a> {
    version: u32,
    /// The director's name.
    host: String,
    subject: String,
    #[serde(flatten)]
    message: &'a Message,
}

pub(super) async fn deliver(alert: &WebhookAlert, message: &Message) -> Result<(), Failure> {
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let body = Body { version: 1, host, subject: message.subject(), message };
    let body = serde_json::to_vec(&body).map_err(Failure::last)?;
    let request = request(alert, message.unix_seconds, body)?;
    let stream = TcpStream::connect((alert.host.as_str(), alert.port)).await.map_err(Failure::passing)?;
    let status = match alert.is_https {
        false => post(stream, request).await?,
        true => {
            let stream = tls::connect(&alert.trust, &alert.host, &["http/1.1"], stream).await;
            post(stream.map_err(Failure::passing)?, request).await?
        }
    };
    match status.as_u16() {
        200..=299 => Ok(()),
        // What is wrong with it now will be wrong with it later.
        400..=499 if ![408, 429].contains(&status.as_u16()) => {
            Err(Failure::Final(format!("status {status}")))
        }
        _ => Err(Failure::Passing(format!("status {status}"))),
    }
}

fn request(alert: &WebhookAlert, unix_seconds: u64, body: Vec<u8>) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::post(&alert.path)
        .header(HOST, &alert.authority)
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("lvsd/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &alert.secret_file {
        let secret = fs::read_to_string(path)
            .map_err(|error| Failure::Passing(format!("{}: {error}", path.display())))?;
        let signature = signature(secret.trim_end().as_bytes(), unix_seconds, &body)?;
        request = request.header("X-Lvs-Timestamp", unix_seconds).header("X-Lvs-Signature", signature);
    }
    request.body(Full::new(Bytes::from(body))).map_err(Failure::last)
}

/// `sha256=` and the HMAC of `SECONDS.BODY`: an old message cannot be passed off as a new one.
fn signature(secret: &[u8], unix_seconds: u64, body: &[u8]) -> Result<String, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(Failure::last)?;
    mac.update(unix_seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").map_err(Failure::last)?;
    }
    Ok(text)
}

async fn post<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::passing)?;
    let exchange = async move { sender.send_request(request).await.map(|answer| answer.status()) };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        status = &mut exchange => status.map_err(Failure::passing),
        ended = &mut connection => {
            ended.map_err(Failure::passing)?;
            exchange.await.map_err(Failure::passing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `printf '1795645997.{"a":1}' | openssl dgst -sha256 -hmac secret` has it.
    #[test]
    fn the_signature_is_openssls() {
        let expected = "sha256=b99150c1fc049083a8d0632a4f2a634c7cf28f2578ec06b8522e3da6aca2b6ae";
        assert_eq!(signature(b"secret", 1_795_645_997, br#"{"a":1}"#).unwrap(), expected);
    }
}
