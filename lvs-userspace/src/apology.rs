//! The page that the director itself serves while a service has not enough real servers: status 503 for whatever
//! is asked.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::web::{self, Bounds};

/// A page is no download.
const LARGEST: u64 = 1 << 20;
/// Clients are asked to come back after so many seconds.
const RETRY: &str = "30";
const BOUNDS: Bounds = Bounds { at_once: 256, patience: Duration::from_secs(5) };

/// What is served where there is no page to be had.
const PLAIN: &str = "<!DOCTYPE html>\n<html lang=\"en\"><title>Service unavailable</title>\n\
    <p>This service is not available at the moment. Please try again later.</p></html>\n";

/// A body and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    body: Bytes,
    kind: &'static str,
}

impl Page {
    /// One sentence.
    pub(crate) const fn plain() -> Self {
        Self { body: Bytes::from_static(PLAIN.as_bytes()), kind: "text/html; charset=utf-8" }
    }

    /// The content of a file, which is HTML unless its name ends in `.txt` or `.json`. The error is a
    /// reason, without the path.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let mut body = Vec::new();
        let file = File::open(path).map_err(|error| error.kind().to_string())?;
        file.take(LARGEST + 1).read_to_end(&mut body).map_err(|error| error.kind().to_string())?;
        if body.len() as u64 > LARGEST {
            return Err(format!("it has more than {LARGEST} bytes"));
        }
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("txt") => "text/plain; charset=utf-8",
            Some("json") => "application/json",
            _ => "text/html; charset=utf-8",
        };
        Ok(Self { body: body.into(), kind })
    }

    fn answer(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Serves the latest page until the sender of pages is gone.
pub(crate) async fn serve(listener: TcpListener, pages: watch::Receiver<Arc<Page>>) {
    let mut end = pages.clone();
    let end = async move { while end.changed().await.is_ok() {} };
    let answer = |_| {
        let page = Arc::clone(&pages.borrow());
        async move { page.answer() }
    };
    web::serve(listener, answer, BOUNDS, end).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::listen;
    use crate::web::tests::ask;

    fn page(text: &'static str) -> Arc<Page> {
        Arc::new(Page { body: text.into(), kind: "text/plain" })
    }

    #[tokio::test]
    async fn whatever_is_asked_the_latest_page_is_the_answer() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, pages) = watch::channel(page("sorry"));
        let server = tokio::spawn(serve(listener, pages));
        let said = ask(address, b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert_eq!((head.lines().next(), body), (Some("HTTP/1.1 503 Service Unavailable"), "sorry"));
        for header in ["retry-after: 30", "content-type: text/plain", "content-length: 5"] {
            assert!(head.lines().any(|line| line == header), "no {header} in {head}");
        }
        sender.send(page("another")).unwrap();
        assert!(ask(address, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("\r\n\r\nanother"));
        drop(sender);
        server.await.unwrap();
    }

    #[test]
    fn pages_are_read_within_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sorry.txt");
        assert_eq!(Page::read(&path), Err("entity not found".to_owned()));
        std::fs::write(&path, "later").unwrap();
        let expected = Page { body: "later".into(), kind: "text/plain; charset=utf-8" };
        assert_eq!(Page::read(&path), Ok(expected));
        std::fs::write(&path, vec![b'x'; LARGEST as usize + 1]).unwrap();
        assert_eq!(Page::read(&path), Err("it has more than 1048576 bytes".to_owned()));
    }
}
