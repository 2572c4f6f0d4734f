//! Which number stands for which destination in a session, and whether the receiver was told.

use std::collections::HashMap;

use super::super::directory::Known;
use super::super::wire::NUMBERS;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// By index and generation.
    numbers: HashMap<(u32, u32), Name>,
}

#[derive(Debug)]
struct Name {
    number: u32,
    is_told: bool,
}

impl Names {
    /// No number is used twice in a session.
    pub(super) fn are_used_up(&self) -> bool {
        self.numbers.len() >= NUMBERS as usize
    }

    /// The number of a destination, and whether it has to be explained first. It counts as explained from now on.
    pub(super) fn number(&mut self, known: &Known) -> (u32, bool) {
        let next = self.numbers.len() as u32;
        let name = self.numbers.entry((known.index, known.generation));
        let name = name.or_insert(Name { number: next, is_told: false });
        (name.number, !std::mem::replace(&mut name.is_told, true))
    }

    /// The explanation did not arrive.
    pub(super) fn lost(&mut self, index: u32, generation: u32) {
        if let Some(name) = self.numbers.get_mut(&(index, generation)) {
            name.is_told = false;
        }
    }
}
