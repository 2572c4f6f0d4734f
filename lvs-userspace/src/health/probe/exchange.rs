//! `type: exchange`: the server says what it should.

use super::Failure;
use super::talk::Talk;
use crate::config::model::{Check, ExchangeProbe};

pub(super) async fn probe(check: &Check, probe: &ExchangeProbe) -> Result<String, Failure> {
    let mut talk = Talk::open(check, Some(&probe.secure)).await?;
    if let Some(banner) = &probe.banner {
        talk.matching(banner).await?;
    }
    if let Some(send) = &probe.send {
        talk.send(send.as_bytes()).await?;
    }
    if let Some(expect) = &probe.expect {
        talk.matching(expect).await?;
    }
    Ok("answered".to_owned())
}
