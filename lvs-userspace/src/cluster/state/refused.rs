//! Why somebody on the stream was not listened to, and how often.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::wire::Fault;
use crate::cluster::refusal::Refusal;

/// Reasons beside those of [`Refusal`].
const STRANGER: &str = "stranger";
const CROWD: &str = "crowd";
const SILENT: &str = "silent";
const LONG: &str = "long";
const REPLAYED: &str = "replayed";

/// Counts by reason, for all tasks of an exchange together.
#[derive(Clone, Debug)]
pub(super) struct Refused(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Default for Refused {
    /// With every reason, so that those that never happened are told too.
    fn default() -> Self {
        let others = [STRANGER, CROWD, SILENT, LONG, REPLAYED];
        let names = Refusal::NAMES.into_iter().chain(others);
        Self(Arc::new(Mutex::new(names.map(|name| (name, 0)).collect())))
    }
}

impl Refused {
    /// Somebody who is no director has connected.
    pub(super) fn stranger(&self) {
        self.count(STRANGER);
    }

    /// A director has connected once more than it may.
    pub(super) fn crowd(&self) {
        self.count(CROWD);
    }

    /// A connection has ended before its first frame was understood.
    pub(super) fn greeting(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::TimedOut => self.count(SILENT),
            io::ErrorKind::UnexpectedEof => self.count(Refusal::Short.name()),
            _ => self.frame(error),
        }
    }

    /// A connection has ended. Only what was said counts, not that nothing is said any more.
    pub(super) fn frame(&self, error: &io::Error) {
        let fault = error.get_ref().and_then(|inner| inner.downcast_ref());
        match fault {
            None => {}
            Some(Fault::Refused(refusal)) => self.count(refusal.name()),
            Some(Fault::Malformed) => self.count(Refusal::Malformed.name()),
            Some(Fault::Long { .. }) => self.count(LONG),
            Some(Fault::Foreign | Fault::Number { .. }) => self.count(REPLAYED),
        }
    }

    fn count(&self, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// Every reason, those that never happened too.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
    }
}
