//! One HTTP request over the agent's socket.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Error;
use crate::api::{self, model::Failure};

/// A reload of ten thousand services takes seconds, the end of an agent with programs to stop tens of them.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct Client {
    path: PathBuf,
}

impl Client {
    pub(super) fn new(instance: &str) -> Self {
        Self { path: api::socket_path(instance) }
    }

    /// The body of a successful answer.
    pub(super) async fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.request(Method::GET, path, Vec::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.request(Method::POST, path, body).await
    }

    /// Within a time: an agent that was stopped accepts, and says nothing.
    async fn request(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let answered = timeout(PATIENCE, self.exchange(method, path, body)).await;
        answered
            .unwrap_or_else(|_| Err(Error::Silent { path: self.path.clone(), seconds: PATIENCE.as_secs() }))
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let stream = UnixStream::connect(&self.path).await.map_err(|error| self.not_reached(&error))?;
        let cut_off = |error: hyper::Error| Error::Interrupted(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(cut_off)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "lvsd")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::new(error.to_string()))?;
        // Owns the sender: the connection ends when the exchange does.
        let exchange = async move {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        let (answer, _) = tokio::join!(exchange, connection);
        let (status, body) = answer.map_err(cut_off)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        match serde_json::from_slice::<Failure>(&body) {
            Ok(failure) => Err(failure.into()),
            Err(_) => Err(Failure::new(format!("the agent answers {status}")).into()),
        }
    }

    fn not_reached(&self, error: &io::Error) -> Error {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Error::NotPermitted { path },
            _ => Error::NoAgent { path },
        }
    }
}

/// For a value in a query (RFC 3986 section 2.1).
pub(super) fn escape(value: &str) -> String {
    let mut escaped = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_the_query() {
        assert_eq!(escape("web-1.a_b~"), "web-1.a_b~");
        assert_eq!(escape("a&limit=1 ü"), "a%26limit%3D1%20%C3%BC");
    }

    #[tokio::test]
    async fn an_agent_that_is_not_there_is_told() {
        let client = Client::new("no-such-instance");
        let error = client.get("/v1/status").await.unwrap_err().to_string();
        assert_eq!(error, "no agent answers at /run/no-such-instance/lvsd.sock: is lvsd running?");
    }
}
