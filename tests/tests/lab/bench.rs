//! The benchmark still runs. What it measures here means nothing: few rounds, unoptimised, beside other tests.

use anyhow::{Result, ensure};
use lvs_tests::bench::figure::Figure;
use lvs_tests::bench::{Options, Section};

fn smoke(section: Section) -> Result<()> {
    let figures = section.measure(&Options { quick: true, smoke: true })?;
    ensure!(!figures.is_empty(), "no figures");
    let wrong = figures.iter().find(|figure| !is_sound(figure, &figures));
    ensure!(wrong.is_none(), "{wrong:?}");
    Ok(())
}

/// It belongs to its section's figures once, and what it refers to is among them.
fn is_sound(figure: &Figure, all: &[Figure]) -> bool {
    let same = all.iter().filter(|other| (&other.section, &other.case) == (&figure.section, &figure.case));
    same.count() == 1 && (figure.reference.is_none() || figure.reference_in(all).is_some())
}

#[test]
fn traffic() -> Result<()> {
    smoke(Section::Traffic)
}

#[test]
fn control() -> Result<()> {
    smoke(Section::Control)
}

#[test]
fn memory() -> Result<()> {
    smoke(Section::Memory)
}

#[test]
fn sync() -> Result<()> {
    smoke(Section::Sync)
}
