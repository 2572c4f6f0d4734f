//! What should become of a frame, and whether it did.

use std::collections::BTreeMap;

use lvs_common::cause::{Cause, Verdict as Fate};
use lvs_common::counters::Counters;

use crate::lab::checksums::check_frame;
use crate::packet::frame::packet_of;
use crate::packet::place::{self, Side};
use crate::packet::program::Verdict;
use crate::packet::show;

/// What became of one frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    pub frame: Vec<u8>,
    /// Causes that were counted, and how often.
    pub causes: Vec<(Cause, u64)>,
    /// Counters that rose, by destination.
    pub counters: BTreeMap<u32, Counters>,
}

impl Outcome {
    pub fn has(&self, cause: Cause) -> bool {
        self.causes.iter().any(|(counted, _)| *counted == cause)
    }
}

/// What should become of a frame.
#[derive(Clone, Debug)]
pub enum Expect {
    /// Left to the kernel, untouched.
    Pass(Cause),
    /// Left to the kernel in this form.
    Given(Cause, Vec<u8>),
    Drop(Cause),
    /// Sent out by this interface, in this form, and counted once for one destination.
    Out(Side, Vec<u8>),
    /// As [`Self::Out`] without a destination's count: what is only routed, and ICMP errors on their way.
    Routed(Side, Vec<u8>),
    /// Sent back in this form.
    Answer(Cause, Vec<u8>),
}

/// Compares what happened with what should have.
pub(super) fn judge(side: Side, sent: &[u8], outcome: &Outcome, expect: &Expect) -> Result<(), String> {
    let (verdict, cause, frame) = match expect {
        Expect::Pass(cause) => (Verdict::Pass, Some(*cause), Some(sent)),
        Expect::Given(cause, frame) => (Verdict::Pass, Some(*cause), Some(frame.as_slice())),
        Expect::Drop(cause) => (Verdict::Drop, Some(*cause), None),
        Expect::Answer(cause, frame) => (Verdict::Transmit, Some(*cause), Some(frame.as_slice())),
        Expect::Out(out, frame) | Expect::Routed(out, frame) => {
            let verdict = if *out == side { Verdict::Transmit } else { Verdict::Redirect };
            (verdict, None, Some(frame.as_slice()))
        }
    };
    let causes: Vec<(Cause, u64)> = cause.map(|cause| (cause, 1)).into_iter().collect();
    if outcome.verdict != verdict || outcome.causes != causes {
        let found = (outcome.verdict, &outcome.causes);
        return Err(format!("expected {:?}, found {found:?}", (verdict, causes)));
    }
    if let Some(cause) = cause {
        let fits = match cause.verdict() {
            Fate::Pass => verdict == Verdict::Pass,
            Fate::Drop => verdict == Verdict::Drop,
            Fate::Answer => verdict == Verdict::Transmit,
            Fate::Note => false,
        };
        assert!(fits, "the row contradicts what {} says of itself", cause.name());
    }
    if let Some(frame) = frame
        && outcome.frame != frame
    {
        return Err(show::difference(frame, &outcome.frame));
    }
    if !matches!(expect, Expect::Pass(_) | Expect::Drop(_)) {
        // Does not depend on what the row expects. A frame that came in wrong goes out wrong.
        if check_frame(sent).is_ok() {
            check_frame(&outcome.frame).map_err(|error| format!("a checksum of what went out: {error:#}"))?;
        }
    }
    counted(sent, outcome, expect)
}

/// Whether the counters rose as the frame's fate says.
fn counted(sent: &[u8], outcome: &Outcome, expect: &Expect) -> Result<(), String> {
    let is_counted = matches!(expect, Expect::Out(..) | Expect::Pass(Cause::Local));
    if matches!(expect, Expect::Routed(..)) {
        return Ok(());
    }
    let bytes = ip_length(packet_of(sent));
    // Only replies go from anywhere else to the clients' router.
    let is_reply = sent[6..12] != place::ROUTER && outcome.frame.starts_with(&place::ROUTER);
    let risen: Vec<_> = outcome.counters.values().collect();
    let right = match risen.as_slice() {
        [] => !is_counted,
        [one] => {
            let (packets, bytes) = if is_reply { ((0, 1), (0, bytes)) } else { ((1, 0), (bytes, 0)) };
            is_counted
                && (one.packets_in, one.packets_out) == packets
                && (one.bytes_in, one.bytes_out) == bytes
        }
        _ => false,
    };
    if right { Ok(()) } else { Err(format!("of {bytes} bytes was counted: {:?}", outcome.counters)) }
}

/// What an IP header says of its packet's length; 0 where there is none.
fn ip_length(packet: &[u8]) -> u64 {
    let word =
        |at: usize| packet.get(at..at + 2).map_or(0, |word| u64::from(word[0]) << 8 | u64::from(word[1]));
    match packet.first().map(|first| first >> 4) {
        Some(4) => word(2),
        Some(6) => 40 + word(4),
        _ => 0,
    }
}
