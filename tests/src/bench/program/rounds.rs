//! Rounds of one program: a fresh packet for each of millions, in one BPF_PROG_TEST_RUN.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, Map};
use aya::programs::{ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use lvs_common::bench::{FRAME_WORDS, Order, Plan};

use super::scene::Scene;
use crate::bench::object;
use crate::packet::{Verdict, program};

/// What the packets of a run look like. The client's end varies; see [`Plan`].
#[derive(Clone, Debug)]
pub(super) struct Packets {
    /// The frame of flow 0: 64 bytes of IPv4 or 80 of IPv6.
    pub(super) frame: Vec<u8>,
    /// From a real server to the client.
    pub(super) reply: bool,
    pub(super) flows: u32,
    pub(super) services: u32,
    /// Each flow once, in order, beginning with this one; else any of them each time.
    pub(super) first: Option<u32>,
}

impl Packets {
    /// Requests of one flow.
    pub(super) fn of(scene: &Scene, flags: u8) -> Self {
        let services = if scene.spread { scene.services } else { 1 };
        Self { frame: scene.request(flags), reply: false, flows: 1, services, first: None }
    }

    const fn is_v4(&self) -> bool {
        self.frame.len() == 64
    }

    fn plan(&self, rounds: u32) -> Result<Plan> {
        ensure!(matches!(self.frame.len(), 64 | 80), "a frame of {} bytes", self.frame.len());
        let mut frame = [0; FRAME_WORDS];
        for (word, bytes) in frame.iter_mut().zip(self.frame.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Ok(Plan {
            frame,
            state: self.first.map_or(0x5eed, |first| u64::from(first).wrapping_sub(1)),
            flows: self.flows,
            services: self.services,
            order: if self.first.is_some() { Order::SEQUENTIAL } else { Order::RANDOM },
            rounds,
            done: 0,
            reserved: 0,
            began: 0,
            ended: 0,
        })
    }
}

/// A program without a look at the packet's meaning, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    Drop,
    Transmit,
    Ipip,
}

/// What one run came to.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// Per packet, wrapper included.
    pub(super) nanoseconds: f64,
    /// Of the last packet.
    pub(super) verdict: Verdict,
    pub(super) frame: Vec<u8>,
}

/// The wrapper and the floors, in the kernel.
#[derive(Debug)]
pub(super) struct Rounds {
    programs: Ebpf,
}

impl Rounds {
    pub(super) fn load() -> Result<Self> {
        let mut programs = EbpfLoader::new().load(&object::read("bench_program")?)?;
        for (name, program) in programs.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("the kernel refuses {name}"))?;
        }
        Ok(Self { programs })
    }

    fn program(&self, name: &str) -> Result<&ProgramFd> {
        let program = self.programs.program(name).with_context(|| format!("no program {name}"))?;
        Ok(program.fd()?)
    }

    /// Runs a floor.
    pub(super) fn floor(&mut self, floor: Floor, packets: &Packets, rounds: u32) -> Result<Run> {
        let name = match (floor, packets.is_v4()) {
            (Floor::Drop, _) => "bench_drop",
            (Floor::Transmit, _) => "bench_transmit",
            (Floor::Ipip, true) => "bench_ipip_v4",
            (Floor::Ipip, false) => "bench_ipip_v6",
        };
        let target = self.program(name)?.as_fd().try_clone_to_owned()?;
        self.run(target.as_fd(), 1, packets, rounds)
    }

    /// Runs `rounds` packets that come in by the interface with index `ingress` through `target`.
    pub(super) fn director(
        &mut self,
        target: BorrowedFd<'_>,
        ingress: u32,
        packets: &Packets,
        rounds: u32,
    ) -> Result<Run> {
        self.run(target, ingress, packets, rounds)
    }

    fn run(&mut self, target: BorrowedFd<'_>, ingress: u32, packets: &Packets, rounds: u32) -> Result<Run> {
        let Some(Map::ProgramArray(targets)) = self.programs.map("TARGET") else { bail!("no map TARGET") };
        program::set_target(targets.fd().as_fd(), target)?;
        let mut plans: Array<_, Plan> =
            Array::try_from(self.programs.map_mut("PLAN").context("no map PLAN")?)?;
        plans.set(0, packets.plan(rounds)?, 0)?;
        let wrapper = match (packets.is_v4(), packets.reply) {
            (true, false) => "bench_v4_request",
            (true, true) => "bench_v4_reply",
            (false, false) => "bench_v6_request",
            (false, true) => "bench_v6_reply",
        };
        let wrapper = self.program(wrapper)?.as_fd();
        let (verdict, frame) = program::run_rounds(wrapper, ingress, &packets.frame, rounds)?;
        let plans: Array<_, Plan> = Array::try_from(self.programs.map("PLAN").context("no map PLAN")?)?;
        let plan = plans.get(&0, 0)?;
        ensure!(plan.done == rounds, "{} rounds of {rounds} were run", plan.done);
        let elapsed = plan.ended.saturating_sub(plan.began) as f64;
        Ok(Run { nanoseconds: elapsed / f64::from(rounds.max(2) - 1), verdict, frame })
    }
}
