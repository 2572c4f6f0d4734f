//! Names as the wire carries them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A director or voter: made of its name, so that every file that has the name has the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A group of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u64);

impl NodeId {
    pub fn of(name: &str) -> Self {
        Self(number("node", name))
    }
}

impl GroupId {
    pub fn of(name: &str) -> Self {
        Self(number("group", name))
    }
}

/// The first eight bytes of SHA-256 over kind and name.
fn number(kind: &str, name: &str) -> u64 {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}
