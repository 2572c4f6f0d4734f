//! `type: mysql`: greeting and handshake (MariaDB and MySQL, protocol 10). A handshake that is not finished counts
//! as an error of this host, and too many of those make the server refuse it.

use super::Failure;
use super::talk::Talk;
use crate::config::model::{Check, SqlProbe};

/// CLIENT_LONG_PASSWORD, CLIENT_CONNECT_WITH_DB, CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_PLUGIN_AUTH
const CAPABILITIES: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 19;
const WITH_DATABASE: u32 = 1 << 3;
/// ER_ACCESS_DENIED_ERROR and its relatives: who says that works.
const DENIED: [u16; 4] = [1044, 1045, 1049, 1698];

pub(super) async fn probe(check: &Check, probe: &SqlProbe) -> Result<String, Failure> {
    let mut talk = Talk::open(check, None).await?;
    let greeting = packet(&mut talk).await?;
    let version = match greeting.split_first() {
        Some((10, rest)) => rest.split(|byte| *byte == 0).next().unwrap_or_default(),
        Some((0xff, _)) => return Err(Failure::Unexpected(format!("refused: {}", error(&greeting).1))),
        _ => return Err(Failure::Unexpected("no greeting of protocol 10".to_owned())),
    };
    let version: String =
        String::from_utf8_lossy(version).chars().filter(|letter| !letter.is_control()).take(40).collect();

    let capabilities = CAPABILITIES | if probe.database.is_some() { WITH_DATABASE } else { 0 };
    let mut response = capabilities.to_le_bytes().to_vec();
    response.extend((1u32 << 24).to_le_bytes());
    // utf8mb4, and what is reserved.
    response.push(45);
    response.extend([0; 23]);
    response.extend(probe.user.as_bytes());
    // An empty password.
    response.extend([0, 0]);
    if let Some(database) = &probe.database {
        response.extend(database.as_bytes());
        response.push(0);
    }
    response.extend(b"mysql_native_password\0");
    send(&mut talk, 1, &response).await?;
    let answer = packet(&mut talk).await?;
    match answer.first() {
        // In, or asked for a password.
        Some(0x00) => send(&mut talk, 0, &[1]).await.map_or((), |()| ()),
        Some(0xfe) => {
            // An answer ends the handshake in order.
            send(&mut talk, 3, &[]).await?;
            let answer = packet(&mut talk).await?;
            if answer.first() == Some(&0xff) && !DENIED.contains(&error(&answer).0) {
                return Err(Failure::Unexpected(format!("refused: {}", error(&answer).1)));
            }
        }
        Some(0xff) if DENIED.contains(&error(&answer).0) => {}
        Some(0xff) => return Err(Failure::Unexpected(format!("refused: {}", error(&answer).1))),
        _ => return Err(Failure::Unexpected("the handshake is not understood".to_owned())),
    }
    Ok(version)
}

async fn packet(talk: &mut Talk) -> Result<Vec<u8>, Failure> {
    let head = talk.exactly(4).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    talk.exactly(length as usize).await
}

async fn send(talk: &mut Talk, sequence: u8, payload: &[u8]) -> Result<(), Failure> {
    // Never longer than two bytes can tell.
    let length = u32::try_from(payload.len()).unwrap_or_default().to_le_bytes();
    let mut packet = vec![length[0], length[1], length[2], sequence];
    packet.extend_from_slice(payload);
    talk.send(&packet).await
}

/// Number and text of an error packet.
fn error(packet: &[u8]) -> (u16, String) {
    let number = match packet.get(1..3) {
        Some([low, high]) => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let text = String::from_utf8_lossy(packet.get(3..).unwrap_or_default());
    (number, text.chars().filter(|letter| !letter.is_control()).take(80).collect())
}
