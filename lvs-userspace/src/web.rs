//! A small web server (HTTP/1.1, one request a connection) for whoever can reach it: what a client may take is bounded,
//! in time, header, body, and connections at the same time.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::EXPECT;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// What waits in the kernel for its turn.
const BACKLOG: i32 = 1_024;
const LARGEST_HEADER: usize = 16 << 10;
/// So much of a request's body is read before the answer, so that the client is there to hear it.
const LARGEST_BODY: usize = 64 << 10;
/// After an error of the machine, such as no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// For connections under way at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at the same time; others wait in the kernel until one ends.
    pub(crate) at_once: usize,
    /// Until a request's header is there; a whole connection may take twice as long.
    pub(crate) patience: Duration,
}

/// Listens, even at an address that this machine does not have by now (`IP_FREEBIND`).
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

/// Has `answer` answer requests until `end`.
pub(crate) async fn serve<A, F>(
    listener: TcpListener,
    answer: A,
    bounds: Bounds,
    end: impl Future<Output = ()>,
) where
    A: Fn(Request<()>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let mut running = FuturesUnordered::new();
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            accepted = listener.accept(), if running.len() < bounds.at_once => match accepted {
                Ok((stream, _)) => {
                    running.push(timeout(2 * bounds.patience, converse(stream, &answer, bounds.patience)));
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
async fn converse<A, F>(stream: TcpStream, answer: &A, patience: Duration)
where
    A: Fn(Request<()>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(async |request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        // Who waits to be asked for the body need not send it.
        if !head.headers.contains_key(EXPECT) {
            Limited::new(body, LARGEST_BODY).collect().await.ok();
        }
        Ok::<_, Infallible>(answer(Request::from_parts(head, ())).await)
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

#[cfg(test)]
pub(crate) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    use super::*;

    const FEW: Bounds = Bounds { at_once: 3, patience: Duration::from_millis(200) };

    pub(crate) async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // One that asks too much is refused before it has written it all.
        stream.write_all(request).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).unwrap()
    }

    async fn echo(request: Request<()>) -> Response<Full<Bytes>> {
        Response::new(Full::from(request.uri().to_string()))
    }

    #[tokio::test]
    async fn requests_are_answered_within_bounds() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ends) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, echo, FEW, async { ends.await.unwrap_or(()) }));
        let said = ask(address, b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\n/a?b"), "{said}");
        assert!(said.contains("connection: close"), "{said}");
        let said = ask(address, b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(said.contains("content-length: 2") && said.ends_with("\r\n\r\n"), "{said}");
        let body = "x".repeat(40_000);
        let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert!(ask(address, post.as_bytes()).await.ends_with("\r\n\r\n/"));
        let waits = b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
        assert!(ask(address, waits).await.starts_with("HTTP/1.1 200 "));
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(2 * LARGEST_HEADER));
        assert!(!ask(address, long.as_bytes()).await.contains(" 200 "));
        drop(end);
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }

    /// Clients that say nothing hold a place each, and not for ever.
    #[tokio::test]
    async fn silent_clients_are_bounded() {
        let listener = listen("[::1]:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, echo, FEW, std::future::pending()));
        let mut silent = Vec::new();
        for _ in 0..2 * FEW.at_once {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        assert!(ask(address, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await.ends_with("/x"));
    }

    #[test]
    fn an_address_that_this_machine_does_not_have_can_be_listened_at() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        for address in ["192.0.2.77:0", "[2001:db8::77]:0"] {
            listen(address.parse().unwrap()).unwrap();
        }
        let first = listen("192.0.2.77:0".parse().unwrap()).unwrap();
        let taken = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
