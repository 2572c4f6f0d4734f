//! Which number stands for which destination in a session, and whether the receiver was told.

use std::collections::HashMap;

use super::super::Directory;
use super::super::directory::Known;
use super::super::wire::NUMBERS;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// By index and generation.
    numbers: HashMap<(u32, u32), Name>,
    /// To be explained though no entry refers to them: the receiver then knows which services are told of.
    waiting: Vec<(u32, u32)>,
    /// Datagrams of explanations, neither acknowledged nor lost.
    under_way: u32,
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

    /// Every destination of the services that this director is active for is to be explained.
    pub(super) fn explain_all(&mut self, directory: &Directory) {
        self.waiting = directory.mine().map(|known| (known.index, known.generation)).collect();
    }

    /// Up to `count` of those that wait and were not explained otherwise.
    pub(super) fn take_waiting(&mut self, count: usize, directory: &Directory) -> Vec<(u32, Known)> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some((index, generation)) = self.waiting.pop()
        {
            let Some(known) = directory.at(index, generation).filter(|known| known.is_mine) else { continue };
            if let (number, true) = self.number(known) {
                taken.push((number, *known));
            }
        }
        taken
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Explanations that have not arrived yet, as far as is known.
    pub(super) fn left(&self) -> u32 {
        self.waiting.len() as u32 + self.under_way
    }

    pub(super) fn sent(&mut self) {
        self.under_way += 1;
    }

    pub(super) fn acknowledged(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// A datagram of explanations did not arrive.
    pub(super) fn lost(&mut self, names: &[(u32, u32)]) {
        self.acknowledged();
        for name in names {
            if let Some(name) = self.numbers.get_mut(name) {
                name.is_told = false;
            }
        }
        self.waiting.extend(names);
    }
}
