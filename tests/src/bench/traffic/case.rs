//! What is measured with packets, and the figures it gives.

use std::net::IpAddr;

use super::bed::{BedKind, METHODS, TRANSLATED};
use super::generator::Measured;
use super::topology;
use crate::bench::figure::{Better, Figure, median};
use crate::lab::address::Family;

/// Lost frames are named above this share.
const LOSS_WORTH_A_NOTE: f64 = 0.001;
const FLOOR: &str = "XDP_DROP";
const NFTABLES: &str = "nftables DNAT";
const NFTABLES_NOTE: &str = "with conntrack, into which every flow was taken before";

/// One thing to measure, and where.
pub(super) struct Case {
    name: &'static str,
    pub(super) family: Family,
    pub(super) bed: BedKind,
    pub(super) destination: IpAddr,
    /// At least so many times the packets of nftables in the same time of a processor.
    goal: Option<f64>,
    /// Each frame is the first of its flow.
    pub(super) new: bool,
    pub(super) runs: Vec<Measured>,
}

/// Every case, in the order of the tables.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for new in [false, true] {
        for family in Family::BOTH {
            let mut add = |name, bed, destination, goal| {
                cases.push(Case { name, family, bed, destination, goal, new, runs: Vec::new() });
            };
            let server = topology::server(family);
            // What the least program costs does not depend on what it does not read.
            if family == Family::V4 && !new {
                add("XDP_TX", BedKind::Reflect, server, None);
                add("XDP_REDIRECT", BedKind::PassOn, server, None);
            }
            if !new {
                add(FLOOR, BedKind::Drop, server, None);
            }
            for method in METHODS.iter().filter(|method| !new || !method.one_armed) {
                let goal = method.goal.filter(|_| !new);
                add(method.name, BedKind::Director, topology::vip(family, method.vip), goal);
            }
            if !new {
                add("kernel forwarding", BedKind::Kernel, server, None);
                add("kernel forwarding behind the director", BedKind::Director, server, None);
            }
            add(NFTABLES, BedKind::Nftables, topology::vip(family, TRANSLATED), None);
        }
    }
    cases
}

/// What the measured cases come to.
pub(super) fn figures(cases: &[Case]) -> Vec<Figure> {
    let (new, known): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.new);
    let kinds = [Case::processor_time, Case::packets_in_processor_second, Case::packets_a_second];
    let mut figures: Vec<Figure> =
        kinds.iter().flat_map(|kind| known.iter().map(|case| kind(case))).collect();
    figures.extend(known.iter().filter_map(|case| case.beyond_floor(&known)));
    figures.extend(new.into_iter().map(Case::time_of_new));
    figures
}

impl Case {
    fn processor_time(&self) -> Figure {
        let what = "processor time a packet";
        self.figure(what, "ns", Better::Lower, FLOOR, Measured::nanoseconds_per_packet)
    }

    fn packets_in_processor_second(&self) -> Figure {
        let what = "packets in a second of processor time";
        let value = Measured::packets_per_processor_second;
        Figure { goal: self.goal, ..self.figure(what, "1/s", Better::Higher, NFTABLES, value) }
    }

    fn packets_a_second(&self) -> Figure {
        let value = Measured::packets_per_second;
        self.figure("packets a second", "1/s", Better::Higher, NFTABLES, value)
    }

    fn time_of_new(&self) -> Figure {
        let what = "processor time a new flow";
        self.figure(what, "ns", Better::Lower, NFTABLES, Measured::nanoseconds_per_packet)
    }

    /// What is left of the processor time without what generator, wire and sink take.
    fn beyond_floor(&self, cases: &[&Self]) -> Option<Figure> {
        let floor = cases.iter().find(|floor| floor.name == FLOOR && floor.family == self.family)?;
        let times: Vec<f64> = floor.runs.iter().map(Measured::nanoseconds_per_packet).collect();
        let floor = median(&times);
        let what = "processor time a packet beyond XDP_DROP";
        let mut figure = self.figure(what, "ns", Better::Lower, NFTABLES, Measured::nanoseconds_per_packet);
        figure.samples.iter_mut().for_each(|sample| *sample -= floor);
        (self.name != FLOOR && floor.is_finite()).then_some(figure)
    }

    fn figure(
        &self,
        what: &str,
        unit: &str,
        better: Better,
        reference: &str,
        value: fn(&Measured) -> f64,
    ) -> Figure {
        let lost = self.runs.iter().map(Measured::lost).fold(0.0, f64::max);
        let note = match self.name {
            _ if lost > LOSS_WORTH_A_NOTE => {
                Some(format!("up to {:.1} % of the frames were lost; not counted", lost * 100.0))
            }
            NFTABLES if !self.new => Some(NFTABLES_NOTE.to_owned()),
            _ => None,
        };
        Figure {
            section: "traffic".into(),
            case: format!("{what}: {} {}", self.name, self.family),
            unit: unit.into(),
            samples: self.runs.iter().map(value).collect(),
            // Nothing is a multiple of itself.
            reference: (reference != self.name).then(|| format!("{what}: {reference} {}", self.family)),
            goal: None,
            better,
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_reference_is_measured() {
        let mut cases = all();
        let run = Measured {
            sent: 1000,
            received: 990,
            wall: Duration::from_millis(2),
            processor: Duration::from_millis(1),
        };
        cases.iter_mut().for_each(|case| case.runs.push(run));
        let figures = figures(&cases);
        for figure in &figures {
            assert!(figure.reference.is_none() || figure.reference_in(&figures).is_some(), "{figure:?}");
            assert!(figure.note.as_ref().is_some_and(|note| note.contains("1.0 %")), "{figure:?}");
            let same = figures.iter().filter(|other| other.case == figure.case).count();
            assert_eq!(same, 1, "{}", figure.case);
        }
        assert_eq!(figures.iter().filter(|figure| figure.goal.is_some()).count(), 6);
    }
}
