//! `type: radius`: Status-Server (RFC 5997) or Access-Request (RFC 2865) with Message-Authenticator (RFC 3579).

use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use super::talk::secret;
use super::{Failure, dial, udp};
use crate::config::model::{Check, RadiusProbe};

const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const STATUS_SERVER: u8 = 12;
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const NAS_IP_ADDRESS: u8 = 4;
const NAS_IDENTIFIER: u8 = 32;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const HEADER: usize = 20;

pub(super) async fn probe(check: &Check, probe: &RadiusProbe) -> Result<String, Failure> {
    let key = secret(&probe.secret_file)?;
    let socket = dial::udp(check).await?;
    let local = socket.local_addr().map_err(Failure::Connecting)?.ip();
    let authenticator = random()?;
    let mut attributes = match local {
        IpAddr::V4(address) => attribute(NAS_IP_ADDRESS, &address.octets()),
        IpAddr::V6(_) => attribute(NAS_IDENTIFIER, b"lvsd"),
    };
    let mut code = STATUS_SERVER;
    if let Some(login) = &probe.login {
        code = ACCESS_REQUEST;
        attributes.extend(attribute(USER_NAME, login.user.as_bytes()));
        let password = secret(&login.password_file)?;
        attributes
            .extend(attribute(USER_PASSWORD, &hidden(password.as_bytes(), key.as_bytes(), &authenticator)));
    }
    let request = request(code, &authenticator, &attributes, key.as_bytes())?;
    socket.send(&request).await.map_err(Failure::Connecting)?;
    let answer = udp::receive(&socket).await?;
    if !is_authentic(&answer, &request, key.as_bytes()) {
        return Err(Failure::Unexpected("the answer does not know the secret".to_owned()));
    }
    match (answer[0], &probe.login) {
        (ACCESS_ACCEPT, None) => Ok("answered".to_owned()),
        (ACCESS_ACCEPT, Some(login)) => Ok(format!("accepted {}", login.user)),
        (ACCESS_REJECT, Some(login)) => Err(Failure::Unexpected(format!("rejected {}", login.user))),
        (other, _) => Err(Failure::Unexpected(format!("answered with code {other}"))),
    }
}

/// 16 bytes that nobody can guess: the answer is bound to them.
fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    read.map_err(|error| Failure::Own(format!("/dev/urandom: {}", error.kind())))?;
    Ok(bytes)
}

fn attribute(kind: u8, value: &[u8]) -> Vec<u8> {
    let value = &value[..value.len().min(253)];
    let mut bytes = vec![kind, u8::try_from(value.len() + 2).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(value);
    bytes
}

/// RFC 2865 section 5.2.
fn hidden(password: &[u8], key: &[u8], authenticator: &[u8; 16]) -> Vec<u8> {
    let mut padded = password[..password.len().min(128)].to_vec();
    padded.resize(padded.len().div_ceil(16).max(1) * 16, 0);
    let mut last = authenticator.to_vec();
    for block in padded.chunks_mut(16) {
        let mask = Md5::new().chain_update(key).chain_update(&last).finalize();
        block.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        last = block.to_vec();
    }
    padded
}

fn request(code: u8, authenticator: &[u8; 16], attributes: &[u8], key: &[u8]) -> Result<Vec<u8>, Failure> {
    let length = u16::try_from(HEADER + attributes.len() + 18).unwrap_or(u16::MAX);
    let mut packet = vec![code, 1];
    packet.extend(length.to_be_bytes());
    packet.extend(authenticator);
    packet.extend(attributes);
    packet.extend(attribute(MESSAGE_AUTHENTICATOR, &[0; 16]));
    let mut mac = Hmac::<Md5>::new_from_slice(key).map_err(|error| Failure::Own(error.to_string()))?;
    mac.update(&packet);
    let at = packet.len() - 16;
    packet[at..].copy_from_slice(&mac.finalize().into_bytes());
    Ok(packet)
}

/// MD5 over the answer with the request's authenticator and the secret (RFC 2865 section 3).
fn is_authentic(answer: &[u8], request: &[u8], key: &[u8]) -> bool {
    if answer.len() < HEADER || answer[1] != request[1] {
        return false;
    }
    let length = usize::from(u16::from_be_bytes([answer[2], answer[3]]));
    let Some(attributes) = answer.get(HEADER..length) else { return false };
    let digest = Md5::new()
        .chain_update(&answer[..4])
        .chain_update(&request[4..HEADER])
        .chain_update(attributes)
        .chain_update(key)
        .finalize();
    digest.as_slice() == &answer[4..HEADER]
}
