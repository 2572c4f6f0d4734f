//! How well each node is heard on each path. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::identity::NodeId;

/// A path that was silent counts as silent until it was heard for so long without another silence: so one that comes
/// and goes is told of once.
const STEADY: Duration = Duration::from_secs(30);

/// One node on one path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hearing {
    pub(super) last: Duration,
    /// Since when there was no silence of the warning time.
    since: Duration,
    is_silent: bool,
    life: u64,
    sequence: u64,
    pub(super) received: u64,
    /// Messages that came after the warning time.
    pub(super) late: u64,
    /// Messages that never came.
    pub(super) missing: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Detector {
    warntime: Duration,
    heard: BTreeMap<(NodeId, usize), Hearing>,
}

impl Detector {
    pub(super) const fn new(warntime: Duration) -> Self {
        Self { warntime, heard: BTreeMap::new() }
    }

    /// A message came. Every message goes out on all paths, so that a gap in its numbers is a loss on this one.
    pub(super) fn hear(&mut self, node: NodeId, path: usize, (life, sequence): (u64, u64), now: Duration) {
        let fresh = Hearing { last: now, since: now, ..Hearing::default() };
        let hearing = self.heard.entry((node, path)).or_insert(fresh);
        let is_late = now.saturating_sub(hearing.last) > self.warntime;
        if hearing.received > 0 && hearing.life == life {
            if sequence <= hearing.sequence {
                // Overtaken, and counted as missing before.
                hearing.missing = hearing.missing.saturating_sub(u64::from(sequence < hearing.sequence));
                return;
            }
            hearing.missing += sequence - hearing.sequence - 1;
            hearing.late += u64::from(is_late);
        }
        let since = if is_late { now } else { hearing.since };
        *hearing = Hearing { last: now, since, life, sequence, received: hearing.received + 1, ..*hearing };
    }

    /// Sees who has fallen silent on a path, and who has been heard again for long enough. To be called now and then:
    /// a silence that began and ended between two calls is none.
    pub(super) fn look(&mut self, now: Duration) {
        for hearing in self.heard.values_mut() {
            if now.saturating_sub(hearing.last) > self.warntime {
                hearing.is_silent = true;
            } else if now.saturating_sub(hearing.since) >= STEADY {
                hearing.is_silent = false;
            }
        }
    }

    /// Who is silent on which path. A path on which a node was never heard is none of its.
    pub(super) fn silent(&self) -> impl Iterator<Item = (NodeId, usize)> + '_ {
        self.heard.iter().filter(|(_, hearing)| hearing.is_silent).map(|(of, _)| *of)
    }

    pub(super) fn of(&self, node: NodeId, path: usize) -> Option<&Hearing> {
        self.heard.get(&(node, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_and_missing_messages_are_counted_by_path() {
        let node = NodeId(1);
        let mut detector = Detector::new(Duration::from_millis(200));
        let at = Duration::from_millis;
        for (sequence, time) in [(1, 100), (2, 200), (5, 500), (5, 501), (4, 502), (6, 600)] {
            detector.hear(node, 0, (9, sequence), at(time));
        }
        let hearing = *detector.of(node, 0).unwrap();
        assert_eq!((hearing.received, hearing.missing, hearing.late, hearing.last), (4, 1, 1, at(600)));
        detector.hear(node, 0, (10, 1), at(700));
        assert_eq!(detector.of(node, 0).unwrap().missing, 1, "another life counts anew");
        assert!(detector.of(node, 1).is_none());
    }
    /// Beats each 100 ms from `from` on, both in milliseconds, before `until`.
    fn beats(detector: &mut Detector, (node, path): (NodeId, usize), from: u64, until: u64) {
        for time in (from..until).step_by(100) {
            detector.hear(node, path, (9, time), Duration::from_millis(time));
            detector.look(Duration::from_millis(time));
        }
    }

    fn silent_at(detector: &mut Detector, milliseconds: u64) -> Vec<(NodeId, usize)> {
        detector.look(Duration::from_millis(milliseconds));
        detector.silent().collect()
    }

    #[test]
    fn a_path_is_silent_after_the_warning_time_and_no_other_is() {
        let (one, other) = ((NodeId(1), 0), (NodeId(1), 1));
        let mut detector = Detector::new(Duration::from_millis(200));
        assert_eq!(silent_at(&mut detector, 5_000), [], "nobody was heard on any path yet");
        beats(&mut detector, one, 10_000, 12_000);
        beats(&mut detector, other, 10_000, 12_000);
        detector.hear(other.0, other.1, (9, 12_100), Duration::from_millis(12_100));
        assert_eq!(silent_at(&mut detector, 12_100), []);
        assert_eq!(silent_at(&mut detector, 12_101), [one]);
        assert_eq!(silent_at(&mut detector, 12_300), [one]);
        assert_eq!(silent_at(&mut detector, 12_301), [one, other]);
    }

    #[test]
    fn a_path_is_heard_again_when_it_has_been_for_a_while() {
        let path = (NodeId(1), 0);
        let mut detector = Detector::new(Duration::from_millis(200));
        beats(&mut detector, path, 10_000, 12_000);
        assert_eq!(silent_at(&mut detector, 13_000), [path]);
        beats(&mut detector, path, 13_000, 43_000);
        assert_eq!(silent_at(&mut detector, 42_999), [path]);
        assert_eq!(silent_at(&mut detector, 43_000), []);
    }

    #[test]
    fn a_path_that_comes_and_goes_is_silent_once() {
        let path = (NodeId(1), 0);
        let mut detector = Detector::new(Duration::from_millis(200));
        let mut changes = Vec::new();
        // A second with beats, a second without, for two minutes; then nothing but beats.
        for round in 0..60_u64 {
            beats(&mut detector, path, 10_000 + round * 2_000, 11_000 + round * 2_000);
            changes.push(detector.silent().count());
            changes.push(silent_at(&mut detector, 11_900 + round * 2_000).len());
        }
        beats(&mut detector, path, 130_000, 170_000);
        changes.push(detector.silent().count());
        changes.dedup();
        assert_eq!(changes, [0, 1, 0]);
    }

    #[test]
    fn another_life_is_no_silence() {
        let node = NodeId(1);
        let mut detector = Detector::new(Duration::from_millis(200));
        beats(&mut detector, (node, 0), 10_000, 12_000);
        detector.hear(node, 0, (10, 1), Duration::from_millis(12_050));
        assert_eq!(silent_at(&mut detector, 12_250), []);
        assert_eq!(silent_at(&mut detector, 12_251), [(node, 0)]);
    }
}
