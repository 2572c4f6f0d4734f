//! How well each node is heard on each path. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::identity::NodeId;

/// One node on one path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hearing {
    pub(super) last: Duration,
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
    pub(super) fn hear(&mut self, node: NodeId, path: usize, life: u64, sequence: u64, now: Duration) {
        let hearing = self.heard.entry((node, path)).or_default();
        if hearing.received > 0 && hearing.life == life {
            if sequence <= hearing.sequence {
                // Overtaken, and counted as missing before.
                hearing.missing = hearing.missing.saturating_sub(u64::from(sequence < hearing.sequence));
                return;
            }
            hearing.missing += sequence - hearing.sequence - 1;
            hearing.late += u64::from(now.saturating_sub(hearing.last) > self.warntime);
        }
        *hearing = Hearing { last: now, life, sequence, received: hearing.received + 1, ..*hearing };
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
            detector.hear(node, 0, 9, sequence, at(time));
        }
        let hearing = *detector.of(node, 0).unwrap();
        assert_eq!((hearing.received, hearing.missing, hearing.late, hearing.last), (4, 1, 1, at(600)));
        detector.hear(node, 0, 10, 1, at(700));
        assert_eq!(detector.of(node, 0).unwrap().missing, 1, "another life counts anew");
        assert!(detector.of(node, 1).is_none());
    }
}
