//! Protocols of lines: smtp, ftp, imap, pop, nntp.

use super::talk::{Talk, secret};
use super::{Answer, Failure, ftp};
use crate::config::model::{Check, Login, TextProbe, TextProtocol, TlsMode};

pub(super) async fn probe(check: &Check, probe: &TextProbe) -> Result<Answer, Failure> {
    let mut talk = Talk::open(check, Some(&probe.secure)).await?;
    let dialect = Dialect::of(probe.protocol);
    let mut said = dialect.answer(&mut talk, "", dialect.banner).await?;
    if probe.protocol == TextProtocol::Smtp {
        dialect.ask(&mut talk, "EHLO lvsd", "250").await?;
    }
    if probe.secure.mode == TlsMode::Starttls {
        let (command, answer) = dialect.starttls;
        dialect.ask(&mut talk, command, answer).await?;
        talk = talk.encrypt(check, &probe.secure).await?;
        if probe.protocol == TextProtocol::Smtp {
            dialect.ask(&mut talk, "EHLO lvsd", "250").await?;
        }
    }
    if let Some(login) = &probe.login {
        said = log_in(&dialect, &mut talk, probe.protocol, login).await?;
    }
    if let Some(file) = &probe.file {
        // SIZE counts bytes as they lie there only in this mode.
        dialect.ask(&mut talk, "TYPE I", "200").await?;
        said = dialect.ask(&mut talk, &format!("SIZE {file}"), "213").await?;
        if probe.body.is_some() || probe.body_regex.is_some() {
            ftp::content(check, probe, file, &dialect, &mut talk).await?;
        }
    }
    // Politeness; nothing depends on the answer.
    talk.send(format!("{}{}\r\n", dialect.tag, dialect.farewell).as_bytes()).await.ok();
    let said: String = said.chars().filter(|letter| !letter.is_control()).take(60).collect();
    Ok(talk.answered(&said))
}

/// How a protocol says what all of them say.
pub(super) struct Dialect {
    /// In front of commands and their answers.
    tag: &'static str,
    /// Beginnings of answers, set apart by `|`; any of them will do.
    banner: &'static str,
    starttls: (&'static str, &'static str),
    farewell: &'static str,
}

impl Dialect {
    const fn of(protocol: TextProtocol) -> Self {
        let (tag, banner, starttls, farewell) = match protocol {
            TextProtocol::Smtp => ("", "220", ("STARTTLS", "220"), "QUIT"),
            TextProtocol::Ftp => ("", "220", ("AUTH TLS", "234"), "QUIT"),
            TextProtocol::Imap => ("a ", "* OK|* PREAUTH", ("STARTTLS", "a OK"), "LOGOUT"),
            TextProtocol::Pop => ("", "+OK", ("STLS", "+OK"), "QUIT"),
            TextProtocol::Nntp => ("", "200|201", ("STARTTLS", "382"), "QUIT"),
        };
        Self { tag, banner, starttls, farewell }
    }

    pub(super) async fn ask(
        &self,
        talk: &mut Talk,
        command: &str,
        expected: &str,
    ) -> Result<String, Failure> {
        talk.send(format!("{}{command}\r\n", self.tag).as_bytes()).await?;
        // What is told of it must not be a password.
        let verb = command.split(' ').next().unwrap_or_default();
        self.answer(talk, verb, expected).await
    }

    /// The last line of an answer, if it begins with one of `expected`.
    pub(super) async fn answer(
        &self,
        talk: &mut Talk,
        verb: &str,
        expected: &str,
    ) -> Result<String, Failure> {
        loop {
            let line = talk.line().await?;
            let is_untagged = self.tag == "a " && !verb.is_empty() && line.starts_with("* ");
            // `220-` has further lines, `220 ` has not (RFC 959 section 4.2, RFC 5321 section 4.2.1).
            let is_continued =
                line.as_bytes().get(3) == Some(&b'-') && line[..3].bytes().all(|byte| byte.is_ascii_digit());
            if is_untagged || is_continued || line.starts_with(' ') {
                continue;
            }
            return match expected.split('|').any(|expected| line.starts_with(expected)) {
                true => Ok(line),
                false => {
                    let line: String = line.chars().filter(|letter| !letter.is_control()).take(60).collect();
                    let after = if verb.is_empty() { String::new() } else { format!(" to {verb}") };
                    Err(Failure::Unexpected(format!("answered {line:?}{after}")))
                }
            };
        }
    }
}

async fn log_in(
    dialect: &Dialect,
    talk: &mut Talk,
    protocol: TextProtocol,
    login: &Login,
) -> Result<String, Failure> {
    let (user, password) = (&login.user, secret(&login.password_file)?);
    if password.contains(['\r', '\n']) {
        return Err(Failure::Own(format!("{}: more than one line", login.password_file.display())));
    }
    match protocol {
        TextProtocol::Smtp => {
            let token = base64(format!("\0{user}\0{password}").as_bytes());
            dialect.ask(talk, &format!("AUTH PLAIN {token}"), "235").await
        }
        TextProtocol::Imap => {
            let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            dialect.ask(talk, &format!("LOGIN {} {}", quoted(user), quoted(&password)), "a OK").await
        }
        TextProtocol::Ftp => {
            let said = dialect.ask(talk, &format!("USER {user}"), "331|230").await?;
            match said.starts_with("230") {
                true => Ok(said),
                false => dialect.ask(talk, &format!("PASS {password}"), "230").await,
            }
        }
        TextProtocol::Pop => {
            dialect.ask(talk, &format!("USER {user}"), "+OK").await?;
            dialect.ask(talk, &format!("PASS {password}"), "+OK").await
        }
        TextProtocol::Nntp => {
            let said = dialect.ask(talk, &format!("AUTHINFO USER {user}"), "381|281").await?;
            match said.starts_with("281") {
                true => Ok(said),
                false => dialect.ask(talk, &format!("AUTHINFO PASS {password}"), "281").await,
            }
        }
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10.
    #[test]
    fn base64_is_the_rfcs() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
