//! Kernel memory: of the maps before the first packet, with many services, and of each connection.

mod connections;
mod kernel;

use anyhow::{Context, Result};
use lvs_userspace::config::model::Limits;

use super::Options;
use super::control::file::Shape;
use super::director::{Director, parse};
use super::figure::{Better, Figure};
use kernel::{Memory, maps};

/// Maps smaller than this have no line of their own.
const WORTH_A_LINE: u64 = 1 << 20;
/// Of all maps before the first packet.
const AT_REST_MEBIBYTES: f64 = 32.0;
const RINGS: &str = "with the services' rings, four bytes a slot";

pub fn figures(options: &Options) -> Result<Vec<Figure>> {
    let mut figures = at_rest()?;
    figures.extend(with_services(options).context("services")?);
    figures.extend(connections::figures(options).context("connections")?);
    Ok(figures)
}

fn at_rest() -> Result<Vec<Figure>> {
    let director = Director::open(Limits::default())?;
    let Memory { total, mut maps } = maps(&director.pins())?;
    let case = "all maps before the first packet, default sizes".to_owned();
    let mut figures = vec![Figure { goal: Some(AT_REST_MEBIBYTES), ..mebibytes(case, total, None) }];
    maps.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let large = maps.into_iter().filter(|(_, bytes)| *bytes >= WORTH_A_LINE);
    figures.extend(large.map(|(name, bytes)| mebibytes(format!("of these {name}"), bytes, None)));
    Ok(figures)
}

fn with_services(options: &Options) -> Result<Vec<Figure>> {
    let sizes: &[u32] = options.pick(&[10], &[100, 1000], &[100, 1000, 10_000]);
    let mut figures = Vec::new();
    for &services in sizes {
        let config = parse(&Shape { services, pools: services }.text(10))?;
        let mut director = Director::open(config.limits)?;
        director.desire(config)?;
        let slots: usize = director.dataplane.snapshot()?.rings.values().map(Vec::len).sum();
        let total = maps(&director.pins())?.total + slots as u64 * 4;
        let case = format!("all maps with {services} services of 10 servers, none the same");
        figures.push(mebibytes(case, total, Some(RINGS)));
    }
    Ok(figures)
}

fn mebibytes(case: String, bytes: u64, note: Option<&str>) -> Figure {
    figure(case, "MiB", bytes as f64 / f64::from(1 << 20), note)
}

/// Memory does not change from run to run: one sample.
fn figure(case: String, unit: &str, value: f64, note: Option<&str>) -> Figure {
    Figure {
        section: "memory".into(),
        case,
        unit: unit.into(),
        samples: vec![value],
        reference: None,
        goal: None,
        better: Better::Lower,
        note: note.map(str::to_owned),
    }
}
