//! Something that happened between directors, in words, and what of it people are told.

use std::collections::BTreeMap;

use crate::alert::{Concern, Course, Topic};
use crate::cluster::election::{Notice, Why};
use crate::cluster::identity::{GroupId, NodeId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::runtime) struct Report {
    /// For `lvsctl events`.
    pub(in crate::runtime) text: String,
    pub(in crate::runtime) concerns: Vec<Concern>,
}

/// Topic, whom it is about, and the groups it touches.
pub(super) type Matter = (Topic, String, Vec<String>);

pub(super) fn begins(matter: Matter) -> Concern {
    concern(matter, Course::Begins)
}

pub(super) fn ends(matter: Matter) -> Concern {
    concern(matter, Course::Ends)
}

pub(super) fn happens(matter: Matter) -> Concern {
    concern(matter, Course::Happens)
}

fn concern((topic, about, groups): Matter, course: Course) -> Concern {
    Concern { topic, about, groups, course }
}

/// What nodes and groups are called.
pub(super) struct Names<'a> {
    pub(super) group: &'a dyn Fn(GroupId) -> String,
    pub(super) node: &'a dyn Fn(NodeId) -> String,
    /// All groups.
    pub(super) groups: &'a [String],
}

/// What of an election's notice people are told. `asked`: why each group was asked for the last time.
pub(super) fn concerns(notice: &Notice, asked: &BTreeMap<GroupId, Why>, names: &Names<'_>) -> Vec<Concern> {
    let peer = |node| (Topic::Peer, (names.node)(node), names.groups.to_vec());
    let of = |topic, group| (topic, (names.group)(group), vec![(names.group)(group)]);
    match *notice {
        Notice::Dead { node } => vec![begins(peer(node))],
        Notice::Alive { node } => vec![ends(peer(node))],
        Notice::Holds { group, .. } => {
            let held = ends(of(Topic::Group, group));
            match asked.get(&group) {
                // Nobody had it: it was not taken over.
                None | Some(Why::Vacant) => vec![held],
                Some(_) => vec![held, happens(of(Topic::Takeover, group))],
            }
        }
        Notice::Lapsed { group } => vec![begins(of(Topic::Group, group))],
        Notice::GaveUp { group, why } | Notice::StoodBack { group, why } => match why {
            Why::Answered
            | Why::Lives(_)
            | Why::Contended
            | Why::NotFenced
            | Why::NoQuorum
            | Why::Resource => vec![begins(of(Topic::Group, group))],
            // Another one has it, or is to have it.
            Why::Vacant
            | Why::Silent(_)
            | Why::HandedOver(_)
            | Why::Operator
            | Why::Fitter(_)
            | Why::Preferred(_)
            | Why::Superseded => Vec::new(),
        },
        Notice::Asks { .. } | Notice::Held { .. } | Notice::Paused { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Topic, about, groups and course of each.
    fn told(notice: &Notice, asked: Option<Why>) -> Vec<String> {
        let asked = asked.map(|why| (GroupId(1), why)).into_iter().collect();
        let names = Names {
            group: &|group| format!("g{}", group.0),
            node: &|node| format!("n{}", node.0),
            groups: &["g1".to_owned(), "g2".to_owned()],
        };
        let concerns = concerns(notice, &asked, &names).into_iter();
        concerns
            .map(|Concern { topic, about, groups, course }| {
                format!("{topic:?} {about} of {} {course:?}", groups.join(" "))
            })
            .collect()
    }

    #[test]
    fn each_notice_is_told_or_not() {
        let (group, node, epoch) = (GroupId(1), NodeId(7), 3);
        let held = "Group g1 of g1 Ends";
        for (notice, asked, expected) in [
            (Notice::Dead { node }, None, vec!["Peer n7 of g1 g2 Begins"]),
            (Notice::Alive { node }, None, vec!["Peer n7 of g1 g2 Ends"]),
            (Notice::Asks { group, why: Why::Operator }, None, vec![]),
            (Notice::Holds { group, epoch }, None, vec![held]),
            (Notice::Holds { group, epoch }, Some(Why::Vacant), vec![held]),
            (
                Notice::Holds { group, epoch },
                Some(Why::Silent(node)),
                vec![held, "Takeover g1 of g1 Happens"],
            ),
            (Notice::Holds { group, epoch }, Some(Why::Operator), vec![held, "Takeover g1 of g1 Happens"]),
            (Notice::Lapsed { group }, None, vec!["Group g1 of g1 Begins"]),
            (Notice::StoodBack { group, why: Why::NotFenced }, None, vec!["Group g1 of g1 Begins"]),
            (Notice::StoodBack { group, why: Why::Superseded }, None, vec![]),
            (Notice::GaveUp { group, why: Why::Resource }, None, vec!["Group g1 of g1 Begins"]),
            (Notice::GaveUp { group, why: Why::Operator }, None, vec![]),
            (Notice::Paused { duration: Duration::from_secs(1) }, None, vec![]),
        ] {
            assert_eq!(told(&notice, asked), expected, "{notice:?}");
        }
    }
}
