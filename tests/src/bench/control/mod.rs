//! What a change of the configuration takes, from the file's text to the kernel's maps.
//!
//! What only computes is measured in time of the processor; what writes to the kernel, on the wall's clock,
//! since the kernel makes us wait.

mod agent;
pub(super) mod file;
mod rings;
mod services;

use std::time::Duration;

use anyhow::{Context, Result};

use super::Options;
use super::figure::{Better, Figure};

pub fn figures(options: &Options) -> Result<Vec<Figure>> {
    let mut figures = rings::figures(options).context("rings")?;
    figures.extend(services::figures(options).context("services")?);
    figures.extend(agent::figures(options).context("agent")?);
    Ok(figures)
}

fn figure(case: String, samples: &[Duration], reference: Option<String>, note: Option<&str>) -> Figure {
    Figure {
        section: "control".into(),
        case,
        unit: "ms".into(),
        samples: samples.iter().map(|sample| sample.as_secs_f64() * 1e3).collect(),
        reference,
        goal: None,
        better: Better::Lower,
        note: note.map(str::to_owned),
    }
}
