//! Which buckets the receiver has yet to learn of for the first time.

use super::super::marks::Marks;

#[derive(Debug)]
pub(super) struct Bulk {
    /// Counts the bulks of a session: what has arrived of an earlier one is no part of this one, but what is lost of it is.
    number: u32,
    left: Marks,
    /// Of those that are left: told, and neither acknowledged nor lost.
    under_way: Marks,
}

impl Bulk {
    pub(super) fn new(buckets: u32, number: u32) -> Self {
        Self { number, left: Marks::new(buckets, true), under_way: Marks::new(buckets, false) }
    }

    pub(super) fn next(&self, buckets: u32) -> Self {
        Self::new(buckets, self.number.wrapping_add(1))
    }

    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    pub(super) const fn is(&self, number: u32) -> bool {
        self.number == number
    }

    pub(super) const fn left(&self) -> u32 {
        self.left.count()
    }

    pub(super) fn told(&mut self, bucket: u32) {
        if self.left.has(bucket) {
            self.under_way.set(bucket);
        }
    }

    /// There was nothing to tell; what was told before may still be lost.
    pub(super) fn nothing(&mut self, bucket: u32) {
        if !self.under_way.has(bucket) {
            self.left.clear(bucket);
        }
    }

    /// What was told during bulk `number` has arrived.
    pub(super) fn acknowledged(&mut self, bucket: u32, number: u32) {
        if self.is(number) {
            self.left.clear(bucket);
            self.under_way.clear(bucket);
        }
    }

    /// What was told during bulk `number` will be told again: during this one, if it is another.
    pub(super) fn lost(&mut self, bucket: u32, number: u32) {
        self.under_way.clear(bucket);
        if !self.is(number) {
            self.left.set(bucket);
        }
    }
}
