//! Small datagrams through the director, through the kernel's forwarding and through nftables, in turn: what
//! disturbs the machine disturbs them alike.

use anyhow::{Context, Result};

use super::bed::{BEDS, Bed, PORT};
use super::generator::Measured;
use super::{case, frame, topology};
use crate::bench::Options;
use crate::bench::figure::Figure;

/// Flows whose every packet but the first few is of a known flow.
const KNOWN_FLOWS: u32 = 4096;
/// New flows in one run: with several runs and both families in half a minute, conntrack's table must hold
/// them all (262144 by default).
const NEW_FLOWS: u32 = 1 << 14;

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let (runs, frames) = options.pick((1, 1 << 14), (3, 1 << 19), (9, 1 << 21));
    let mut beds = BEDS.into_iter().map(Bed::make).collect::<Result<Vec<_>>>()?;
    let mut cases = case::all();
    // The first frames look up neighbours and fill tables.
    for run in 0..=runs {
        for case in &mut cases {
            let bed = beds.iter_mut().find(|bed| bed.kind == case.bed).context("a case without a bed")?;
            let measured = measure(bed, case, run, frames)?;
            if run > 0 {
                case.runs.push(measured);
            }
        }
    }
    Ok(case::figures(&cases))
}

/// Run number 0 is for the tables to fill.
fn measure(bed: &mut Bed, case: &case::Case, run: u8, frames: u32) -> Result<Measured> {
    // New flows come from clients that nobody has seen.
    let net = if case.new { run + 1 } else { 0 };
    let template = frame::template(topology::client_net(case.family, net), case.destination, PORT)?;
    match (case.new, run) {
        (true, _) => bed.generator.run(&template, NEW_FLOWS, NEW_FLOWS),
        (false, 0) => bed.generator.run(&template, KNOWN_FLOWS, 1 << 16),
        (false, _) => bed.generator.run(&template, KNOWN_FLOWS, frames),
    }
}
