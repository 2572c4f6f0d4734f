//! The data plane's connection table as source and target.

use lvs_common::adoption::Adoption;
use lvs_common::connection::{ENTRIES_PER_BUCKET, Entry};

use super::{Source, Target};
use crate::dataplane::{FlowReader, FlowWriter, MapError};

impl Source for FlowReader {
    fn read(&self, bucket: u32) -> Option<[Option<Entry>; ENTRIES_PER_BUCKET]> {
        Self::read(self, bucket)
    }
}

impl Target for FlowWriter {
    fn places(&self) -> u32 {
        self.buckets().saturating_mul(ENTRIES_PER_BUCKET as u32)
    }

    fn entry(&self, place: u32) -> Option<Entry> {
        Self::entry(self, place)
    }

    fn apply(&mut self, records: &mut [Adoption]) -> Result<(), MapError> {
        Self::apply(self, records)
    }
}
