//! What between directors changes without anybody saying so: seen by looking at the status now and then. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Report, begins, ends};
use crate::alert::{Course, Topic};
use crate::cluster::pulse::Status;

/// Directors differ for a moment at every change: the other one learns of it a little later. So many looks in a row
/// must agree.
const LOOKS: u32 = 3;

#[derive(Debug)]
pub(super) struct Watched {
    own: String,
    /// Names of all groups.
    groups: Vec<String>,
    /// By group and node: how often in a row they have differed; at the most [`LOOKS`].
    differ: BTreeMap<(String, String), u32>,
    /// Groups of which it was told that this director has lost them, or cannot take them.
    lost: BTreeSet<String>,
    /// It was told that not everything has come here.
    is_incomplete: bool,
}

impl Watched {
    pub(super) const fn new(own: String, groups: Vec<String>) -> Self {
        Self { own, groups, differ: BTreeMap::new(), lost: BTreeSet::new(), is_incomplete: false }
    }

    /// Takes in what somebody else has said.
    pub(super) fn hear(&mut self, report: &Report) {
        for concern in report.concerns.iter().filter(|concern| concern.topic == Topic::Group) {
            match concern.course {
                Course::Begins => drop(self.lost.insert(concern.about.clone())),
                Course::Ends | Course::Happens => drop(self.lost.remove(&concern.about)),
            }
        }
    }

    /// Not all of another director's state has come.
    pub(super) fn is_incomplete(&mut self, text: &str) -> Report {
        self.is_incomplete = true;
        Report {
            text: text.to_owned(),
            concerns: vec![begins((Topic::State, self.own.clone(), self.groups.clone()))],
        }
    }

    /// What is new. `is_complete`: nothing of the others' state is missing.
    pub(super) fn look(&mut self, status: &Status, is_complete: bool) -> Vec<Report> {
        let mut reports = self.drift(status);
        reports.extend(self.holders(status));
        if self.is_incomplete && is_complete {
            self.is_incomplete = false;
            reports.push(Report {
                text: "all connections, and the desired state, have come".to_owned(),
                concerns: vec![ends((Topic::State, self.own.clone(), self.groups.clone()))],
            });
        }
        reports
    }

    fn drift(&mut self, status: &Status) -> Vec<Report> {
        let mut reports = Vec::new();
        let found: BTreeSet<(String, String)> = status
            .groups
            .iter()
            .flat_map(|group| group.differs_from.iter().map(|node| (group.name.clone(), node.clone())))
            .collect();
        let over: Vec<_> = self.differ.keys().filter(|pair| !found.contains(*pair)).cloned().collect();
        for pair in over {
            if self.differ.remove(&pair) == Some(LOOKS) {
                let (group, node) = pair;
                reports.push(Report {
                    text: format!("{node} serves group {group} as this director does"),
                    concerns: vec![ends((Topic::Drift, node, vec![group]))],
                });
            }
        }
        for pair in found {
            let looks = self.differ.entry(pair.clone()).or_default();
            if *looks == LOOKS {
                continue;
            }
            *looks += 1;
            if *looks == LOOKS {
                let (group, node) = pair;
                reports.push(Report {
                    text: format!(
                        "{node} would serve group {group} differently: compare `cluster`, `services`, `timeouts` and `limits` of the two files, and what `lvsctl health` shows on both"
                    ),
                    concerns: vec![begins((Topic::Drift, node, vec![group]))],
                });
            }
        }
        reports
    }

    /// A group that this director has lost is served by another one.
    fn holders(&mut self, status: &Status) -> Vec<Report> {
        let lost = status.groups.iter().filter(|group| self.lost.contains(&group.name));
        let held = lost.filter_map(|group| {
            let holder = group.holder.as_ref().filter(|holder| **holder != self.own)?;
            Some(Report {
                text: format!("{holder} holds group {}", group.name),
                concerns: vec![ends((Topic::Group, group.name.clone(), vec![group.name.clone()]))],
            })
        });
        let reports: Vec<_> = held.collect();
        reports.iter().for_each(|report| self.hear(report));
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::pulse::GroupStatus;

    fn status(holder: Option<&str>, differs_from: &[&str]) -> Status {
        let group = GroupStatus {
            name: "www".to_owned(),
            holder: holder.map(str::to_owned),
            differs_from: differs_from.iter().map(|node| (*node).to_owned()).collect(),
            ..GroupStatus::default()
        };
        Status { groups: vec![group], ..Status::default() }
    }

    fn www(topic: Topic, about: &str) -> super::super::report::Matter {
        (topic, about.to_owned(), vec!["www".to_owned()])
    }

    #[test]
    fn directors_that_differ_for_a_moment_are_no_news() {
        let mut watched = Watched::new("a".to_owned(), vec!["www".to_owned()]);
        let (same, other) = (status(Some("a"), &[]), status(Some("a"), &["b"]));
        for seen in [&other, &other, &same, &other, &other] {
            assert_eq!(watched.look(seen, true), []);
        }
        let told = watched.look(&other, true);
        assert_eq!(told[0].concerns, [begins(www(Topic::Drift, "b"))]);
        assert_eq!(watched.look(&other, true), []);
        assert_eq!(watched.look(&same, true)[0].concerns, [ends(www(Topic::Drift, "b"))]);
        assert_eq!(watched.look(&same, true), []);
    }

    #[test]
    fn a_group_that_another_director_has_is_held_again() {
        let mut watched = Watched::new("a".to_owned(), vec!["www".to_owned()]);
        assert_eq!(watched.look(&status(Some("b"), &[]), true), []);
        let lost = Report { text: String::new(), concerns: vec![begins(www(Topic::Group, "www"))] };
        watched.hear(&lost);
        for holder in [None, Some("a")] {
            assert_eq!(watched.look(&status(holder, &[]), true), []);
        }
        assert_eq!(watched.look(&status(Some("b"), &[]), true)[0].concerns, [ends(www(Topic::Group, "www"))]);
        assert_eq!(watched.look(&status(Some("b"), &[]), true), []);
    }

    #[test]
    fn what_was_missing_comes_later() {
        let mut watched = Watched::new("a".to_owned(), vec!["www".to_owned()]);
        assert_eq!(watched.look(&status(Some("b"), &[]), true), []);
        let told = watched.is_incomplete("not all").concerns;
        let state = || www(Topic::State, "a");
        assert_eq!(told, [begins(state())]);
        assert_eq!(watched.look(&status(Some("b"), &[]), false), []);
        assert_eq!(watched.look(&status(Some("b"), &[]), true)[0].concerns, [ends(state())]);
    }
}
