//! Who else claims an address that is held here, from the first claim until there was none for a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::report::{Report, begins, ends};
use super::steward::Turn;
use crate::alert::Topic;
use crate::cluster::takeover::Notice;

/// Claims are told every ten seconds while they last: three times silent is over.
const OVER: Duration = Duration::from_secs(30);

/// Until nobody notices any more.
pub(super) async fn follow(mut notices: mpsc::Receiver<Notice>, turns: mpsc::UnboundedSender<Turn>) {
    let mut conflicts = Conflicts::default();
    loop {
        let due = conflicts.due();
        let report = tokio::select! {
            notice = notices.recv() => {
                let Some(notice) = notice else { return };
                notice.log();
                conflicts.noticed(notice, Instant::now())
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => conflicts.over(Instant::now()),
        };
        if let Some(report) = report {
            turns.send(Turn::Told(report)).ok();
        }
    }
}

/// Addresses that are claimed, each with its group and the last claim.
#[derive(Debug, Default)]
struct Conflicts(BTreeMap<IpAddr, (String, Instant)>);

impl Conflicts {
    /// What is new in it.
    fn noticed(&mut self, notice: Notice, now: Instant) -> Option<Report> {
        let Notice::Conflict { group, address, by } = notice else { return None };
        let before = self.0.insert(address, (group.clone(), now));
        let by = by.map(|byte| format!("{byte:02x}")).join(":");
        let report = Report {
            text: format!("{by} claims {address} of group {group}, which this director holds"),
            concerns: vec![begins((Topic::Conflict, address.to_string(), vec![group]))],
        };
        before.is_none().then_some(report)
    }

    /// When the first one may be over.
    fn due(&self) -> Option<Instant> {
        self.0.values().map(|(_, last)| *last + OVER).min()
    }

    fn over(&mut self, now: Instant) -> Option<Report> {
        let address = *self.0.iter().find(|(_, (_, last))| *last + OVER <= now)?.0;
        let (group, _) = self.0.remove(&address)?;
        Some(Report {
            text: format!("nobody else claims {address} of group {group} any more"),
            concerns: vec![ends((Topic::Conflict, address.to_string(), vec![group]))],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_lasts_as_long_as_there_are_claims() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let address = IpAddr::from([192, 0, 2, 1]);
        let claim = || Notice::Conflict { group: "www".to_owned(), address, by: [2, 0, 0, 0, 0, 9] };
        let mut conflicts = Conflicts::default();
        let report = conflicts.noticed(claim(), at(0)).unwrap();
        assert_eq!(report.text, "02:00:00:00:00:09 claims 192.0.2.1 of group www, which this director holds");
        assert_eq!(
            report.concerns,
            [begins((Topic::Conflict, "192.0.2.1".to_owned(), vec!["www".to_owned()]))]
        );
        assert_eq!(conflicts.noticed(claim(), at(10)), None);
        assert_eq!(conflicts.due(), Some(at(40)));
        assert_eq!(conflicts.over(at(39)), None);
        let report = conflicts.over(at(40)).unwrap();
        assert_eq!(
            report.concerns,
            [ends((Topic::Conflict, "192.0.2.1".to_owned(), vec!["www".to_owned()]))]
        );
        assert_eq!((conflicts.due(), conflicts.over(at(99))), (None, None));
        let restored = Notice::Restored { group: "www".to_owned(), address };
        assert_eq!(conflicts.noticed(restored, at(100)), None);
        assert!(conflicts.noticed(claim(), at(101)).is_some());
    }
}
