//! A conversation over a connection, whose other side may say anything, for ever, or nothing.

use std::io;
use std::path::Path;

use regex::bytes::Regex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Answer, Failure, dial};
use crate::config::model::{Check, Secure, TlsMode};
use crate::tls;

/// A whole conversation may take in so much.
const MOST: usize = 256 << 10;
/// Longest line.
const LONGEST_LINE: usize = 8 << 10;

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(super) struct Talk {
    stream: Box<dyn Stream>,
    /// Heard, but not looked at yet.
    heard: Vec<u8>,
    taken: usize,
    /// When the server's certificate ends, in seconds since 1970.
    certificate_end: Option<u64>,
}

impl Talk {
    /// With TLS if it begins at once.
    pub(super) async fn open(check: &Check, secure: Option<&Secure>) -> Result<Self, Failure> {
        let stream = dial::tcp(check).await?;
        let mut talk = Self { stream: Box::new(stream), heard: Vec::new(), taken: 0, certificate_end: None };
        match secure {
            Some(secure) if secure.mode == TlsMode::Tls => talk = talk.encrypt(check, secure).await?,
            _ => {}
        }
        Ok(talk)
    }

    /// What was said in the clear is forgotten: it could have been put there by anybody.
    pub(super) async fn encrypt(self, check: &Check, secure: &Secure) -> Result<Self, Failure> {
        let stream = tls::connect(&secure.trust, &server_name(check, secure), &[], self.stream).await;
        let stream = stream.map_err(Failure::Tls)?;
        let certificate_end = tls::end_of(&stream);
        Ok(Self { stream: Box::new(stream), heard: Vec::new(), certificate_end, ..self })
    }

    /// The end of a conversation that went well.
    pub(super) fn answered(&self, said: &str) -> Answer {
        Answer { said: said.to_owned(), certificate_end: self.certificate_end }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(bytes).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    /// A line without its end.
    pub(super) async fn line(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                let text = String::from_utf8_lossy(&line);
                return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
            }
            if self.heard.len() > LONGEST_LINE {
                return Err(Failure::Unexpected(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            self.hear().await?;
        }
    }

    pub(super) async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        if count > MOST {
            return Err(Failure::Unexpected(format!("an answer of {count} bytes")));
        }
        while self.heard.len() < count {
            self.hear().await?;
        }
        Ok(self.heard.drain(..count).collect())
    }

    /// Listens until something matches.
    pub(super) async fn matching(&mut self, pattern: &str) -> Result<(), Failure> {
        let regex = Regex::new(pattern).map_err(|error| Failure::Unexpected(error.to_string()))?;
        loop {
            if let Some(found) = regex.find(&self.heard) {
                let end = found.end();
                self.heard.drain(..end);
                return Ok(());
            }
            if let Err(failure) = self.hear().await {
                let begin = String::from_utf8_lossy(&self.heard[..self.heard.len().min(60)]).into_owned();
                return Err(match failure {
                    Failure::Broken(_) if !self.heard.is_empty() => {
                        Failure::Unexpected(format!("answered {begin:?}, which does not match {pattern:?}"))
                    }
                    other => other,
                });
            }
        }
    }

    /// All that comes until the server closes, but no more than `most` bytes; whether that is all. A connection that
    /// breaks is taken for one that ends: somebody else must tell.
    pub(super) async fn rest(&mut self, most: usize) -> Result<(Vec<u8>, bool), Failure> {
        let mut buffer = [0; 4096];
        while self.heard.len() <= most {
            match self.stream.read(&mut buffer).await {
                Ok(0) => return Ok((std::mem::take(&mut self.heard), true)),
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
                // TLS says so where its own farewell is missing.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok((std::mem::take(&mut self.heard), true));
                }
                Err(error) => return Err(broken(error)),
            }
        }
        self.heard.truncate(most);
        Ok((std::mem::take(&mut self.heard), false))
    }

    async fn hear(&mut self) -> Result<(), Failure> {
        if self.taken >= MOST {
            return Err(Failure::Unexpected(format!("more than {MOST} bytes")));
        }
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer).await.map_err(broken)? {
            0 => Err(Failure::Broken("closed by the server".to_owned())),
            read => {
                self.heard.extend_from_slice(&buffer[..read]);
                self.taken += read;
                Ok(())
            }
        }
    }
}

/// The name that is asked for and must be in the certificate.
pub(super) fn server_name(check: &Check, secure: &Secure) -> String {
    secure.server_name.clone().unwrap_or_else(|| check.address.to_string())
}

/// A secret; read at every use, so that it can be changed.
pub(super) fn secret(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Own(format!("{}: {}", path.display(), error.kind())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

pub(super) fn broken(error: io::Error) -> Failure {
    Failure::Broken(error.kind().to_string())
}
