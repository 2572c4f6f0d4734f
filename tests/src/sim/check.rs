//! What must hold, and what was seen.

use std::time::Duration;

use super::director::Director;

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub time: Duration,
    pub what: String,
}

/// Never two directors that answer for one group.
///
/// A director whose host had stopped it is let off for the length of its lease after it goes on: its clock stood
/// still with it. `is_excused`: the weaker rule of two directors without a voter does not hold them apart.
pub(super) fn one_at_most(directors: &[Director], group: usize, time: Duration) -> Result<(), String> {
    let answering: Vec<usize> =
        (0..directors.len()).filter(|index| directors[*index].answers(group, time)).collect();
    let strict = answering.iter().filter(|index| !is_let_off(&directors[**index], time));
    if answering.len() > 1 && strict.count() > 1 {
        return Err(format!("directors {answering:?} answer for group {group} at once"));
    }
    Ok(())
}

/// How long after it has gone on.
pub(super) fn let_off(director: &Director) -> Duration {
    director.settings.lease() + Duration::from_millis(1)
}

fn is_let_off(director: &Director, time: Duration) -> bool {
    director.thawed.is_some_and(|thawed| time <= thawed + let_off(director))
}

/// Nobody is shot that serves: a majority hears it.
pub(super) fn may_be_fenced(directors: &[Director], index: usize, time: Duration) -> Result<(), String> {
    let director = &directors[index];
    let served = (0..director.leases.len()).find(|group| director.answers(*group, time));
    match served.filter(|_| !is_let_off(director, time)) {
        Some(group) => Err(format!("director {index} is fenced while it answers for group {group}")),
        None => Ok(()),
    }
}

/// Exactly one.
pub(super) fn exactly_one(directors: &[Director], group: usize, time: Duration) -> Result<usize, String> {
    let mut answering = (0..directors.len()).filter(|index| directors[*index].answers(group, time));
    match (answering.next(), answering.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(format!("nobody answers for group {group}")),
        (Some(one), Some(other)) => Err(format!("{one} and {other} answer for group {group} at once")),
    }
}
