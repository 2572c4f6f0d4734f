//! Datagrams nobody else can make: HMAC-SHA256 (RFC 2104, FIPS 180-4), the first 16 bytes of it at the end of each.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::cluster::refusal::Refusal;

/// Puts a proof of its origin to a datagram, and takes it off again.
pub trait Seal {
    /// Bytes that [`Self::seal`] adds.
    fn overhead(&self) -> usize;

    fn seal(&self, datagram: &mut Vec<u8>);

    /// What was sealed, if it was with our key, and is as it was.
    fn open<'a>(&self, datagram: &'a [u8]) -> Result<&'a [u8], Refusal>;
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

    fn open<'a>(&self, datagram: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let (message, proof) = datagram.split_last_chunk::<TAG>().ok_or(Refusal::Short)?;
        // Compares in constant time.
        let is_right = self.0.clone().chain_update(message).verify_truncated_left(proof);
        is_right.map(|()| message).map_err(|_| Refusal::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Refusal, Seal, TAG};

    #[test]
    fn only_what_was_sealed_with_the_key_opens() {
        let (key, other) = (Key::new(b"a secret").unwrap(), Key::new(b"another").unwrap());
        let mut datagram = b"what is said".to_vec();
        key.seal(&mut datagram);
        assert_eq!(datagram.len(), 12 + key.overhead());
        assert_eq!(key.open(&datagram), Ok(&b"what is said"[..]));
        assert_eq!(other.open(&datagram), Err(Refusal::Signature));
        for index in 0..datagram.len() {
            let mut forged = datagram.clone();
            forged[index] ^= 1;
            assert_eq!(key.open(&forged), Err(Refusal::Signature), "byte {index}");
            let expected = if index < TAG { Refusal::Short } else { Refusal::Signature };
            assert_eq!(key.open(&datagram[..index]), Err(expected), "cut after {index}");
        }
    }
}
