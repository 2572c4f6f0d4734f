//! The latest notices, for `lvsctl events`.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use super::pool::{Notice, What};

/// So many are kept.
const KEPT: usize = 1_000;

/// One notice, and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1, without a gap: who asks again knows what is new.
    pub number: u64,
    pub time: SystemTime,
    pub notice: Notice,
}

#[derive(Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    count: u64,
    /// By their word.
    counts: BTreeMap<&'static str, u64>,
}

impl Journal {
    pub fn add(&mut self, notice: Notice, time: SystemTime) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.count += 1;
        *self.counts.entry(notice.what.word()).or_default() += 1;
        self.entries.push_back(Entry { number: self.count, time, notice });
    }

    /// How often everything that may happen did happen.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |what: &What| (what.word(), self.counts.get(what.word()).copied().unwrap_or(0));
        What::ALL.iter().map(count).collect()
    }

    /// The latest `limit` of those after `number`, oldest first.
    pub fn after(&self, number: u64, limit: usize) -> Vec<Entry> {
        let new = self.entries.iter().filter(|entry| entry.number > number);
        let surplus = new.clone().count().saturating_sub(limit);
        new.skip(surplus).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room_and_numbers_go_on() {
        let mut journal = Journal::default();
        for number in 0..1_010 {
            let (service, reason) = (number.to_string(), String::new());
            let notice = Notice { service, server: None, what: What::Up, reason };
            journal.add(notice, SystemTime::UNIX_EPOCH);
        }
        let numbers = |after, limit| -> Vec<_> {
            journal.after(after, limit).iter().map(|entry| entry.number).collect()
        };
        assert_eq!(numbers(0, 5_000), (11..=1_010).collect::<Vec<_>>());
        assert_eq!(numbers(0, 2), [1_009, 1_010]);
        assert_eq!(numbers(1_009, 10), [1_010]);
        assert_eq!(numbers(1_010, 10), [0; 0]);
        let counts = journal.counts();
        assert!(counts.contains(&("up", 1_010)) && counts.contains(&("down", 0)), "{counts:?}");
    }
}
