//! A file by FTP, over a data connection that the server waits for: EPSV (RFC 2428 section 3), or PASV of a server
//! that does not know it. Encrypted if the control connection is (RFC 4217 section 7).

use super::Failure;
use super::content::{MOST, lacks};
use super::talk::Talk;
use super::text::Dialect;
use crate::config::model::{Check, TextProbe, TlsMode};

/// Fetches the file and judges its content.
pub(super) async fn content(
    check: &Check,
    probe: &TextProbe,
    file: &str,
    dialect: &Dialect,
    talk: &mut Talk,
) -> Result<(), Failure> {
    let is_secure = probe.secure.mode != TlsMode::None;
    if is_secure {
        dialect.ask(talk, "PBSZ 0", "200").await?;
        dialect.ask(talk, "PROT P", "200").await?;
    }
    let port = port(dialect, talk).await?;
    // Whatever address PASV tells, the one that is checked is meant: the server may not know it behind nat.
    let data = Check { port, ..check.clone() };
    let mut transfer = Talk::open(&data, None).await?;
    dialect.ask(talk, &format!("RETR {file}"), "150|125").await?;
    if is_secure {
        transfer = transfer.encrypt(&data, &probe.secure).await?;
    }
    let (content, is_whole) = transfer.rest(MOST).await?;
    drop(transfer);
    if is_whole {
        // Only this tells an end from a connection that broke.
        dialect.answer(talk, "RETR", "226|250").await?;
    }
    match lacks(&content, probe.body.as_ref(), probe.body_regex.as_ref())? {
        Some(what) => Err(Failure::Unexpected(format!("the file {what}"))),
        None => Ok(()),
    }
}

/// The port that the server waits on.
async fn port(dialect: &Dialect, talk: &mut Talk) -> Result<u16, Failure> {
    let said = dialect.ask(talk, "EPSV", "229|500|501|502|522").await?;
    if said.starts_with("229") {
        return extended(&said).ok_or_else(|| Failure::Unexpected(format!("answered {said:?} to EPSV")));
    }
    let said = dialect.ask(talk, "PASV", "227").await?;
    passive(&said).ok_or_else(|| Failure::Unexpected(format!("answered {said:?} to PASV")))
}

/// `229 Entering Extended Passive Mode (|||6446|)`; any character may be the bar.
fn extended(answer: &str) -> Option<u16> {
    let (_, inside) = answer.split_once('(')?;
    let bar = inside.chars().next()?;
    inside.split(bar).nth(3)?.parse().ok()
}

/// `227 Entering Passive Mode (192,0,2,1,25,46)` (RFC 959 section 4.1.2); the brackets may be missing (RFC 1123
/// section 4.1.2.6).
fn passive(answer: &str) -> Option<u16> {
    let is_part = |letter: char| letter.is_ascii_digit() || letter == ',';
    let numbers =
        answer.get(3..)?.split(|letter| !is_part(letter)).find(|part| part.matches(',').count() > 4)?;
    let mut numbers = numbers.split(',').skip(4).map(str::parse::<u8>);
    let (high, low) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    numbers.next().is_none().then(|| u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_answers() {
        assert_eq!(extended("229 Entering Extended Passive Mode (|||6446|)"), Some(6446));
        assert_eq!(extended("229 ok (!!!21!)"), Some(21));
        for answer in ["229 ok", "229 (", "229 (|||66666|)", "229 (||)"] {
            assert_eq!(extended(answer), None, "{answer}");
        }
        assert_eq!(passive("227 Entering Passive Mode (192,0,2,1,25,46)."), Some(6446));
        assert_eq!(passive("227 Passive mode, 192,0,2,1,0,21"), Some(21));
        for answer in ["227", "227 none", "227 (1,2,3,4,5)", "227 (1,2,3,4,5,600)", "227 (1,2,3,4,5,6,7)"] {
            assert_eq!(passive(answer), None, "{answer}");
        }
    }
}
