//! `type: ldap`: a simple bind (RFC 4511 section 4.2).

use super::talk::{Talk, secret};
use super::{Answer, Failure};
use crate::config::model::{Check, LdapProbe};

pub(super) async fn probe(check: &Check, probe: &LdapProbe) -> Result<Answer, Failure> {
    let (name, password) = match &probe.login {
        Some(login) => (login.user.clone(), secret(&login.password_file)?),
        None => (String::new(), String::new()),
    };
    let mut talk = Talk::open(check, Some(&probe.secure)).await?;
    let bind =
        [element(0x02, &[3]), element(0x04, name.as_bytes()), element(0x80, password.as_bytes())].concat();
    let request = element(0x30, &[element(0x02, &[1]), element(0x60, &bind)].concat());
    talk.send(&request).await?;
    let tag = talk.exactly(1).await?[0];
    let length = length(&mut talk).await?;
    let body = talk.exactly(length).await?;
    let result = if tag == 0x30 { result(&body) } else { None };
    // Unbind.
    talk.send(&element(0x30, &[element(0x02, &[2]), element(0x42, &[])].concat())).await.ok();
    match result {
        Some(0) => Ok(talk.answered("bound")),
        Some(code) => Err(Failure::Unexpected(format!("bind refused with result {code}"))),
        None => Err(Failure::Unexpected("the answer is no bind response".to_owned())),
    }
}

/// A value with its tag and length (BER, definite form).
fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short @ ..=127) => bytes.push(short),
        _ => {
            bytes.push(0x82);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(value);
    bytes
}

async fn length(talk: &mut Talk) -> Result<usize, Failure> {
    let first = talk.exactly(1).await?[0];
    if first < 0x80 {
        return Ok(usize::from(first));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(Failure::Unexpected("the answer is no bind response".to_owned()));
    }
    Ok(talk.exactly(count).await?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

/// The result code of a BindResponse: message id, tag 0x61, ENUMERATED. Long lengths inside are stepped over.
fn result(body: &[u8]) -> Option<u8> {
    let body = body.strip_prefix(&[0x02, 0x01, 0x01, 0x61])?;
    let (first, rest) = body.split_first()?;
    let skip = if *first < 0x80 { 0 } else { usize::from(first & 0x7f) };
    match rest.get(skip..)? {
        [0x0a, 0x01, code, ..] => Some(*code),
        _ => None,
    }
}
