//! End to end in network namespaces.
//!
//! [`packets`]: small datagrams from a generator through the director to a sink, all on one processor.

mod frame;
mod generator;
mod packets;
mod processor;
mod topology;

use anyhow::{Context, Result};

use super::Options;
use super::figure::Figure;

pub fn figures(options: &Options) -> Result<Vec<Figure>> {
    packets::figures(options).context("packets")
}
