//! An agent that hangs never looks alive, and one that is busy never looks dead.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lvs_tests::lab::address::Family;
use lvs_tests::lab::arp::ArpWatch;
use lvs_tests::lab::echo::ECHO_PORT;
use lvs_tests::lab::fault::Fault;
use lvs_tests::lab::flows::Flows;
use lvs_tests::lab::hog::{Hog, a_processor, bind};
use lvs_tests::lab::stage::Stage;
use lvs_tests::lab::trial::{Burden, Trial};
use lvs_tests::lab::wait::wait_until;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::setup::dialled;

const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest there can be.
const WATCHDOG: &str = "  watchdog: 1s\n";
/// How often an agent falls silent, and how often it is heard again.
const HUNG: &str = "makes no progress: this director is silent";
const WELL: &str = "makes progress again";

fn start() -> Result<Stage> {
    Stage::start("wlc", "dr", |pair| {
        pair.options += WATCHDOG;
        Ok(())
    })
}

/// How often each agent has said that it hangs, and that it does not any more.
fn said(stage: &Stage) -> Result<[[usize; 2]; 2]> {
    let of = |index: usize| -> Result<[usize; 2]> {
        let log = stage.pair.agent(index)?.log();
        Ok([HUNG, WELL].map(|words| log.matches(words).count()))
    };
    Ok([of(0)?, of(1)?])
}

/// Only the main task, with the thread that beats, the synchronisation and all other tasks alive; then everything but the
/// thread that beats.
#[test]
fn an_agent_that_hangs_is_replaced_and_stands_by_when_it_goes_on() -> Result<()> {
    let mut stage = start()?;
    let vips: Vec<_> = stage.pair.network.vips().collect();
    let watch = ArpWatch::start(&stage.pair.network.client, "eth0", &vips)?;
    let mut trial = Trial::begin(&mut stage, Burden { established: 500, new_per_second: 100 })?;
    for fault in [Fault::Hang, Fault::HangAll] {
        let seen = trial.run(fault, false)?;
        println!("{seen}");
        ensure!(seen.broken == 0 && seen.new_failed <= 2, "{seen}");
    }
    trial.end()?.expect_none_broken()?;
    stage.expect_turns(&watch.stop()?, 2)?;
    // Once each, and neither at any other time.
    let said = said(&stage)?;
    ensure!(said == [[1, 1]; 2], "{said:?}\n{}", stage.pair.explain());
    Ok(())
}

/// The disk does not answer for longer than the watchdog waits: only who wants to know that his wish is on it waits, and he
/// is told what became of it.
#[test]
fn a_disk_that_hangs_holds_up_nobody() -> Result<()> {
    let stage = start()?;
    stage.pair.wait_until_settled(1)?;
    let terms = stage.pair.takeovers()?;
    let agent = stage.pair.agent(0)?;
    let directory = Path::new("/var/lib").join(agent.control().instance());
    fs::create_dir_all(&directory)?;
    // Whoever opens it to write waits until somebody reads.
    let disk = directory.join("state.json.new");
    mkfifo(&disk, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let server = stage.pair.network.servers[0].address(Family::V4).to_string();
    let wait_for_words = |words: &str| {
        wait_until(words, PATIENCE, || agent.log().contains(words)).with_context(|| stage.pair.explain())
    };
    thread::scope(|scope| {
        let drain = scope.spawn(|| agent.control().run(&["drain", &server]));
        wait_for_words("the disk does not answer")?;
        ensure!(!drain.is_finished(), "it cannot be on disk");
        stage.answers()?;
        // Nothing that is written to it stays (fsync(2): EINVAL).
        let _reader = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&disk)?;
        let Err(refused) = drain.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) else {
            bail!("it is not on disk");
        };
        ensure!(format!("{refused:#}").contains("would not survive the agent"), "{refused:#}");
        fs::remove_file(&disk)?;
        wait_for_words("are on disk again")
    })?;
    agent.control().run(&["enable", &server])?;
    ensure!(stage.pair.is_active(0) && stage.pair.takeovers()? == terms, "{}", stage.pair.explain());
    let said = said(&stage)?;
    ensure!(said == [[0, 0]; 2], "{said:?}\n{}", stage.pair.explain());
    Ok(())
}

/// All threads of the active director's agent have one processor, together with programs that want it for themselves.
#[test]
fn a_busy_agent_is_not_replaced() -> Result<()> {
    const HOGS: usize = 4;
    const EACH: Duration = Duration::from_secs(1);
    let stage = start()?;
    let client = &stage.pair.network.client;
    let flows = Flows::open(client, &Family::BOTH.map(|family| dialled(family, ECHO_PORT)), 200)?;
    stage.pair.wait_until_settled(1)?;
    let terms = stage.pair.takeovers()?;
    let (processor, directory) = (a_processor()?, stage.pair.network.identity.directory());
    bind(stage.pair.agent(0)?.pid(), processor)?;
    let hogs: Vec<_> =
        (0..HOGS).map(|number| Hog::start(number, processor, &directory)).collect::<Result<_>>()?;
    let is_used = |hog: &Hog| hog.used().is_ok_and(|used| used > EACH);
    wait_until("the processor to be used up", PATIENCE, || hogs.iter().all(is_used))
        .with_context(|| stage.pair.explain())?;
    drop(hogs);
    flows.stop()?.expect_none_broken()?;
    let roles = [0, 1].map(|index| stage.pair.role(index));
    ensure!(roles == ["active", "standby"], "{roles:?}\n{}", stage.pair.explain());
    ensure!(stage.pair.takeovers()? == terms, "{}", stage.pair.explain());
    let said = said(&stage)?;
    ensure!(said == [[0, 0]; 2], "{said:?}\n{}", stage.pair.explain());
    Ok(())
}
