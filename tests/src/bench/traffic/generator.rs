//! Live frames into the director, and what arrives behind it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, PerCpuArray};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};

use super::frame::TEMPLATE;
use super::processor::Processor;
use super::topology::Topology;
use crate::bench::object;
use crate::lab::address::Family;
use crate::lab::namespace::Namespace;

const OBJECT: &str = "bench_traffic";
/// Frames that the kernel hands over at once; more overfill the ring of a veth, which holds 256.
const BATCH: u32 = 64;
const PROCESSOR: usize = 0;
const WORDS: usize = TEMPLATE / 8;

/// What a machine does with the frames it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Counts and drops them.
    Sink,
    /// Sends them back by XDP_TX, unread.
    Reflect,
    /// Sends them on to the servers by XDP_REDIRECT, unread.
    PassOn,
}

impl End {
    const fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Reflect => "reflect",
            Self::PassOn => "pass_on",
        }
    }
}

/// The programs at work in one topology.
pub(super) struct Generator {
    ebpf: Ebpf,
    client: Namespace,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) wall: Duration,
    pub(super) processor: Duration,
}

impl Measured {
    pub(super) fn nanoseconds_per_packet(&self) -> f64 {
        self.processor.as_nanos() as f64 / self.received as f64
    }

    pub(super) fn packets_per_processor_second(&self) -> f64 {
        self.received as f64 / self.processor.as_secs_f64()
    }

    pub(super) fn packets_per_second(&self) -> f64 {
        self.received as f64 / self.wall.as_secs_f64()
    }

    /// Share of what was sent that did not arrive.
    pub(super) fn lost(&self) -> f64 {
        1.0 - self.received as f64 / self.sent as f64
    }
}

impl Generator {
    /// Loads the programs and puts each of `ends`, a program, on `eth0` of its machine.
    pub(super) fn new(topology: &Topology, ends: &[(End, &Namespace)]) -> Result<Self> {
        let bytes = object::read(OBJECT)?;
        let interface = Topology::index(&topology.client, "eth0")?;
        let onward = Topology::index(&topology.director, "eth1")?;
        let mut ebpf = EbpfLoader::new()
            .override_global("INTERFACE", &interface, true)
            .override_global("ONWARD", &onward, true)
            .load(&bytes)?;
        for name in ["generate_v4", "generate_v6"] {
            program(&mut ebpf, name)?.load()?;
        }
        let mut loaded = Vec::new();
        for (end, machine) in ends {
            let index = Topology::index(machine, "eth0")?;
            let program = program(&mut ebpf, end.name())?;
            if !loaded.contains(end) {
                program.load()?;
                loaded.push(*end);
            }
            machine.enter(|| Ok(program.attach_to_if_index(index, XdpMode::Driver).map(drop)?))?;
        }
        Ok(Self { ebpf, client: topology.client.clone() })
    }

    /// Sends `frames` frames like `template` of so many flows in turn, a power of two.
    pub(super) fn run(&mut self, template: &[u8], flows: u32, frames: u32) -> Result<Measured> {
        ensure!(flows.is_power_of_two() && flows <= 1 << 20, "{flows} flows");
        self.write_template(template, flows)?;
        let family = if template[12..14] == [0x86, 0xdd] { Family::V6 } else { Family::V4 };
        let (sent, received) = (self.counter("SENT")?, self.counter("RECEIVED")?);
        let name = match family {
            Family::V4 => "generate_v4",
            Family::V6 => "generate_v6",
        };
        let client = self.client.clone();
        let generate = program(&mut self.ebpf, name)?;
        let (wall, processor) = client.enter(|| {
            let processor = Processor::bind(PROCESSOR)?;
            let options = TestRunOptions {
                data_in: Some(template),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            };
            let used = processor.used()?;
            let begin = Instant::now();
            generate.test_run(options).context("BPF_PROG_TEST_RUN with live frames")?;
            let wall = begin.elapsed();
            Ok((wall, processor.used()? - used))
        })?;
        let measured = Measured {
            sent: self.counter("SENT")? - sent,
            received: self.counter("RECEIVED")? - received,
            wall,
            processor,
        };
        ensure!(measured.received > 0, "not one of {} frames arrived", measured.sent);
        Ok(measured)
    }

    fn write_template(&mut self, frame: &[u8], flows: u32) -> Result<()> {
        let mut padded = [0_u8; TEMPLATE];
        padded[..frame.len()].copy_from_slice(frame);
        let mut words = [0_u64; WORDS + 1];
        for (word, bytes) in words.iter_mut().zip(padded.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into()?);
        }
        words[WORDS] = u64::from(flows - 1);
        let map = self.ebpf.map_mut("TEMPLATE").context("no map TEMPLATE")?;
        let mut map: Array<&mut MapData, [u64; WORDS + 1]> = map.try_into()?;
        Ok(map.set(0, words, 0)?)
    }

    fn counter(&self, name: &str) -> Result<u64> {
        let map = self.ebpf.map(name).with_context(|| format!("no map {name}"))?;
        let map: PerCpuArray<&MapData, u64> = map.try_into()?;
        Ok(map.get(&0, 0)?.iter().sum())
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
