//! Runs the cases, and looks whether the packets went where they should.

use anyhow::{Context, Result, ensure};
use lvs_common::cause::Cause;

use super::cases::{Case, Traffic};
use super::rounds::{Floor, Packets, Rounds, Run};
use super::scene::{DATA, Family, SYN, Scene, Transport};
use crate::bench::figure::{Better, Figure, median};
use crate::bench::{Options, Section, processor};
use crate::packet::{Side, Verdict, World};

/// Flows admitted in one go: fewer than may be embryonic at one time.
const ADMITTED_AT_ONCE: u32 = 16_384;
/// New flows begin here, beyond all that were there before.
const FIRST_NEW: u32 = 16_000_000;
/// Packets of a million that may miss their entry, since its window in the table was full.
const MISSES: u64 = 100;
/// The same where the table is as full as it may be, and new flows come all the time.
const MISSES_WHEN_FULL: u64 = 500;

pub(super) struct Bench {
    rounds: Rounds,
    packets: u32,
    runs: usize,
    floors: Vec<Figure>,
    cases: Vec<Figure>,
    /// Where new flows go on.
    next_new: u32,
}

impl Bench {
    pub(super) fn new(options: &Options) -> Result<Self> {
        processor::reserve()?;
        let mut bench = Self {
            rounds: Rounds::load()?,
            packets: options.pick(50_000, 500_000, 1_000_000),
            runs: options.pick(1, 5, 7),
            floors: Vec::new(),
            cases: Vec::new(),
            next_new: FIRST_NEW,
        };
        for family in [Family::V4, Family::V6] {
            for floor in [Floor::Drop, Floor::Transmit, Floor::Ipip] {
                let packets = Packets::of(&Scene { family, ..Scene::DEFAULT }, DATA);
                let samples: Result<Vec<f64>> =
                    (0..bench.runs).map(|_| bench.floor(floor, &packets)).collect();
                bench.floors.push(figure(floor_name(family, floor), samples?));
            }
        }
        Ok(bench)
    }

    pub(super) fn figures(self) -> Vec<Figure> {
        self.floors.into_iter().chain(self.cases).collect()
    }

    fn floor(&mut self, floor: Floor, packets: &Packets) -> Result<f64> {
        Ok(self.rounds.floor(floor, packets, self.packets)?.nanoseconds)
    }

    /// The floor is measured right before each run of the case. A sample is the run's multiple of it times the
    /// floor's figure: the machine's speed drifts while a long list is measured.
    pub(super) fn measure(&mut self, case: &Case) -> Result<()> {
        let mut world = case.scene.world();
        if case.traffic == Traffic::Existing || case.traffic == Traffic::Answers {
            self.admit(case, &mut world, case.flows)?;
        } else if case.traffic == Traffic::NewIntoFull {
            self.admit(case, &mut world, case.scene.connections)?;
        }
        let reference = floor_name(case.scene.family, Floor::Ipip);
        let unit = self.floors.iter().find(|floor| floor.case == reference).context("no floor")?.median();
        let mut samples = Vec::new();
        let mut missed = 0;
        for _ in 0..self.runs {
            let packets = self.packets_of(case);
            let floor = self.floor(Floor::Ipip, &Packets { first: None, ..packets.clone() })?;
            let before = (world.packets(), world.counted(Cause::NoService));
            let run = self.run(&world, &packets)?;
            let sent = (world.packets() - before.0, world.counted(Cause::NoService) - before.1);
            missed += self.check(case, &run, sent).with_context(|| case.name.clone())?;
            samples.push(run.nanoseconds / floor * unit);
        }
        println!("{:<60} {:7.1} ns", case.name, median(&samples));
        let note = (missed > 0).then(|| format!("{missed} packets found no place in the table"));
        self.cases.push(Figure {
            reference: case.limit.is_none().then_some(reference),
            goal: case.goal.or(case.limit),
            note,
            ..figure(case.name.clone(), samples)
        });
        Ok(())
    }

