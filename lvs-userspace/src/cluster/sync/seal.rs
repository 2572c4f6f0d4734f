//! Datagrams nobody else can make: HMAC-SHA256 (RFC 2104, FIPS 180-4), the first 16 bytes of it at the end of each.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Puts a proof of its origin to a datagram, and takes it off again.
pub trait Seal {
    /// Bytes that [`Self::seal`] adds.
    fn overhead(&self) -> usize;

    fn seal(&self, datagram: &mut Vec<u8>);

    /// What was sealed; `None`: not with our key, or not as it was.
    fn open<'a>(&self, datagram: &'a [u8]) -> Option<&'a [u8]>;
}

/// Bytes of a proof.
const TAG: usize = 16;

/// One key that both directors have.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// `None`: the library takes no such key.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(bytes).ok().map(Self)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

impl Seal for Key {
    fn overhead(&self) -> usize {
        TAG
    }

    fn seal(&self, datagram: &mut Vec<u8>) {
        let proof = self.0.clone().chain_update(&*datagram).finalize().into_bytes();
        datagram.extend_from_slice(&proof[..TAG]);
    }

    fn open<'a>(&self, datagram: &'a [u8]) -> Option<&'a [u8]> {
        let (message, proof) = datagram.split_at_checked(datagram.len().checked_sub(TAG)?)?;
        // Compares in constant time.
        self.0.clone().chain_update(message).verify_truncated_left(proof).ok()?;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Seal};

    #[test]
    fn only_what_was_sealed_with_the_key_opens() {
        let (key, other) = (Key::new(b"a secret").unwrap(), Key::new(b"another").unwrap());
        let mut datagram = b"what is said".to_vec();
        key.seal(&mut datagram);
        assert_eq!(datagram.len(), 12 + key.overhead());
        assert_eq!(key.open(&datagram), Some(&b"what is said"[..]));
        assert_eq!(other.open(&datagram), None);
        for index in 0..datagram.len() {
            let mut forged = datagram.clone();
            forged[index] ^= 1;
            assert_eq!(key.open(&forged), None, "byte {index}");
            assert_eq!(key.open(&datagram[..index]), None, "cut after {index}");
        }
    }
}
