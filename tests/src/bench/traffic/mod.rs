//! End to end in network namespaces.
//!
//! [`packets`]: small datagrams from a generator through the director to a sink, all on one processor.
//! [`web`]: HTTP requests through the director, and through HAProxy and nginx in its place.

mod bed;
mod case;
mod frame;
mod generator;
mod packets;
mod processor;
pub(super) mod topology;
mod web;
mod wrk;

use anyhow::{Context, Result};

use super::Options;
use super::figure::Figure;

pub fn figures(options: &Options) -> Result<Vec<Figure>> {
    let mut figures = packets::figures(options).context("packets")?;
    figures.extend(web::figures(options).context("requests")?);
    Ok(figures)
}