    fn run(&mut self, world: &World, packets: &Packets) -> Result<Run> {
        self.rounds.director(world.program(), world.interface(Side::Front), packets, self.packets)
    }

    fn packets_of(&mut self, case: &Case) -> Packets {
        let existing = Packets { flows: case.flows, ..Packets::of(&case.scene, DATA) };
        match case.traffic {
            Traffic::Existing => existing,
            Traffic::Answers => Packets { frame: case.scene.answer(DATA), reply: true, ..existing },
            Traffic::NoService => Packets { frame: case.scene.stray(), ..existing },
            Traffic::New | Traffic::NewIntoFull => {
                let first = self.next_new;
                self.next_new = first.wrapping_add(self.packets);
                Packets { first: Some(first), ..Packets::of(&case.scene, SYN) }
            }
        }
    }

    /// Has every flow remembered, where flows are: what begins it, and what makes it established.
    fn admit(&mut self, case: &Case, world: &mut World, flows: u32) -> Result<()> {
        let scene = &case.scene;
        if scene.dual {
            // Old flows show themselves in the middle.
            scene.turn(world);
        } else if scene.scheduler == "mh" && scene.forward != "nat" {
            return Ok(());
        }
        let beginning = if scene.dual || scene.transport == Transport::Udp { DATA } else { SYN };
        let mut first = 0;
        while first < flows {
            let count = ADMITTED_AT_ONCE.min(flows - first);
            for flags in [beginning, DATA] {
                let packets = Packets { first: Some(first), ..Packets::of(scene, flags) };
                let side = world.interface(Side::Front);
                self.rounds.director(world.program(), side, &packets, count)?;
            }
            first += count;
        }
        let established = world.connections().iter().filter(|(.., embryonic)| !embryonic).count();
        let lost = u64::from(flows).saturating_sub(established as u64);
        ensure!(
            lost * 1_000_000 <= MISSES * u64::from(flows),
            "{established} of {flows} flows are remembered"
        );
        Ok(())
    }

    /// Whether all packets of a run went where they should; how many missed their entry.
    fn check(&self, case: &Case, run: &Run, (sent, strays): (u64, u64)) -> Result<u64> {
        let packets = u64::from(self.packets);
        if case.traffic == Traffic::NoService {
            ensure!(run.verdict == Verdict::Pass && strays == packets, "{strays} of {packets} were passed");
            return Ok(0);
        }
        let missed = packets.saturating_sub(sent);
        let most = if case.traffic == Traffic::NewIntoFull { MISSES_WHEN_FULL } else { MISSES };
        ensure!(missed * 1_000_000 <= most * packets, "{sent} of {packets} packets were sent on");
        let grown = run.frame.len() - case.scene.request(DATA).len();
        let expected = match (case.scene.forward, case.scene.family) {
            ("ipip", Family::V4) => 20,
            ("ipip", Family::V6) => 40,
            _ => 0,
        };
        ensure!(run.verdict == Verdict::Transmit || missed > 0, "the last packet: {:?}", run.verdict);
        ensure!(grown == expected || missed > 0, "the last packet has grown by {grown} bytes");
        Ok(missed)
    }
}

fn floor_name(family: Family, floor: Floor) -> String {
    let family = if family == Family::V4 { "v4" } else { "v6" };
    let floor = match floor {
        Floor::Drop => "XDP_DROP",
        Floor::Transmit => "MAC swap, XDP_TX",
        Floor::Ipip => "constant IPIP",
    };
    format!("floor {family}: {floor}")
}

fn figure(case: String, samples: Vec<f64>) -> Figure {
    Figure {
        section: Section::Program.name().to_owned(),
        case,
        unit: "ns/packet".to_owned(),
        samples,
        reference: None,
        goal: None,
        better: Better::Lower,
        note: None,
    }
}
