//! `type: redis`: PING.

use super::Failure;
use super::talk::{Talk, secret};
use crate::config::model::{Check, Login};

pub(super) async fn probe(check: &Check, login: Option<&Login>) -> Result<String, Failure> {
    let mut talk = Talk::open(check, None).await?;
    if let Some(login) = login {
        let password = secret(&login.password_file)?;
        ask(&mut talk, &["AUTH", &login.user, &password], "+OK").await?;
    }
    ask(&mut talk, &["PING"], "+PONG").await?;
    talk.send(b"*1\r\n$4\r\nQUIT\r\n").await.ok();
    Ok("PONG".to_owned())
}

/// A command as an array of strings (RESP).
async fn ask(talk: &mut Talk, words: &[&str], expected: &str) -> Result<(), Failure> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    talk.send(command.as_bytes()).await?;
    let line = talk.line().await?;
    match line == expected {
        true => Ok(()),
        false => {
            let line: String = line.chars().filter(|letter| !letter.is_control()).take(60).collect();
            Err(Failure::Unexpected(format!("answered {line:?} to {}", words[0])))
        }
    }
}
