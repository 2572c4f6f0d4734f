//! The agent itself: to start with many services, and to reload a file in which one weight is another.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::figure;
use super::file::Shape;
use crate::bench::Options;
use crate::bench::figure::Figure;
use crate::bench::traffic::topology::Topology;
use crate::lab::agent::Agent;

const STARTED: &str = "on the wall, until lvsctl has an answer; the servers do not exist, and lvsd waits for their \
                       neighbours in vain";
const RELOADED: &str = "on the wall: lvsctl reload, from its start to its end";

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let sizes: &[u32] = options.pick(&[10], &[100, 1000], &[100, 1000, 10_000]);
    let runs = options.pick(1, 2, 5);
    let (mut started, mut reloaded) = (Vec::new(), Vec::new());
    let mut smaller: Option<u32> = None;
    for &services in sizes {
        let shape = Shape { services, pools: services };
        let name =
            |services: u32, what: &str| format!("{what}: {services} services each with its own servers");
        let reference = |what: &str| smaller.map(|services| name(services, what));
        let (start, reloads) = measure(shape, runs)?;
        let what = "lvsd starts";
        started.push(figure(name(services, what), &[start], reference(what), Some(STARTED)));
        let what = "lvsd reloads another weight of one server";
        reloaded.push(figure(name(services, what), &reloads, reference(what), Some(RELOADED)));
        smaller = Some(services);
    }
    Ok([started, reloaded].concat())
}

fn measure(shape: Shape, runs: u32) -> Result<(Duration, Vec<Duration>)> {
    let topology = Topology::build()?;
    let begin = Instant::now();
    let agent = Agent::start_in(&topology.director, &topology.identity, &shape.text(10))?;
    let start = begin.elapsed();
    let reload = |run| {
        let text = shape.text(11 + run);
        let begin = Instant::now();
        agent.reload(&text)?;
        Ok(begin.elapsed())
    };
    Ok((start, (0..runs).map(reload).collect::<Result<_>>()?))
}
