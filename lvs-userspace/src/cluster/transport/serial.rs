//! A path over a serial line: frames of [`frame`] at eight bits, no parity, one stop bit, no flow control.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{
    BaudRate, ControlFlags, FlushArg, SetArg, SpecialCharacterIndices, cfmakeraw, cfsetspeed, tcflush,
    tcgetattr, tcsetattr,
};
use nix::unistd::{read, write};

use super::Fault;
use crate::cluster::frame;

/// Bytes that are read before others have their turn.
const READ: usize = 4_096;

/// How to open the line.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) device: PathBuf,
    pub(super) baud: u32,
}

impl Plan {
    pub(super) fn open(&self) -> io::Result<Link> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let line = open(&self.device, flags, Mode::empty())?;
        let mut settings = tcgetattr(&line)?;
        cfmakeraw(&mut settings);
        settings.control_flags.remove(ControlFlags::CSTOPB | ControlFlags::CRTSCTS);
        // Nobody looks at the carrier: a cable need not have the wire.
        settings.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD);
        // So that nothing to read is not taken for the end.
        settings.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        settings.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        cfsetspeed(&mut settings, rate(self.baud)?)?;
        tcsetattr(&line, SetArg::TCSANOW, &settings)?;
        tcflush(&line, FlushArg::TCIOFLUSH)?;
        Ok(Link {
            line,
            baud: self.baud,
            decoder: frame::Decoder::default(),
            sending: Vec::new(),
            sent: 0,
            next: None,
            free_at: Instant::now(),
        })
    }
}

fn rate(baud: u32) -> io::Result<BaudRate> {
    Ok(match baud {
        9_600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        460_800 => BaudRate::B460800,
        921_600 => BaudRate::B921600,
        _ => return Err(Errno::EINVAL.into()),
    })
}

/// An open line.
#[derive(Debug)]
pub(super) struct Link {
    line: OwnedFd,
    baud: u32,
    decoder: frame::Decoder,
    /// The frame that the driver has a part of: `sent` bytes.
    sending: Vec<u8>,
    sent: usize,
    /// The newest that was to be sent since. What it replaces would come too late.
    next: Option<Vec<u8>>,
    /// When the line has carried what was given to the driver, which takes more than the line can carry in time: a
    /// newer message would wait behind all of it.
    free_at: Instant,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

impl Drop for Link {
    /// Forgets what the line has not carried: the kernel would wait for it when it closes the line.
    fn drop(&mut self) {
        // An error means that the line is gone, and nothing is waited for.
        tcflush(&self.line, FlushArg::TCOFLUSH).ok();
    }
}

impl Link {
    /// Sends `bytes` when the line is free, if nothing newer is there by then.
    pub(super) fn send(&mut self, bytes: &[u8], now: Instant) -> Result<(), Fault> {
        self.next = Some(frame::encode(bytes));
        self.go_on(now)
    }

    /// Sends what can be sent now.
    pub(super) fn go_on(&mut self, now: Instant) -> Result<(), Fault> {
        loop {
            if !self.is_sending() {
                if now < self.free_at {
                    return Ok(());
                }
                let Some(next) = self.next.take() else { return Ok(()) };
                self.free_at = now + frame::carried(next.len(), self.baud);
                (self.sending, self.sent) = (next, 0);
            }
            match write(&self.line, &self.sending[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
                Err(errno) => return Err(Fault(errno)),
            }
        }
    }

    /// Whether it waits until the driver takes more of a frame.
    pub(super) fn is_sending(&self) -> bool {
        self.sent < self.sending.len()
    }

    /// When the next frame can go, if one waits for the line.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.next.is_some() && !self.is_sending()).then_some(self.free_at)
    }

    /// Hands on each datagram that has come, and each damage.
    pub(super) fn receive(
        &mut self,
        mut each: impl FnMut(Result<&[u8], frame::Damaged>),
    ) -> Result<(), Fault> {
        let mut buffer = [0; READ];
        match read(&self.line, &mut buffer) {
            // The other end of a pseudo terminal, or the adapter, is gone.
            Ok(0) => Err(Fault(Errno::EIO)),
            Ok(length) => {
                for byte in &buffer[..length] {
                    if let Some(found) = self.decoder.push(*byte) {
                        each(found);
                    }
                }
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
            Err(errno) => Err(Fault(errno)),
        }
    }
}
