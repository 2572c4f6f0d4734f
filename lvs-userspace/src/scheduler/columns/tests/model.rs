//! A small world: servers, a pool whose weights change, clients, and the data plane's steering rule over
//! an intact connection table that forgets an entry exactly one timeout after its last packet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use lvs_common::ring::Slot;

use crate::scheduler::{Columns, Member, StableKey, maglev};

/// Longest idle time of a connection.
pub(super) const TIMEOUT: Duration = Duration::from_secs(100);
/// Clients act this often; a flow is idle for less than [`TIMEOUT`].
const TICK: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: u64 = 94;
/// Slots of the ring: a prime, small enough for many runs.
const SLOTS: u32 = 509;

/// What kind of packet a client sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packet {
    Syn,
    Other,
    Fin,
    Datagram,
}

/// The data plane's rule, and variants of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    pub(super) udp: bool,
    pub(super) tracked: bool,
    pub(super) heeds_unsettled: bool,
}

impl Program {
    pub(super) const TCP: Self = Self { udp: false, tracked: false, heeds_unsettled: true };
}

/// A real server in one of its lives.
type Holder = (u16, u32);

#[derive(Clone, Copy)]
struct Entry {
    holder: Holder,
    seen: Duration,
    closing: bool,
}

struct Server {
    number: u16,
    weight: u32,
    is_alive: bool,
    generation: u32,
}

struct Flow {
    hash: u64,
    holder: Option<Holder>,
    next_packet: Duration,
    ended: bool,
}

pub(super) struct World {
    program: Program,
    columns: Columns,
    servers: Vec<Server>,
    flows: Vec<Flow>,
    table: HashMap<usize, Entry>,
    /// What a walk through the table has found, and when it began.
    found: (Vec<(usize, u16)>, Duration),
    now: Duration,
    random: u64,
    /// Clients end flows, with or without a FIN, and dial again from the same port.
    pub(super) reuse_ports: bool,
    pub(super) retires_by_itself: bool,
    /// Packets of a live flow that did not reach its living server.
    pub(super) moved: usize,
    pub(super) packets: usize,
}

impl World {
    pub(super) fn new(program: Program, servers: usize, flows: usize, seed: u64) -> Self {
        let servers: Vec<Server> = (0..servers as u16)
            .map(|number| Server { number, weight: 100, is_alive: true, generation: 1 })
            .collect();
        let mut world = Self {
            program,
            columns: Columns::new(&maglev::build(&members(&servers), SLOTS)),
            servers,
            flows: Vec::new(),
            table: HashMap::new(),
            found: (Vec::new(), Duration::ZERO),
            now: Duration::from_secs(10_000),
            random: seed,
            reuse_ports: false,
            retires_by_itself: true,
            moved: 0,
            packets: 0,
        };
        for _ in 0..flows {
            let hash = world.below(u64::MAX);
            let next_packet = world.now + Duration::from_secs(world.below(LONGEST_PAUSE));
            world.flows.push(Flow { hash, holder: None, next_packet, ended: false });
        }
        world
    }

    pub(super) fn columns(&self) -> &Columns {
        &self.columns
    }

    pub(super) fn servers(&self) -> std::ops::Range<usize> {
        0..self.servers.len()
    }

    pub(super) fn set_weight(&mut self, server: usize, weight: u32) {
        self.servers[server].weight = weight;
        self.publish();
    }

    /// Takes a server's life: its flows are gone, no entry of it is valid any more.
    pub(super) fn kill(&mut self, server: usize) {
        self.servers[server].is_alive = false;
        self.servers[server].generation += 1;
        self.publish();
    }

    pub(super) fn revive(&mut self, server: usize, weight: u32) {
        self.servers[server].is_alive = true;
        self.set_weight(server, weight);
    }

    /// Removes a server and gives its position to another.
    pub(super) fn replace(&mut self, server: usize) {
        self.kill(server);
        assert!(!self.columns.references(server as u16));
        self.servers[server].number += 100;
        self.revive(server, 100);
    }

    fn current(&self, slots: u32) -> Vec<u16> {
        maglev::build(&members(&self.servers), slots)
    }

    fn publish(&mut self) {
        let current = self.current(self.columns.slots().len() as u32);
        let servers = &self.servers;
        self.columns
            .update(&current, |position| servers[usize::from(position)].is_alive, self.now)
            .expect("the ring keeps its length");
    }

    pub(super) fn track(&mut self, tracked: bool) {
        self.program.tracked = tracked;
    }

    /// Begins a new ring, in which every flow has another slot.
    pub(super) fn resize(&mut self, slots: u32) {
        self.columns = Columns::unsettled(&self.current(slots), self.now);
    }

    /// The agent dies, and another adopts what it finds in the kernel.
    pub(super) fn restart(&mut self) {
        self.columns = Columns::adopt(self.columns.slots().to_vec(), self.now);
    }

