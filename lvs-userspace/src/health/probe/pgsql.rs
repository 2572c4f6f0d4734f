//! `type: pgsql`: the start of a session, up to the question for a password (protocol 3.0).

use super::Failure;
use super::talk::Talk;
use crate::config::model::{Check, SqlProbe};

/// Classes of SQLSTATE that a server answers which works, but does not want this user or database.
const DENIED: [&str; 3] = ["28", "3D", "42"];

pub(super) async fn probe(check: &Check, probe: &SqlProbe) -> Result<String, Failure> {
    let mut talk = Talk::open(check, None).await?;
    let mut body = 196_608u32.to_be_bytes().to_vec();
    let database = probe.database.as_ref().unwrap_or(&probe.user);
    for word in ["user", &probe.user, "database", database, "application_name", "lvsd", ""] {
        body.extend(word.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    talk.send(&[&length.to_be_bytes(), body.as_slice()].concat()).await?;
    let head = talk.exactly(5).await?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let body = talk.exactly(length.saturating_sub(4)).await?;
    match head[0] {
        b'R' => {
            // Terminate.
            talk.send(&[b'X', 0, 0, 0, 4]).await.ok();
            Ok("asked to authenticate".to_owned())
        }
        b'E' => {
            let (state, text) = error(&body);
            match DENIED.iter().any(|class| state.starts_with(class)) {
                true => Ok(format!("answered {state}")),
                false => Err(Failure::Unexpected(format!("refused: {state} {text}"))),
            }
        }
        _ => Err(Failure::Unexpected("the answer is not understood".to_owned())),
    }
}

/// SQLSTATE and message of an ErrorResponse: fields that begin with a letter and end with a zero.
fn error(body: &[u8]) -> (String, String) {
    let field = |letter: u8| {
        let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&letter));
        let text = String::from_utf8_lossy(field.map_or(&[][..], |field| &field[1..]));
        text.chars().filter(|letter| !letter.is_control()).take(80).collect::<String>()
    };
    (field(b'C'), field(b'M'))
}
