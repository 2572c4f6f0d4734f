//! Rings: to compute one and to publish it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::Result;
use lvs_common::limits::RING_SIZES;
use lvs_common::ring::Slot;
use lvs_userspace::config::model::{Limits, Scheduler};
use lvs_userspace::control::Command;
use lvs_userspace::scheduler::{Member, StableKey, plan_with_slots};

use super::figure;
use crate::bench::Options;
use crate::bench::clock::timed;
use crate::bench::director::Director;
use crate::bench::figure::Figure;

const SERVERS: [u16; 3] = [3, 100, 1000];
const PUBLISHED: &str = "waits until no packet reads the old ring: a grace period of the kernel, which is longer on a busy machine";

pub(super) fn figures(options: &Options) -> Result<Vec<Figure>> {
    let runs = options.pick(1, 3, 15);
    let mut figures = Vec::new();
    let mut director = Director::open(Limits::default())?;
    for slots in RING_SIZES {
        let mut published = Vec::new();
        for servers in SERVERS {
            let members = members(servers);
            let mut built = Vec::new();
            for _ in 0..runs {
                let (plan, time) = timed(|| plan_with_slots(Scheduler::Mh, &members, slots))?;
                built.push(time);
                if servers == SERVERS[0] {
                    published.push(publish(&mut director, &plan.current)?);
                }
            }
            let case = format!("ring of {slots} slots: build for {servers} servers");
            figures.push(figure(case, &built, None, None));
        }
        figures.push(figure(format!("ring of {slots} slots: publish"), &published, None, Some(PUBLISHED)));
    }
    Ok(figures)
}

fn members(servers: u16) -> Vec<Member> {
    let member = |position: u16| {
        let [high, low] = position.to_be_bytes();
        let key = StableKey::new(IpAddr::V4(Ipv4Addr::new(10, 0, high, low)), 80);
        Member { key, position, weight: 1 }
    };
    (0..servers).map(member).collect()
}

/// Puts a ring in the place of the one before. No service names it.
fn publish(director: &mut Director, positions: &[u16]) -> Result<Duration> {
    let slots = positions.iter().copied().map(Slot::single).collect();
    let command = Command::SetRing { ring: 0, slots };
    let begin = Instant::now();
    director.dataplane.apply(&[command])?;
    Ok(begin.elapsed())
}
