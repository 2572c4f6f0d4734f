//! The service's wire: who asks there for the addresses of a group, who answers, and who hears of it.
//!
//! An answer is the data plane's and the kernel's, whatever became of the agent. What is heard while an agent is stopped
//! waits for it in its socket.

use std::time::Duration;

use lvs_userspace::cluster::election::Wire;
use lvs_userspace::cluster::identity::GroupId;

use super::director::Agent;
use super::world::{What, World};

/// Questions about each address.
const COUNT: u32 = 3;
/// Rounds of announcements, and the time between two.
const ROUNDS: u32 = 5;
const ROUND: Duration = Duration::from_millis(5);

/// As the agent asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probing {
    spacing: Duration,
    wait: Duration,
}

impl Probing {
    pub(super) fn of(deadtime: Duration) -> Self {
        let (shortest, longest) = (Duration::from_millis(5), Duration::from_millis(40));
        let spacing = (deadtime / 50).min(Duration::from_millis(10));
        Self { spacing, wait: (deadtime / 12).clamp(shortest, longest) }
    }

    pub(super) fn length(&self) -> Duration {
        self.spacing * (COUNT - 1) + self.wait
    }

    /// The longest way of a frame.
    pub(super) fn way(&self) -> Duration {
        self.spacing / 4
    }
}

/// What is asked for an attempt, and what was heard since.
#[derive(Clone, Debug)]
pub(super) struct Question {
    group: GroupId,
    attempt: u64,
    besides: Vec<GroupId>,
    heard: Wire,
}

impl World {
    /// A director begins to ask for the sake of `group`.
    pub(super) fn ask(&mut self, director: usize, group: GroupId, attempt: u64, besides: Vec<GroupId>) {
        let one = &mut self.directors[director];
        let (life, number) = (one.settings.life, one.number(group));
        let probing = Probing::of(one.settings.deadtime);
        for count in 0..COUNT {
            for about in besides.iter().copied().chain([group]) {
                let what = What::Question { director, life, about, attempt };
                self.push(self.time + probing.spacing * count, what);
            }
        }
        self.directors[director].questions[number] =
            Some(Question { group, attempt, besides, heard: Wire::Silent });
        self.push(self.time + probing.length(), What::Listened { director, life, group, attempt });
    }

    pub(super) fn question(&mut self, director: usize, about: GroupId, attempt: u64) {
        for (to, delay) in self.frames(director) {
            self.push(self.time + delay, What::Asked { by: director, to, about, attempt });
        }
    }

    /// A question has arrived.
    pub(super) fn asked(&mut self, by: usize, to: usize, about: GroupId, attempt: u64) {
        let number = self.directors[to].number(about);
        if self.directors[to].answers(number, self.time) {
            let answers = self.frames(to).into_iter().filter(|(other, _)| *other == by);
            for (_, delay) in answers {
                self.push(self.time + delay, What::Answered { to: by, about, attempt: Some(attempt) });
            }
        }
        self.hear(to, about, None, Wire::Asked);
    }

    /// Somebody has said something of a group's addresses: to who has asked, or to all.
    pub(super) fn hear(&mut self, to: usize, about: GroupId, attempt: Option<u64>, word: Wire) {
        let one = &mut self.directors[to];
        if !one.is_up || one.is_frozen || one.agent == Agent::Killed {
            return;
        }
        for question in one.questions.iter_mut().flatten() {
            if attempt.is_some_and(|attempt| attempt != question.attempt) {
                continue;
            }
            if question.group == about {
                question.heard = question.heard.max(word);
            } else if question.besides.contains(&about) {
                question.heard = question.heard.max(word.of_another());
            }
        }
    }

    /// It has listened for long enough, and is told so soon.
    pub(super) fn listened(&mut self, director: usize, group: GroupId, attempt: u64) {
        let time = self.time;
        let one = &mut self.directors[director];
        let (life, until, number) = (one.settings.life, one.now(time), one.number(group));
        let Some(question) = one.questions[number].take_if(|question| question.attempt == attempt) else {
            return;
        };
        let (found, delay) = (question.heard, self.delay_of_wire());
        self.push(time + delay, What::Probed { director, life, group, attempt, found, until });
    }

    /// All are told that a director has the addresses now.
    pub(super) fn announce(&mut self, director: usize, group: GroupId) {
        for round in 0..ROUNDS {
            self.push(self.time + ROUND * round, What::Announces { director, group });
        }
    }

    pub(super) fn announces(&mut self, director: usize, group: GroupId) {
        let one = &self.directors[director];
        if one.runs() && one.answers(one.number(group), self.time) {
            for (to, delay) in self.frames(director) {
                self.push(self.time + delay, What::Answered { to, about: group, attempt: None });
            }
        }
    }
}