    pub(super) fn retire(&mut self) {
        self.columns.retire(TIMEOUT, self.now);
    }

    /// Reads the whole table.
    pub(super) fn look(&mut self) {
        let now = self.now;
        let valid = self.table.iter().filter(|(_, entry)| {
            now < entry.seen + TIMEOUT && self.servers[usize::from(entry.holder.0)].lives(entry.holder)
        });
        let holders = valid.map(|(&flow, entry)| (self.slot_of(flow), entry.holder.0)).collect();
        self.found = (holders, now);
    }

    /// Acts upon what the last [`World::look`] found, however long ago that was.
    pub(super) fn settle(&mut self) {
        let (holders, began) = &self.found;
        self.columns.settle(holders.iter().copied(), *began, self.now);
    }

    /// Every flow says goodbye, and no other begins.
    pub(super) fn close_all(&mut self) {
        for index in 0..self.flows.len() {
            if !self.program.udp && self.flows[index].holder.is_some() {
                self.send(index, Packet::Fin);
            }
            self.flows[index].ended = true;
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = end.min(self.now + TICK);
            for index in 0..self.flows.len() {
                if self.flows[index].next_packet <= self.now && !self.flows[index].ended {
                    self.act(index);
                    // Half of the pauses are as long as an idle flow dares.
                    let pause = if self.below(2) == 0 { LONGEST_PAUSE } else { self.below(LONGEST_PAUSE) };
                    self.flows[index].next_packet = self.now + Duration::from_secs(pause);
                }
            }
            if self.retires_by_itself {
                self.retire();
            }
        }
    }

    /// One client sends its next packet. Every other one comes and goes, so that flows begin at all times.
    fn act(&mut self, index: usize) {
        if index % 2 == 1 && self.below(4) == 0 {
            self.table.remove(&index);
            self.flows[index].holder = None;
            self.flows[index].hash = self.below(u64::MAX);
        }
        if self.program.udp {
            return self.send(index, Packet::Datagram);
        }
        if self.reuse_ports && self.below(8) == 0 {
            if self.below(2) == 0 && self.flows[index].holder.is_some() {
                self.send(index, Packet::Fin);
            }
            self.flows[index].holder = None;
        }
        let packet = if self.flows[index].holder.is_some() { Packet::Other } else { Packet::Syn };
        self.send(index, packet);
    }

    fn send(&mut self, index: usize, packet: Packet) {
        self.packets += 1;
        let reached = self.steer(index, packet);
        let flow = &mut self.flows[index];
        match flow.holder {
            Some(holder) if Some(holder) != reached => {
                if self.servers[usize::from(holder.0)].lives(holder) {
                    self.moved += 1;
                }
                // A stranger resets a TCP flow, and serves a datagram.
                flow.holder = if packet == Packet::Datagram { reached } else { None };
            }
            _ => flow.holder = reached,
        }
    }

    fn slot_of(&self, flow: usize) -> usize {
        self.flows[flow].hash as usize % self.columns.slots().len()
    }

    /// Where the data plane sends a packet; `None`: refused.
    fn steer(&mut self, index: usize, packet: Packet) -> Option<Holder> {
        let slot = self.columns.slots()[self.slot_of(index)];
        let consults = if self.program.heeds_unsettled { slot.consults_table() } else { slot.is_dual() };
        let closing = packet == Packet::Fin;
        let mut stores = self.program.tracked || slot.is_dual();
        if self.program.tracked || consults {
            let now = self.now;
            if let Some(entry) = self.table.get_mut(&index)
                && now < entry.seen + TIMEOUT
                && self.servers[usize::from(entry.holder.0)].lives(entry.holder)
            {
                if packet == Packet::Syn && entry.closing {
                    stores = true;
                } else {
                    entry.seen = now;
                    entry.closing |= closing;
                    return Some(entry.holder);
                }
            }
        }
        let begins = matches!(packet, Packet::Syn | Packet::Datagram);
        let position = if begins { slot.current() } else { slot.base() };
        if position == Slot::NOBODY {
            return None;
        }
        let server = &self.servers[usize::from(position)];
        assert!(server.is_alive, "steered to a dead server");
        let holder = (position, server.generation);
        if stores {
            self.table.insert(index, Entry { holder, seen: self.now, closing });
        }
        Some(holder)
    }

    /// A pseudo-random number: SplitMix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}

impl Server {
    fn lives(&self, holder: Holder) -> bool {
        self.is_alive && self.generation == holder.1
    }
}

fn members(servers: &[Server]) -> Vec<Member> {
    let member = |(position, server): (usize, &Server)| {
        let [high, low] = server.number.to_be_bytes();
        Member {
            key: StableKey::new(IpAddr::from([10, 9, high, low]), 80),
            position: position as u16,
            weight: if server.is_alive { server.weight } else { 0 },
        }
    };
    servers.iter().enumerate().map(member).collect()
}
