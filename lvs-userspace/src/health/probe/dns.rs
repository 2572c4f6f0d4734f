//! `type: dns`: a question is answered.

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

use super::talk::Talk;
use super::{Failure, dial, udp};
use crate::config::model::{Check, DnsProbe, Transport};

pub(super) async fn probe(check: &Check, probe: &DnsProbe) -> Result<String, Failure> {
    let unusable = |what: &str| Failure::Own(format!("{what} cannot be asked for"));
    let name = Name::from_utf8(&probe.name).map_err(|_| unusable(&probe.name))?;
    let record: RecordType = probe.record.parse().map_err(|_| unusable(&probe.record))?;
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name, record));
    let bytes = question.to_vec().map_err(|_| unusable(&probe.name))?;
    let answer = match probe.transport {
        Transport::Udp => {
            let socket = dial::udp(check).await?;
            socket.send(&bytes).await.map_err(Failure::Connecting)?;
            loop {
                // Another number is not the answer to this question.
                let datagram = udp::receive(&socket).await?;
                if datagram.get(..2) == bytes.get(..2) {
                    break datagram;
                }
            }
        }
        Transport::Tcp => {
            let mut talk = Talk::open(check, None).await?;
            let length = u16::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
            talk.send(&[&length, bytes.as_slice()].concat()).await?;
            let length = talk.exactly(2).await?;
            talk.exactly(usize::from(u16::from_be_bytes([length[0], length[1]]))).await?
        }
    };
    judge(&answer, question.metadata.id, record, probe)
}

fn judge(answer: &[u8], id: u16, record: RecordType, probe: &DnsProbe) -> Result<String, Failure> {
    let Ok(answer) = Message::from_vec(answer) else {
        return Err(Failure::Unexpected("the answer is no DNS message".to_owned()));
    };
    if answer.metadata.id != id {
        return Err(Failure::Unexpected("the answer is to another question".to_owned()));
    }
    let code = answer.metadata.response_code;
    if code != ResponseCode::NoError {
        return Err(Failure::Unexpected(format!("answered {code}")));
    }
    let found: Vec<String> = answer
        .answers
        .iter()
        .filter(|found| found.record_type() == record)
        .map(|found| found.data.to_string())
        .collect();
    let Some(first) = found.first() else {
        return Err(Failure::Unexpected(format!("no record of type {record}")));
    };
    match &probe.answer {
        Some(expected) if !found.iter().any(|found| same(found, expected)) => {
            Err(Failure::Unexpected(format!("answered {}, not {expected}", found.join(", "))))
        }
        Some(expected) => Ok(expected.clone()),
        None => Ok(first.clone()),
    }
}

/// Names end in a dot or do not, and their case does not matter.
fn same(found: &str, expected: &str) -> bool {
    found.trim_end_matches('.').eq_ignore_ascii_case(expected.trim_end_matches('.'))
}
