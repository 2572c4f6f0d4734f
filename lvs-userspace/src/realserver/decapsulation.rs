//! The program that takes the outer header off: loaded, filled and attached here.

use std::os::fd::AsFd;
use std::path::PathBuf;

use aya::Ebpf;
use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::Xdp;
use lvs_common::address::Address;
use lvs_common::decapsulation::{Listed, Outcome};
use lvs_common::names;
use tracing::{debug, info};

use super::{Error, Options};
use crate::changes::file_error;
use crate::dataplane::attach::{self, Attacher};
use crate::dataplane::{bpffs, object};

/// A loaded program; its links are pinned and outlive it.
pub(super) struct Decapsulation {
    program: Ebpf,
}

impl Decapsulation {
    /// Puts the program on the interfaces, in place of an earlier run's where there is one, between two
    /// packets.
    pub(super) fn start(options: &Options, interfaces: &[String]) -> Result<Self, Error> {
        let mut program = load(object::realserver()?)?;
        fill(&mut program, names::DIRECTORS, options.director.iter().copied())?;
        fill(&mut program, names::VIPS, options.vips())?;
        let directory = directory(&options.instance)?;
        bpffs::create(&directory)?;
        let descriptor = xdp(&mut program)?.fd().map_err(program_error)?.as_fd().try_clone_to_owned();
        let attacher = Attacher {
            directory,
            program: descriptor.map_err(program_error)?,
            egress: None,
            wants_egress: false,
        };
        for attachment in attacher.attach(interfaces, true)? {
            info!(interface = attachment.interface, mode = ?attachment.mode, "unpacking");
        }
        Ok(Self { program })
    }

    /// Takes the program of this instance off every interface; nothing happens if there is none.
    pub(super) fn stop(instance: &str) -> Result<(), Error> {
        let directory = directory(instance)?;
        if !directory.exists() {
            return Ok(());
        }
        attach::detach_all(&directory)?;
        Ok(bpffs::remove(&directory).map_err(file_error(&directory))?)
    }

    /// What the operator wants to know when packets did not arrive.
    pub(super) fn log_counters(&self) {
        let [unpacked, not_from_director, not_for_vip, unfit] =
            Outcome::ALL.map(|outcome| self.counter(outcome));
        info!(unpacked, not_from_director, not_for_vip, unfit, "tunnelled packets");
    }

    fn counter(&self, outcome: Outcome) -> u64 {
        let values =
            self.program.map(names::DECAPSULATION).ok_or_else(|| "missing".to_owned()).and_then(|map| {
                let map = PerCpuArray::<_, u64>::try_from(map).map_err(|error| error.to_string())?;
                map.get(&(outcome as u32), 0).map_err(|error| error.to_string())
            });
        match values {
            Ok(values) => values.iter().sum(),
            Err(error) => {
                debug!(error, "counter not read");
                0
            }
        }
    }
}

/// Loads the object into the kernel; both maps are empty, so nothing is unpacked yet.
fn load(object: &[u8]) -> Result<Ebpf, Error> {
    let mut program = Ebpf::load(object).map_err(program_error)?;
    xdp(&mut program)?.load().map_err(program_error)?;
    Ok(program)
}

/// Lists addresses in [`names::DIRECTORS`] or [`names::VIPS`].
fn fill(
    program: &mut Ebpf,
    name: &'static str,
    addresses: impl IntoIterator<Item = std::net::IpAddr>,
) -> Result<(), Error> {
    let map = program.map_mut(name).ok_or_else(|| Error::Program(format!("it has no map {name}")))?;
    let mut map: HashMap<&mut MapData, Address, Listed> = map.try_into().map_err(program_error)?;
    for address in addresses {
        map.insert(Address::from(address), Listed { reserved: 0 }, 0).map_err(program_error)?;
    }
    Ok(())
}

fn xdp(program: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let name = names::PROGRAM_DECAPSULATE;
    let program =
        program.program_mut(name).ok_or_else(|| Error::Program(format!("it has no program {name}")))?;
    program.try_into().map_err(program_error)
}

/// Beside the directory a director of the same instance would use.
fn directory(instance: &str) -> Result<PathBuf, Error> {
    Ok(bpffs::instance_directory(instance)?.with_file_name("realserver"))
}

fn program_error(error: impl std::error::Error) -> Error {
    // The verifier's own words are in the last cause.
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Error::Program(text)
}
