//! Many services: the first file, one with another weight, and another agent that takes over.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::figure;
use super::file::{SERVERS, Shape};
use crate::bench::Options;
use crate::bench::clock::timed;
use crate::bench::director::{Director, parse};
use crate::bench::figure::Figure;

/// Every service with servers of its own, so that none can share a ring: the worst case. And many services
/// on few servers.
const KINDS: [(&str, Option<u32>); 2] = [("each with its own servers", None), ("on 100 pools", Some(100))];

/// What is measured at one size, one sample for each run.
#[derive(Default)]
struct Times {
    read: Vec<Duration>,
    decided: Vec<Duration>,
    written: Vec<Duration>,
    located: Vec<Duration>,
    changed_decided: Vec<Duration>,
    changed_written: Vec<Duration>,
    loaded: Vec<Duration>,
    read_back: Vec<Duration>,
    adopted: Vec<Duration>,
}

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let sizes: &[u32] = options.pick(&[10, 110], &[100, 1000], &[100, 1000, 10_000]);
    let runs = options.pick(1, 2, 3);
    let mut figures = Vec::new();
    for (kind, pools) in KINDS {
        for &services in sizes.iter().filter(|services| pools.is_none_or(|pools| pools < **services)) {
            let shape = Shape { services, pools: pools.unwrap_or(services) };
            let mut times = Times::default();
            for _ in 0..runs {
                measure(shape, &mut times)?;
            }
            // How the time grows shows in the ratio to the smaller size.
            let smaller = sizes
                .iter()
                .rev()
                .find(|smaller| **smaller < services && pools.is_none_or(|pools| pools < **smaller));
            let name = |services: u32, what: &str| format!("{what}: {services} services {kind}");
            for (what, samples) in times.named() {
                let reference = smaller.map(|smaller| name(*smaller, what));
                figures.push(figure(name(services, what), samples, reference, None));
            }
        }
    }
    // What belongs together stands together.
    figures.sort_by_key(|figure| {
        Times::default()
            .named()
            .iter()
            .position(|(what, _)| figure.case.strip_prefix(what).is_some_and(|rest| rest.starts_with(':')))
    });
    Ok(figures)
}

impl Times {
    fn named(&self) -> [(&'static str, &[Duration]); 9] {
        [
            ("read the file", &self.read),
            ("first file, decide", &self.decided),
            ("first file, write the maps", &self.written),
            ("tell where every server is", &self.located),
            ("another weight of one server, decide", &self.changed_decided),
            ("another weight of one server, write the maps", &self.changed_written),
            ("take over, load the programs", &self.loaded),
            ("take over, read the maps", &self.read_back),
            ("take over, decide", &self.adopted),
        ]
    }
}

fn measure(shape: Shape, times: &mut Times) -> Result<()> {
    let text = shape.text(10);
    let (config, time) = timed(|| parse(&text))?;
    let config = config?;
    times.read.push(time);

    let mut director = Director::open(config.limits)?;
    let first = director.desire(config.clone())?;
    ensure!(first.commands > (shape.services * SERVERS) as usize, "{} commands", first.commands);
    times.decided.push(first.decided);
    times.written.push(first.written);
    let located = director.locate(shape.servers())?;
    times.located.push(located.decided + located.written);

    let changed = director.desire(parse(&shape.text(5))?)?;
    ensure!(changed.commands > 0, "another weight changed nothing");
    times.changed_decided.push(changed.decided);
    times.changed_written.push(changed.written);

    let same = parse(&shape.text(5))?;
    let mut heir = director.adopt_again()?;
    let same = heir.desire(same)?;
    times.loaded.push(heir.opened.loaded);
    times.read_back.push(heir.opened.read);
    times.adopted.push(heir.opened.adopted + same.decided);
    ensure!(same.commands < 10, "taking over changed the maps by {} commands", same.commands);
    Ok(())
}
