//! Mail, by SMTP.

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::{Failure, PATIENCE};
use crate::alert::message::Message;
use crate::config::model::{MailAlert, TlsMode};

pub(super) async fn deliver(alert: &MailAlert, message: &Message) -> Result<(), Failure> {
    let mail = written(alert, message)?;
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&alert.server)
        .port(alert.port)
        .tls(tls(alert)?)
        .timeout(Some(PATIENCE));
    if let Some(user) = &alert.user {
        let password = match &alert.password_file {
            // Read at each use, so that it can be changed.
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| Failure::Passing(format!("{}: {error}", path.display())))?,
            None => String::new(),
        };
        transport = transport.credentials(Credentials::new(user.clone(), password.trim_end().to_owned()));
    }
    match transport.build().send(mail).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_permanent() => Err(Failure::last(with_source(&error))),
        Err(error) => Err(Failure::passing(with_source(&error))),
    }
}

fn written(alert: &MailAlert, message: &Message) -> Result<Mail, Failure> {
    let address =
        |text: &str| text.parse::<Mailbox>().map_err(|error| Failure::last(format!("{text}: {error}")));
    let mut mail = Mail::builder().from(address(&alert.from)?).subject(message.subject());
    for to in &alert.to {
        mail = mail.to(address(to)?);
    }
    let host = nix::unistd::gethostname().unwrap_or_default();
    let lines: String = message.lines().map(|line| line + "\n").collect();
    let body = format!("{lines}\n-- \nlvsd on {}\n", host.to_string_lossy());
    mail.header(ContentType::TEXT_PLAIN).body(body).map_err(Failure::last)
}

fn tls(alert: &MailAlert) -> Result<Tls, Failure> {
    if alert.tls == TlsMode::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(alert.server.clone());
    if let Some(path) = &alert.trust.ca {
        let failed = |error: String| Failure::Passing(format!("{}: {error}", path.display()));
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| failed(error.to_string()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters
        .dangerous_accept_invalid_certs(alert.trust.insecure)
        .dangerous_accept_invalid_hostnames(alert.trust.insecure)
        .build()
        .map_err(Failure::passing)?;
    Ok(match alert.tls {
        TlsMode::Starttls => Tls::Required(parameters),
        TlsMode::Tls | TlsMode::None => Tls::Wrapper(parameters),
    })
}

/// The library's own words leave out the reason.
fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(reason) = below {
        text = format!("{text}: {reason}");
        below = reason.source();
    }
    text
}
