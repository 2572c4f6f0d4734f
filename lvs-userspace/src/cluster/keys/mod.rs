//! Keys: a datagram counts only if it was sealed with one of them.
//!
//! ```text
//! "LVSC" · version 1 · kind 1 · length of the key's name 1 · the key's name · payload ·
//! the first 16 bytes of HMAC-SHA256 (RFC 2104; truncated as in RFC 4868) over all before
//! ```
//!
//! Nothing is encrypted: what directors say to each other is no secret, only who says it. That an old
//! datagram is not sent again by somebody else is for the payload to tell.

mod file;

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

pub use file::Error;

use super::refusal::Refusal;

const MAGIC: [u8; 4] = *b"LVSC";
const VERSION: u8 = 1;
const HEAD: usize = MAGIC.len() + 3;
const TAG: usize = 16;

/// Bytes of the longest name of a key.
pub const LONGEST_NAME: usize = 32;
/// Bytes that [`Keyring::seal`] adds, at the most.
pub const OVERHEAD: usize = HEAD + LONGEST_NAME + TAG;

/// What a datagram is for. One that was sealed for one use is refused in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Beat`](super::beat::Beat).
    Beat = 1,
    /// Connections, for the director that may get them.
    Sync = 2,
    /// The desired state, and who asks for it.
    State = 3,
}

/// The keys of a cluster, by name.
#[derive(Clone)]
pub struct Keyring {
    /// Never empty. The first seals, all open, so that a new key can be spread before it is used.
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    name: String,
    /// With the secret worked in, so that this is not done for each datagram.
    hmac: Hmac<Sha256>,
}

impl fmt::Debug for Keyring {
    /// Names only: secrets stay out of logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.names()).finish()
    }
}

impl Keyring {
    /// Names of the keys, that of the one that seals first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.name.as_str())
    }

    /// The datagram that carries `payload`.
    pub fn seal(&self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let Key { name, hmac } = &self.keys[0];
        let mut datagram = Vec::with_capacity(HEAD + name.len() + payload.len() + TAG);
        datagram.extend(MAGIC);
        datagram.extend([VERSION, kind as u8, name.len() as u8]);
        datagram.extend(name.as_bytes());
        datagram.extend(payload);
        let tag = hmac.clone().chain_update(&datagram).finalize().into_bytes();
        datagram.extend(&tag[..TAG]);
        datagram
    }

    /// What `datagram` carries, if somebody who has one of the keys sealed it for this use.
    pub fn open<'a>(&self, kind: Kind, datagram: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let (head, rest) = datagram.split_first_chunk::<HEAD>().ok_or(Refusal::Short)?;
        let [magic @ .., version, given_kind, length] = head;
        if *magic != MAGIC {
            return Err(Refusal::Foreign);
        }
        if *version != VERSION {
            return Err(Refusal::Version(*version));
        }
        if *given_kind != kind as u8 {
            return Err(Refusal::Kind(*given_kind));
        }
        let (name, rest) = rest.split_at_checked(usize::from(*length)).ok_or(Refusal::Short)?;
        let (payload, tag) = rest.split_last_chunk::<TAG>().ok_or(Refusal::Short)?;
        let key = self.keys.iter().find(|key| key.name.as_bytes() == name).ok_or(Refusal::UnknownKey)?;
        let sealed = &datagram[..datagram.len() - TAG];
        // Takes as long for any tag, so that nobody finds the right one byte by byte.
        let is_right = key.hmac.clone().chain_update(sealed).verify_truncated_left(tag);
        is_right.map_err(|_| Refusal::Signature)?;
        Ok(payload)
    }
}

#[cfg(test)]
mod tests;
