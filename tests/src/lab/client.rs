//! What a client does: one exchange with a service, which tells the name of the server that answered.
//! Everything here works in the calling thread's namespace; see [`Namespace::enter`].

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use serde_json::Value;

use super::address::Family;
use super::namespace::Namespace;
use super::wait::wait_for;

/// How long one exchange may take: more than two retransmitted SYNs (1 s, then 2 s).
const PATIENCE: Duration = Duration::from_secs(5);

/// The kinds of exchange that the lab's servers understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// HTTP/1.1 GET on a connection of its own.
    Http,
    /// A connection whose bytes come back.
    TcpEcho,
    /// A datagram that comes back.
    UdpEcho,
}

impl Exchange {
    /// Does it once, from a new source port.
    ///
    /// # Errors
    /// Whatever a user would notice: no connection, no answer in time, a wrong answer.
    pub fn once(self, target: SocketAddr) -> Result<String> {
        match self {
            Self::Http => http_get(target),
            Self::TcpEcho => {
                let mut flow = TcpFlow::open(target)?;
                flow.echo(b"one exchange")?;
                Ok(flow.server)
            }
            Self::UdpEcho => UdpFlow::open(target)?.echo(b"one datagram"),
        }
    }
}

fn http_get(target: SocketAddr) -> Result<String> {
    let mut stream = connect(target)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response).context("reading the response")?;
    let (head, body) = response.split_once("\r\n\r\n").context("the response has no end of headers")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200"), "status {status:?}");
    Ok(body.trim().to_owned())
}

fn connect(target: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection to the echo that stays open.
#[derive(Debug)]
pub struct TcpFlow {
    pub server: String,
    stream: BufReader<TcpStream>,
}

impl TcpFlow {
    pub fn open(target: SocketAddr) -> Result<Self> {
        let mut stream = BufReader::new(connect(target)?);
        let mut server = String::new();
        stream.read_line(&mut server).context("reading the server's name")?;
        Ok(Self { server: server.trim().to_owned(), stream })
    }

    /// Sends bytes and expects the same back.
    pub fn echo(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_mut().write_all(bytes).context("sending")?;
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back).context("reading the echo")?;
        ensure!(back == bytes, "the echo differs from what was sent");
        Ok(())
    }
}

/// A UDP socket with one source port.
#[derive(Debug)]
pub struct UdpFlow {
    socket: UdpSocket,
}

impl UdpFlow {
    pub fn open(target: SocketAddr) -> Result<Self> {
        let any: SocketAddr =
            if target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(target).context("connecting")?;
        Ok(Self { socket })
    }

    /// Sends a datagram, expects it back, and tells who answered.
    pub fn echo(&self, datagram: &[u8]) -> Result<String> {
        self.socket.send(datagram).context("sending")?;
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).context("waiting for the answer")?;
        let Some(space) = buffer[..length].iter().position(|byte| *byte == b' ') else {
            bail!("the answer names no server");
        };
        ensure!(&buffer[space + 1..length] == datagram, "the echo differs from what was sent");
        Ok(String::from_utf8_lossy(&buffer[..space]).into_owned())
    }
}

/// One ICMP echo of `length` bytes.
///
/// # Errors
/// No answer in time, or another payload than was sent.
pub fn ping(target: IpAddr, length: usize) -> Result<()> {
    /// Type, code, checksum, identifier and sequence number (RFC 792, RFC 4443 4.1).
    const HEADER: usize = 8;
    let (family, protocol, request) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128),
    };
    // The kernel fills in identifier and checksum, and hands over nobody else's answers.
    let socket = UdpSocket::from(socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((target, 0)).context("connecting")?;
    let mut packet = vec![0; HEADER + length];
    packet[0] = request;
    packet[HEADER..].iter_mut().enumerate().for_each(|(index, byte)| *byte = index as u8);
    socket.send(&packet).context("sending")?;
    let mut answer = vec![0; 65_536];
    let received = socket.recv(&mut answer).context("waiting for the answer")?;
    ensure!(answer[HEADER..received] == packet[HEADER..], "the answer differs from what was sent");
    Ok(())
}

/// Asks the lab's name server with `dig` and returns the server's name.
pub fn dig(client: &Namespace, server: SocketAddr) -> Result<String> {
    let (address, port) = (format!("@{}", server.ip()), server.port().to_string());
    let answer = client.run(
        "dig",
        &[
            "+short",
            "+tries=1",
            "+time=5",
            Family::of(server.ip()).flag(),
            &address,
            "-p",
            &port,
            "name.lab",
            "TXT",
        ],
    )?;
    Ok(answer.trim().trim_matches('"').to_owned())
}

/// A page by `curl`: `path` begins with a slash.
pub fn curl(client: &Namespace, target: SocketAddr, path: &str) -> Result<String> {
    let url = format!("http://{target}{path}");
    client.run("curl", &["--globoff", "--silent", "--show-error", "--fail", "--max-time", "10", &url])
}

/// Downloads the large file by `curl` and compares it with `original`, byte for byte.
pub fn download(client: &Namespace, target: SocketAddr, path: &str, original: &Path) -> Result<()> {
    let copy = tempfile::NamedTempFile::new()?;
    let (url, file) = (format!("http://{target}{path}"), copy.path().display().to_string());
    client.run(
        "curl",
        &["--globoff", "--silent", "--show-error", "--fail", "--max-time", "60", "--output", &file, &url],
    )?;
    same(copy.path(), original)
}

/// Uploads `original` by `curl`. The answer is the server's name; the file is then in
/// [`super::realserver::uploaded`] of that server.
pub fn upload(client: &Namespace, target: SocketAddr, original: &Path, name: &str) -> Result<String> {
    let (url, file) = (format!("http://{target}/upload/{name}"), original.display().to_string());
    let headers = client.run(
        "curl",
        &[
            "--globoff",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "60",
            "--output",
            "/dev/null",
            "--write-out",
            "%header{x-server}",
            "--upload-file",
            &file,
            &url,
        ],
    )?;
    Ok(headers.trim().to_owned())
}

/// # Errors
/// The files differ, or one cannot be read.
pub fn same(copy: &Path, original: &Path) -> Result<()> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let (copied, expected) = (read(copy)?, read(original)?);
    ensure!(copied.len() == expected.len(), "{} of {} bytes came over", copied.len(), expected.len());
    if copied == expected {
        return Ok(());
    }
    let offset = copied.iter().zip(&expected).position(|(copied, expected)| copied != expected);
    bail!("byte {} differs", offset.unwrap_or(0))
}

/// Runs iperf3 for a second (`-R`: from the server) and returns megabits per second as the receiver saw them.
pub fn iperf3(client: &Namespace, target: SocketAddr, reverse: bool) -> Result<f64> {
    let (address, port) = (target.ip().to_string(), target.port().to_string());
    let mut arguments =
        vec!["--client", &address, "--port", &port, "--time", "1", "--json", "--connect-timeout", "5000"];
    if reverse {
        arguments.push("--reverse");
    }
    // A server that is not done with the last run refuses the next.
    let report = wait_for("iperf3's server to be free", PATIENCE, || {
        let report =
            client.run("iperf3", &arguments).and_then(|text| Ok(serde_json::from_str::<Value>(&text)?));
        let is_busy = |report: &Value| report["error"].as_str().is_some_and(|error| error.contains("busy"));
        if report.as_ref().is_ok_and(is_busy) { None } else { Some(report) }
    })??;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.with_context(|| format!("iperf3 reports no rate: {}", report["error"]))? / 1e6)
}
