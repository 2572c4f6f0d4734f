//! Small services that say who answered: an echo over TCP and UDP, and a name server of one answer.
//!
//! - TCP: one line with the server's name on connect, then everything comes back.
//! - UDP: the name, a space, and the datagram.
//! - DNS: every question is answered with a TXT record that holds the name.
//!
//! A UDP answer must come from the address that was asked, which a socket on the wildcard address does
//! not see to; so each address gets a socket of its own.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use anyhow::{Context, Result};

/// Port of the echo over both protocols (IANA "echo").
pub const ECHO_PORT: u16 = 7;
pub const DNS_PORT: u16 = 53;

/// Serves until the process ends. Prints `ready` when every socket is open.
pub fn serve(name: &str, addresses: &[IpAddr]) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, ECHO_PORT)).context("cannot listen on TCP port 7")?;
    let mut sockets = Vec::new();
    for address in addresses {
        for port in [ECHO_PORT, DNS_PORT] {
            let address = SocketAddr::new(*address, port);
            sockets.push((port, UdpSocket::bind(address).with_context(|| format!("cannot bind {address}"))?));
        }
    }
    println!("ready");
    thread::scope(|scope| {
        for (port, socket) in &sockets {
            let answer = if *port == DNS_PORT { dns_answer } else { echo_answer };
            scope.spawn(move || answer_datagrams(name, socket, answer));
        }
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => {
                    scope.spawn(move || echo_stream(name, stream));
                }
                Err(error) => eprintln!("accept: {error}"),
            }
        }
    });
    Ok(())
}

fn answer_datagrams(name: &str, socket: &UdpSocket, answer: fn(&str, &[u8]) -> Option<Vec<u8>>) {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                if let Some(reply) = answer(name, &buffer[..length])
                    && let Err(error) = socket.send_to(&reply, from)
                {
                    eprintln!("to {from}: {error}");
                }
            }
            // An ICMP error about an earlier answer; the next datagram is another matter.
            Err(error) => eprintln!("receive: {error}"),
        }
    }
}

fn echo_stream(name: &str, mut stream: TcpStream) {
    let mut serve = || -> std::io::Result<()> {
        stream.write_all(format!("{name}\n").as_bytes())?;
        let mut buffer = vec![0; 65_536];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                length => stream.write_all(&buffer[..length])?,
            }
        }
    };
    if let Err(error) = serve() {
        eprintln!("echo: {error}");
    }
}

fn echo_answer(name: &str, datagram: &[u8]) -> Option<Vec<u8>> {
    Some([name.as_bytes(), b" ", datagram].concat())
}

/// The answer to a query (RFC 1035 4.1), or nothing when it is none.
fn dns_answer(name: &str, query: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let question = query.get(HEADER..)?;
    let mut length = 0;
    while *question.get(length)? != 0 {
        length += usize::from(question[length]) + 1;
    }
    // The root label, type and class.
    let question = question.get(..length + 5)?;
    let mut answer = query[..2].to_vec();
    // A response, authoritative; one question, one answer.
    answer.extend([0x84, 0x00, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(question);
    // The name of the question by reference (RFC 1035 4.1.4), TXT, IN, time to live 0.
    answer.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 0]);
    let text = u8::try_from(name.len()).ok()?;
    answer.extend([0, text + 1, text]);
    answer.extend(name.as_bytes());
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::dns_answer;

    #[test]
    fn a_query_is_answered_with_the_name() {
        // example. TXT IN, with an additional record that the answer leaves out.
        let query = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x07example\0\0\x10\0\x01\0\0\x29\0\0\0\0\0\0\0\0";
        let answer = dns_answer("rs1", query).expect("a query");
        assert_eq!(&answer[..2], b"\x12\x34");
        assert_eq!(&answer[12..25], b"\x07example\0\0\x10\0\x01");
        assert!(answer.ends_with(b"\0\x04\x03rs1"));
        assert_eq!(answer.len(), 25 + 16);
    }

    #[test]
    fn half_a_query_is_not_answered() {
        assert!(dns_answer("rs1", b"\x12\x34\x01\x20\0\x01").is_none());
        assert!(dns_answer("rs1", b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x07exa").is_none());
    }
}
