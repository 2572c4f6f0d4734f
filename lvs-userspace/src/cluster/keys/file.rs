//! The file of keys: a line for each, its name and its secret.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _};

use super::{Key, Keyring, LONGEST_NAME};

/// Fewer bytes could be guessed.
const LEAST_SECRET: usize = 16;
/// A hexadecimal digit is half a byte.
const LEAST_DIGITS: usize = 2 * LEAST_SECRET;
const MOST_KEYS: usize = 16;
const MOST_BYTES: u64 = 64 * 1024;
const OTHERS: u32 = 0o077;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the keys of the cluster in {path}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path} is no file of keys: {what}")]
    NoFile { path: PathBuf, what: &'static str },
    #[error(
        "{path} can be read or changed by others (mode {mode:04o}), and whoever has a key can take the cluster's addresses; do\n  chmod 600 {path}"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("{path} belongs to user {owner}, who could change the keys; do\n  chown {user} {path}")]
    Foreign { path: PathBuf, owner: u32, user: u32 },
    #[error("{path}:{line}: {what}; expected lines of a name and a secret, such as\n  2026-11 {EXAMPLE}")]
    Line { path: PathBuf, line: usize, what: String },
    #[error("{path} has no key; expected lines of a name and a secret, such as\n  2026-11 {EXAMPLE}")]
    Empty { path: PathBuf },
}

/// Of the right form, and too obvious to be copied: its own name says so.
const EXAMPLE: &str = "the-output-of:openssl-rand-hex-32";

impl Keyring {
    /// The keys in the file at `path`, which nobody but root and this process' user may have access to.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| Error::Unreadable { path: path.to_owned(), error };
        let mut file = File::open(path).map_err(unreadable)?;
        let user = nix::unistd::geteuid().as_raw();
        Facts::from(file.metadata().map_err(unreadable)?).check(path, user)?;
        let mut text = String::new();
        file.by_ref().take(MOST_BYTES).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text, path)
    }

    /// The keys in `text`; messages call it `path`. A line is empty, a comment (`#`), or a name and a
    /// secret, which is taken as it is written.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key =
                key(line, &keys).map_err(|what| Error::Line { path: path.to_owned(), line: number, what })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(Error::Empty { path: path.to_owned() });
        }
        Ok(Self { keys })
    }
}

/// What is to be known of a file before it is read.
pub(super) struct Facts {
    pub(super) is_file: bool,
    pub(super) size: u64,
    pub(super) owner: u32,
    pub(super) mode: u32,
}

impl From<Metadata> for Facts {
    fn from(metadata: Metadata) -> Self {
        Self {
            is_file: metadata.is_file(),
            size: metadata.len(),
            owner: metadata.uid(),
            mode: metadata.mode() & 0o7777,
        }
    }
}

impl Facts {
    /// Whether `user` may trust what is in the file at `path`.
    pub(super) fn check(&self, path: &Path, user: u32) -> Result<(), Error> {
        let Self { is_file, size, owner, mode } = *self;
        let path = path.to_owned();
        if !is_file {
            Err(Error::NoFile { path, what: "expected an ordinary one" })
        } else if size > MOST_BYTES {
            Err(Error::NoFile { path, what: "expected at most 64 KiB" })
        } else if owner != 0 && owner != user {
            Err(Error::Foreign { path, owner, user })
        } else if mode & OTHERS != 0 {
            Err(Error::Open { path, mode })
        } else {
            Ok(())
        }
    }
}

/// The key that `line` says, or what is wrong. Secrets are not shown.
fn key(line: &str, before: &[Key]) -> Result<Key, String> {
    let mut words = line.split_whitespace();
    let name = words.next().unwrap_or_default();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_name || name.len() > LONGEST_NAME {
        return Err(format!("a key's name has up to {LONGEST_NAME} letters, digits, `.`, `_` and `-`"));
    }
    let secret = words.next().ok_or_else(|| format!("the key {name} has no secret"))?;
    if words.next().is_some() {
        return Err(format!("something follows the secret of the key {name}"));
    }
    let is_hexadecimal = secret.bytes().all(|byte| byte.is_ascii_hexdigit());
    if secret.len() < LEAST_SECRET {
        return Err(format!(
            "the secret of the key {name} has {} bytes, and needs {LEAST_SECRET}",
            secret.len()
        ));
    }
    if is_hexadecimal && secret.len() < LEAST_DIGITS {
        return Err(format!(
            "the secret of the key {name} has {} hexadecimal digits, and needs {LEAST_DIGITS}",
            secret.len()
        ));
    }
    if before.iter().any(|key| key.name == name) {
        return Err(format!("there is a key {name} already"));
    }
    if before.len() == MOST_KEYS {
        return Err(format!("there are {MOST_KEYS} keys already"));
    }
    let hmac = Hmac::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Key { name: name.to_owned(), hmac })
}
