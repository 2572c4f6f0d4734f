//! Frames through the programs, and rows of tables about them.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use lvs_common::cause::Cause;
use lvs_common::counters::Counters;

use super::World;
use super::judge::{Expect, Outcome, judge};
use crate::packet::place::Side;
use crate::packet::program::{self, Verdict};
use crate::packet::show;

/// The program, for a thread of its own.
#[derive(Debug)]
pub struct Runner {
    program: OwnedFd,
    ingress: u32,
}

impl Runner {
    /// What the program makes of `frame`.
    pub fn run(&self, frame: &[u8]) -> Verdict {
        let run = program::run(self.program.as_fd(), self.ingress, frame);
        run.unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN: {error}")).0
    }
}

impl World {
    /// Runs the program on a frame that comes in by `side`.
    pub fn run(&mut self, side: Side, frame: &[u8]) -> Outcome {
        let (verdict, frame) = self.only_run(side, frame);
        let (causes, counters) = (self.read_causes(), self.read_counters());
        let rose = causes.iter().zip(&self.causes).filter(|(now, before)| now.1 != before.1);
        let risen = (0..).zip(counters.iter().zip(&self.counters));
        let outcome = Outcome {
            verdict,
            frame,
            causes: rose.map(|(now, before)| (now.0, now.1 - before.1)).collect(),
            counters: risen
                .filter(|(_, (now, before))| now != before)
                .map(|(index, (now, before))| (index, difference(now, before)))
                .collect(),
        };
        (self.causes, self.counters) = (causes, counters);
        outcome
    }

    /// The same where nobody asks for causes and counters: for thousands of frames.
    pub fn only_run(&self, side: Side, frame: &[u8]) -> (Verdict, Vec<u8>) {
        let program = self.dataplane().director();
        program::run(program, self.interfaces.index(side), frame)
            .unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN: {error}"))
    }

    /// Whether a frame leaves that has this mark, and in which form.
    pub fn leave(&self, mark: u32, frame: &[u8]) -> (bool, Vec<u8>) {
        let program = self.dataplane().egress().unwrap_or_else(|| unreachable!("loaded with the director"));
        program::run_egress(program, mark, frame).unwrap_or_else(|error| panic!("BPF_PROG_TEST_RUN: {error}"))
    }

    /// Runs the program by other threads, on frames that come in by `side`.
    pub fn runner(&self, side: Side) -> Runner {
        let program = self.dataplane().director().try_clone_to_owned();
        Runner {
            program: program.unwrap_or_else(|error| panic!("{error}")),
            ingress: self.interfaces.index(side),
        }
    }

    /// The director's program, to be run by others.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.dataplane().director()
    }

    /// Index of the interface.
    pub const fn interface(&self, side: Side) -> u32 {
        self.interfaces.index(side)
    }

    /// Takes causes and counters as they are: the next [`World::run`] reports what rises from here.
    pub fn forget(&mut self) {
        (self.causes, self.counters) = (self.read_causes(), self.read_counters());
    }

    /// Runs one row of a table: a frame and what should become of it.
    pub fn row(&mut self, name: &str, side: Side, frame: &[u8], expect: &Expect) -> Outcome {
        self.row_by(name, side, frame, |_| expect.clone())
    }

    /// The same where the expected frame depends on what the program may choose freely.
    pub fn row_by(
        &mut self,
        name: &str,
        side: Side,
        frame: &[u8],
        expect: impl FnOnce(&Outcome) -> Expect,
    ) -> Outcome {
        let outcome = self.run(side, frame);
        self.rows += 1;
        if let Err(reason) = judge(side, frame, &outcome, &expect(&outcome)) {
            let input = show::frame(frame);
            self.failures.push(format!("row `{name}`: {reason}\n  sent     {input}"));
        }
        outcome
    }

    /// Runs one row of a table about what the machine itself sends: whether `frame` leaves, or why it does not.
    pub fn leaving_row(&mut self, name: &str, frame: &[u8], dropped: Option<Cause>) {
        self.forget();
        let (leaves, left) = self.leave(0, frame);
        let causes = self.read_causes();
        let rose = causes.iter().zip(&self.causes).filter(|(now, before)| now.1 != before.1);
        let rose: Vec<(Cause, u64)> = rose.map(|(now, before)| (now.0, now.1 - before.1)).collect();
        let expected: Vec<(Cause, u64)> = dropped.map(|cause| (cause, 1)).into_iter().collect();
        self.equal(name, (leaves, rose), (dropped.is_none(), expected));
        self.check(name, left == frame, || "the frame was changed".to_owned());
    }

    /// A row about something else than a frame.
    pub fn check(&mut self, name: &str, holds: bool, detail: impl FnOnce() -> String) {
        self.rows += 1;
        if !holds {
            self.failures.push(format!("row `{name}`: {}", detail()));
        }
    }

    /// A row that compares.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, found: T, expected: T) {
        let holds = found == expected;
        self.check(name, holds, || format!("expected {expected:?}, found {found:?}"));
    }
}

const fn difference(now: &Counters, before: &Counters) -> Counters {
    Counters {
        connections: now.connections.wrapping_sub(before.connections),
        packets_in: now.packets_in.wrapping_sub(before.packets_in),
        bytes_in: now.bytes_in.wrapping_sub(before.bytes_in),
        packets_out: now.packets_out.wrapping_sub(before.packets_out),
        bytes_out: now.bytes_out.wrapping_sub(before.bytes_out),
    }
}
