//! `type: exchange`: the server says what it should.

use super::talk::Talk;
use super::{Answer, Failure};
use crate::config::model::{Check, ExchangeProbe};

pub(super) async fn probe(check: &Check, probe: &ExchangeProbe) -> Result<Answer, Failure> {
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
    Ok(talk.answered("answered"))
}
