//! What the program costs: nanoseconds a packet under BPF_PROG_TEST_RUN, on one processor, without a driver.
//!
//! A wrapper gives every round a fresh packet ([`rounds`]); [`scene`] is the director it meets, [`cases`] the
//! list of what is measured, [`measure`] the measuring.

mod cases;
mod measure;
mod rounds;
mod scene;

use anyhow::Result;

use super::Options;
use super::figure::Figure;
use measure::Bench;

pub fn figures(options: &Options) -> Result<Vec<Figure>> {
    let mut bench = Bench::new(options)?;
    for case in cases::all(options) {
        bench.measure(&case)?;
    }
    Ok(bench.figures())
}
