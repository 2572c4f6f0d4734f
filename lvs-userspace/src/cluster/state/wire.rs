//! What goes over the stream, as bytes. Pure.
//!
//! ```text
//! asked -> asking   16 random bytes
//! asking -> asked   frame: 1 · those 16 bytes · 16 random bytes of its own
//! asked -> asking   frames: 2 · the second 16 bytes · number 8 · what it is 1 · JSON
//! ```
//!
//! A frame is a length (4 bytes) and as many bytes, sealed with [`Kind::State`]. Numbers are big endian. Frames are
//! numbered from 1 on in each connection. So a recording proves nothing: neither that somebody asks now, nor that this
//! is the answer.

use crate::cluster::keys::{Keyring, Kind, OVERHEAD};
use crate::cluster::refusal::Refusal;

/// What only this connection has.
pub(super) type Nonce = [u8; NONCE];

const NONCE: usize = 16;
/// The largest state, in bytes of JSON: some 500 for a real server with its check.
pub(super) const LARGEST_STATE: usize = 32 << 20;
/// Bytes of a frame behind its length, at the most.
pub(super) const LARGEST_FRAME: usize = HEAD + LARGEST_STATE + OVERHEAD;
/// The same of the frame that asks.
pub(super) const LARGEST_HELLO: usize = 1 + 2 * NONCE + OVERHEAD;

const HELLO: u8 = 1;
const TOLD: u8 = 2;
/// Before the JSON.
const HEAD: usize = 1 + NONCE + 8 + 1;

const UNCHANGED: u8 = 0;
const NOTHING: u8 = 1;
const STATE: u8 = 2;

/// What the asked director has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// It is there, and nothing is new.
    Unchanged,
    /// It is active for no group.
    Nothing,
    /// The state, as JSON.
    State(&'a [u8]),
}

/// Why a frame counts for nothing, and ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Refused(Refusal),
    #[error("a frame of {given} bytes; expected at most {most}")]
    Long { given: usize, most: usize },
    #[error("a frame that makes no sense")]
    Malformed,
    #[error("a frame of another connection")]
    Foreign,
    #[error("frame {given} of the connection; expected {expected}")]
    Number { given: u64, expected: u64 },
}

/// Asks for the state: `theirs` came from the asked one, `own` is for its answers.
pub(super) fn hello(keys: &Keyring, theirs: &Nonce, own: &Nonce) -> Vec<u8> {
    framed(keys, &[&[HELLO], theirs.as_slice(), own].concat())
}

/// Whether somebody asks who has read `own`; with what its answers are to be marked.
pub(super) fn open_hello(keys: &Keyring, sealed: &[u8], own: &Nonce) -> Result<Nonce, Fault> {
    let payload = keys.open(Kind::State, sealed).map_err(Fault::Refused)?;
    let (read, theirs) = payload
        .strip_prefix(&[HELLO])
        .and_then(|rest| rest.split_first_chunk::<NONCE>())
        .ok_or(Fault::Malformed)?;
    let theirs = theirs.try_into().map_err(|_| Fault::Malformed)?;
    if read != own {
        return Err(Fault::Foreign);
    }
    Ok(theirs)
}

/// Frame `number` for the one who has asked with `nonce`.
pub(super) fn told(keys: &Keyring, nonce: &Nonce, number: u64, told: Told<'_>) -> Vec<u8> {
    let (kind, json): (u8, &[u8]) = match told {
        Told::Unchanged => (UNCHANGED, &[]),
        Told::Nothing => (NOTHING, &[]),
        Told::State(json) => (STATE, json),
    };
    let payload = [&[TOLD], nonce.as_slice(), &number.to_be_bytes(), &[kind], json].concat();
    framed(keys, &payload)
}

/// What the frame says, if it is number `expected` for the one who has asked with `nonce`.
pub(super) fn open_told<'a>(
    keys: &Keyring,
    sealed: &'a [u8],
    nonce: &Nonce,
    expected: u64,
) -> Result<Told<'a>, Fault> {
    let payload = keys.open(Kind::State, sealed).map_err(Fault::Refused)?;
    let (&[kind, ref head @ ..], json) = payload.split_first_chunk::<HEAD>().ok_or(Fault::Malformed)?;
    let (marked, rest) = head.split_at(NONCE);
    let (number, what) = rest.split_first_chunk::<8>().ok_or(Fault::Malformed)?;
    if kind != TOLD {
        return Err(Fault::Malformed);
    }
    if marked != nonce {
        return Err(Fault::Foreign);
    }
    let given = u64::from_be_bytes(*number);
    if given != expected {
        return Err(Fault::Number { given, expected });
    }
    match (what, json) {
        ([UNCHANGED], []) => Ok(Told::Unchanged),
        ([NOTHING], []) => Ok(Told::Nothing),
        ([STATE], json) => Ok(Told::State(json)),
        _ => Err(Fault::Malformed),
    }
}

/// How many bytes follow the length `head`, which may be `most`.
pub(super) fn length(head: [u8; 4], most: usize) -> Result<usize, Fault> {
    let given = u32::from_be_bytes(head) as usize;
    if given > most { Err(Fault::Long { given, most }) } else { Ok(given) }
}

fn framed(keys: &Keyring, payload: &[u8]) -> Vec<u8> {
    let sealed = keys.seal(Kind::State, payload);
    // What is sealed here has less than 2^32 bytes: `LARGEST_FRAME`.
    let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), sealed.as_slice()].concat()
}
