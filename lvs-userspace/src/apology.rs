//! The page that the director itself serves while a service has not enough real servers: status 503 for whatever
//! is asked over HTTP/1.1. What a client may take is bounded: time, header, body, and connections at the same time.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A page is no download.
const LARGEST_PAGE: u64 = 1 << 20;
/// Clients are asked to come back after so many seconds.
const RETRY: &str = "30";
/// Connections at the same time; others wait in the kernel until one ends.
const AT_ONCE: usize = 256;
const BACKLOG: i32 = 1_024;
/// Until a request's header is there; a whole connection may take twice as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST_HEADER: usize = 16 << 10;
/// So much of a request's body is read before the answer, so that the client is there to hear it.
const LARGEST_BODY: usize = 64 << 10;
/// After an error of the machine, such as no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// For connections under way when the page is no longer wanted.
const FAREWELL: Duration = Duration::from_secs(2);

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
        file.take(LARGEST_PAGE + 1).read_to_end(&mut body).map_err(|error| error.kind().to_string())?;
        if body.len() as u64 > LARGEST_PAGE {
            return Err(format!("it has more than {LARGEST_PAGE} bytes"));
        }
        let kind = match path.extension().and_then(|extension| extension.to_str()) {
            Some("txt") => "text/plain; charset=utf-8",
            Some("json") => "application/json",
            _ => "text/html; charset=utf-8",
        };
        Ok(Self { body: body.into(), kind })
    }
}

/// Listens at a VIP, whether or not this machine has it as an address by now (`IP_FREEBIND`).
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    match address.ip() {
        IpAddr::V4(_) => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    // Connections of an earlier time may linger.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves the latest page until the sender of pages is gone.
pub(crate) async fn serve(listener: TcpListener, mut pages: watch::Receiver<Arc<Page>>, patience: Duration) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            changed = pages.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            accepted = listener.accept(), if running.len() < AT_ONCE => match accepted {
                Ok((stream, _)) => {
                    let page = Arc::clone(&pages.borrow());
                    running.push(timeout(2 * patience, apologise(stream, page, patience)));
                }
                Err(_) => sleep(PAUSE).await,
            },
            Some(_) = running.next(), if !running.is_empty() => {}
        }
    }
    drop(listener);
    let rest = async { while running.next().await.is_some() {} };
    // Who is not done by then is cut off.
    timeout(FAREWELL, rest).await.ok();
}

/// One request, one answer.
async fn apologise(stream: TcpStream, page: Arc<Page>, patience: Duration) {
    let service = service_fn(move |request| {
        let page = Arc::clone(&page);
        async move { Ok::<_, Infallible>(answer(request, &page).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(LARGEST_HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong is its own affair.
    connection.await.ok();
}

async fn answer(request: Request<Incoming>, page: &Page) -> Response<Full<Bytes>> {
    // Who waits to be asked for the body need not send it.
    if !request.headers().contains_key(EXPECT) {
        Limited::new(request.into_body(), LARGEST_BODY).collect().await.ok();
    }
    let mut response = Response::new(Full::new(page.body.clone()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(page.kind));
    headers.insert(RETRY_AFTER, hyper::header::HeaderValue::from_static(RETRY));
    headers.insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn page(text: &'static str) -> Arc<Page> {
        Arc::new(Page { body: text.into(), kind: "text/plain" })
    }

    #[tokio::test]
    async fn whatever_is_asked_the_page_is_the_answer() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, pages) = watch::channel(page("sorry"));
        let server = tokio::spawn(serve(listener, pages, PATIENCE));
        let said = ask(address, b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert_eq!((head.lines().next(), body), (Some("HTTP/1.1 503 Service Unavailable"), "sorry"));
        for header in
            ["retry-after: 30", "content-type: text/plain", "content-length: 5", "connection: close"]
        {
            assert!(head.lines().any(|line| line == header), "no {header} in {head}");
        }
        let said = ask(address, b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(said.contains("content-length: 5") && said.ends_with("\r\n\r\n"), "{said}");
        sender.send(page("another")).unwrap();
        let body = "x".repeat(40_000);
        let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert!(ask(address, post.as_bytes()).await.ends_with("\r\n\r\nanother"));
        let waits = b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
        assert!(ask(address, waits).await.starts_with("HTTP/1.1 503 "));
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(2 * LARGEST_HEADER));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It is refused before it is all written.
        stream.write_all(long.as_bytes()).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(!String::from_utf8_lossy(&answer).contains("503"));
        drop(sender);
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    /// Clients that say nothing hold a place each, and not for ever.
    #[tokio::test]
    async fn silent_clients_are_bounded() {
        let listener = listen("[::1]:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (_sender, pages) = watch::channel(page("sorry"));
        tokio::spawn(serve(listener, pages, Duration::from_millis(100)));
        let mut silent = Vec::new();
        for _ in 0..AT_ONCE {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let said = ask(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(said.ends_with("sorry"), "{said}");
    }

    #[test]
    fn a_vip_that_is_no_address_of_this_machine_can_be_listened_at() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
            listen(address.parse().unwrap()).unwrap();
        }
        let first = listen("192.0.2.77:0".parse().unwrap()).unwrap();
        let taken = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn pages_are_read_within_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sorry.txt");
        assert_eq!(Page::read(&path), Err("entity not found".to_owned()));
        std::fs::write(&path, "later").unwrap();
        assert_eq!(Page::read(&path), Ok(Page { body: "later".into(), kind: "text/plain; charset=utf-8" }));
        std::fs::write(&path, vec![b'x'; LARGEST_PAGE as usize + 1]).unwrap();
        assert_eq!(Page::read(&path), Err("it has more than 1048576 bytes".to_owned()));
    }
}
