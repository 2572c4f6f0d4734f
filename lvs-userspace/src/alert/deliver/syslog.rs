//! The machine's own syslog: a datagram for each line (RFC 3164, as syslog(3) writes it).

use std::os::unix::net::UnixDatagram;

use jiff::Zoned;

use super::Failure;
use crate::alert::message::{Kind, Message};
use crate::config::model::SyslogAlert;

/// RFC 3164 section 4.1.1.
const WARNING: u8 = 4;
const NOTICE: u8 = 5;

pub(super) fn deliver(alert: &SyslogAlert, message: &Message) -> Result<(), Failure> {
    let failed = |error| Failure::Passing(format!("{}: {error}", alert.socket.display()));
    let socket = UnixDatagram::unbound().map_err(Failure::passing)?;
    socket.connect(&alert.socket).map_err(failed)?;
    // Whoever does not read must not hold up the agent.
    socket.set_nonblocking(true).map_err(Failure::passing)?;
    let severity = match message.kind {
        Kind::Alert => WARNING,
        Kind::Up => NOTICE,
    };
    let priority = alert.facility * 8 + severity;
    let time = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    for line in message.lines() {
        let text = format!("<{priority}>{time} lvsd[{}]: {line}", std::process::id());
        socket.send(text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}
