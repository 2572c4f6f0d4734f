//! A [`Beat`] as bytes. Numbers are big-endian.
//!
//! ```text
//! version 1 · sizes of a head, an echo and a group 3 · counts of echoes and groups 2 · head · echoes · groups
//! head:  flags 1 (1 = answer) · sender 8 · life 8 · sequence 8 · keepalive 4 · deadtime 4
//! echo:  node 8 · life 8 · sequence 8
//! group: group 8 · epoch 8 · flags 1 (1 = claims, 2 = promise, 4 = ready, 8 = wants, 16 = fit) · hold 4 ·
//!        promise: to 8, epoch 8 · score 2 · digest 8
//! ```
//!
//! A later build adds fields at the end of head, echo or group, and flags where there are free ones: an
//! older one skips what it does not know, since every message says how large its parts are, and the later
//! one takes parts of the old size for those whose new fields have their default. So directors of both
//! builds hear each other. The version is raised only where an old field changes its meaning; whoever does
//! not know it refuses the message.

use std::collections::BTreeSet;

use super::beat::{Beat, ECHOES, Echo, Fitness, GROUPS, GroupBeat, Promise};
use super::identity::{GroupId, NodeId};
use super::keys;
use super::refusal::Refusal;

const VERSION: u8 = 1;

const PREAMBLE: usize = 6;
const HEAD: u8 = 33;
const ECHO: u8 = 24;
const GROUP: u8 = 47;

/// What goes through any path in one piece.
const LONGEST: usize = 1_400;
const _: () = assert!(size(ECHOES, GROUPS) <= LONGEST);

const ANSWER: u8 = 1;

const CLAIMS: u8 = 1;
const PROMISE: u8 = 2;
const READY: u8 = 4;
const WANTS: u8 = 8;
const FIT: u8 = 16;

/// Bytes of a sealed message with so many echoes and groups, at the most.
pub const fn size(echoes: usize, groups: usize) -> usize {
    keys::OVERHEAD + PREAMBLE + HEAD as usize + echoes * ECHO as usize + groups * GROUP as usize
}

/// The bytes of `beat`. Of echoes beyond [`ECHOES`] and groups beyond [`GROUPS`], which no cluster has,
/// nothing is said.
pub fn encode(beat: &Beat) -> Vec<u8> {
    let echoes = &beat.echoes[..beat.echoes.len().min(ECHOES)];
    let groups = &beat.groups[..beat.groups.len().min(GROUPS)];
    let mut bytes = Vec::with_capacity(size(echoes.len(), groups.len()));
    bytes.extend([VERSION, HEAD, ECHO, GROUP, echoes.len() as u8, groups.len() as u8]);
    bytes.push(if beat.is_answer { ANSWER } else { 0 });
    bytes.extend(beat.sender.0.to_be_bytes());
    bytes.extend(beat.life.to_be_bytes());
    bytes.extend(beat.sequence.to_be_bytes());
    bytes.extend(beat.keepalive.to_be_bytes());
    bytes.extend(beat.deadtime.to_be_bytes());
    for echo in echoes {
        bytes.extend(echo.node.0.to_be_bytes());
        bytes.extend(echo.life.to_be_bytes());
        bytes.extend(echo.sequence.to_be_bytes());
    }
    groups.iter().for_each(|group| encode_group(group, &mut bytes));
    bytes
}

fn encode_group(group: &GroupBeat, bytes: &mut Vec<u8>) {
    let flags = [
        (group.claims, CLAIMS),
        (group.promise.is_some(), PROMISE),
        (group.is_ready, READY),
        (group.wants, WANTS),
        (group.fitness.is_fit, FIT),
    ];
    let promise = group.promise.unwrap_or(Promise { to: NodeId(0), epoch: 0 });
    bytes.extend(group.group.0.to_be_bytes());
    bytes.extend(group.epoch.to_be_bytes());
    bytes.push(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum());
    bytes.extend(group.hold.to_be_bytes());
    bytes.extend(promise.to.0.to_be_bytes());
    bytes.extend(promise.epoch.to_be_bytes());
    bytes.extend(group.fitness.score.to_be_bytes());
    bytes.extend(group.digest.to_be_bytes());
}

/// The message in `bytes`, which were signed. [`Refusal::Version`] and [`Refusal::Malformed`] only.
pub fn decode(bytes: &[u8]) -> Result<Beat, Refusal> {
    let mut bytes = Bytes(bytes);
    let version = bytes.u8()?;
    if version != VERSION {
        return Err(Refusal::Version(version));
    }
    let [head_size, echo_size, group_size, echoes, groups] = bytes.take()?;
    if usize::from(echoes) > ECHOES || usize::from(groups) > GROUPS {
        return Err(Refusal::Malformed);
    }
    let mut head = bytes.part(head_size)?;
    let is_answer = head.u8()? & ANSWER != 0;
    let beat = Beat {
        is_answer,
        sender: NodeId(head.u64()?),
        life: head.u64()?,
        sequence: head.u64()?,
        keepalive: head.u32()?,
        deadtime: head.u32()?,
        echoes: (0..echoes).map(|_| decode_echo(bytes.part(echo_size)?)).collect::<Result<_, _>>()?,
        groups: (0..groups).map(|_| decode_group(bytes.part(group_size)?)).collect::<Result<_, _>>()?,
    };
    // A node that has started again has two: the life that is known, and the one that has yet to prove itself.
    let lives: BTreeSet<_> = beat.echoes.iter().map(|echo| (echo.node, echo.life)).collect();
    let groups: BTreeSet<_> = beat.groups.iter().map(|group| group.group).collect();
    if !bytes.0.is_empty() || lives.len() < beat.echoes.len() || groups.len() < beat.groups.len() {
        return Err(Refusal::Malformed);
    }
    Ok(beat)
}

fn decode_echo(mut bytes: Bytes<'_>) -> Result<Echo, Refusal> {
    Ok(Echo { node: NodeId(bytes.u64()?), life: bytes.u64()?, sequence: bytes.u64()? })
}

fn decode_group(mut bytes: Bytes<'_>) -> Result<GroupBeat, Refusal> {
    let (group, epoch) = (GroupId(bytes.u64()?), bytes.u64()?);
    let flags = bytes.u8()?;
    let hold = bytes.u32()?;
    let promise = Promise { to: NodeId(bytes.u64()?), epoch: bytes.u64()? };
    Ok(GroupBeat {
        group,
        epoch,
        claims: flags & CLAIMS != 0,
        hold,
        promise: (flags & PROMISE != 0).then_some(promise),
        is_ready: flags & READY != 0,
        wants: flags & WANTS != 0,
        fitness: Fitness { is_fit: flags & FIT != 0, score: bytes.u16()? },
        digest: bytes.u64()?,
    })
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn part(&mut self, size: u8) -> Result<Self, Refusal> {
        let (part, rest) = self.0.split_at_checked(size.into()).ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(Self(part))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u8(&mut self) -> Result<u8, Refusal> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests;
