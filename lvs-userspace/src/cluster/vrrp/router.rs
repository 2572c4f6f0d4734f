//! One virtual router: its machine, its sockets, and what it tells of itself.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Turn;
use super::device::Device;
use super::link::Link;
use super::machine::{Command, Machine, Parameters, State, lease};
use super::packet::{Advertisement, Received, Refusal};
use super::socket::{Sockets, group};
use super::status::{Counts, Heard, RouterStatus, milliseconds};
use super::thread::Outside;
use crate::config::model::VrrpInstance;

/// Packets read before something else gets its turn.
const AT_ONCE: usize = 64;
/// Between two complaints about what is received.
const COMPLAIN_ONCE_IN: Duration = Duration::from_secs(60);

pub(super) struct Router {
    pub(super) instance: VrrpInstance,
    /// What has its virtual MAC.
    device: Option<Device>,
    /// In this turn, the interface with that MAC was there.
    has_device: bool,
    /// `None` where there is no way to send: its interface or the address on it is missing.
    sockets: Option<Sockets>,
    machine: Machine,
    /// From just before the last advertisement went out.
    sent: Option<Instant>,
    /// It does not take part before.
    rests_until: Option<Instant>,
    complained: Option<Instant>,
    counts: Counts,
    /// Another machine's last advertisement.
    heard: Option<Heard>,
}

impl Router {
    pub(super) fn new(instance: VrrpInstance) -> Self {
        // Until there are sockets: without them the machine is not started.
        let nobody = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let machine = Machine::new(parameters(&instance), nobody);
        Self {
            device: Device::of(&instance),
            instance,
            has_device: false,
            sockets: None,
            machine,
            sent: None,
            rests_until: None,
            complained: None,
            counts: Counts::default(),
            heard: None,
        }
    }

    pub(super) fn sockets(&self) -> Option<&Sockets> {
        self.sockets.as_ref()
    }

    /// When it acts next by itself.
    pub(super) const fn next(&self) -> Option<Instant> {
        self.machine.next()
    }

    /// Whether another configuration of it is no reason to resign: what it is known by, and how often it speaks, stays.
    pub(super) fn goes_on_as(&self, other: &VrrpInstance) -> bool {
        let identity = |instance: &VrrpInstance| {
            let is_ipv6 = instance.addresses.first().map(|own| own.address.is_ipv6());
            let VrrpInstance { name, interface, router_id, version, advert_interval, source_address, .. } =
                instance.clone();
            (name, interface, router_id, version, advert_interval, source_address, is_ipv6)
        };
        identity(&self.instance) == identity(other) && self.device == Device::of(other)
    }

    /// Is configured as `instance` from now on, which [`Self::goes_on_as`] allows.
    pub(super) fn change(&mut self, instance: VrrpInstance, outside: &mut Outside, now: Instant) {
        self.instance = instance;
        let commands = self.machine.change(parameters(&self.instance), now);
        self.carry_out(commands, outside);
    }

    /// The interface with its MAC, which the mover makes at each turn, is deleted by somebody: others may serve for an
    /// interval, and the next turn makes it anew.
    pub(super) fn follow_device(
        &mut self,
        is_there: impl Fn(&str) -> bool,
        outside: &mut Outside,
        now: Instant,
    ) {
        let Some(device) = self.device.as_ref().filter(|_| self.machine.state() == State::Active) else {
            return;
        };
        if is_there(&device.name) {
            self.has_device = true;
        } else if self.has_device {
            warn!(instance = self.instance.name, interface = device.name, "was deleted by somebody");
            self.rest(now + self.instance.advert_interval, outside);
        }
    }

    /// Follows its interface: no machine without sockets, and none that rests.
    pub(super) fn follow(
        &mut self,
        link: Option<&Link>,
        may_serve: bool,
        all: &[VrrpInstance],
        outside: &mut Outside,
        now: Instant,
    ) {
        let way = link.filter(|link| link.is_up).and_then(|link| Some((link.index, self.source(link, all)?)));
        if self
            .sockets
            .as_ref()
            .is_some_and(|sockets| way.is_none_or(|(index, source)| !sockets.is_for(index, source)))
        {
            self.stop(outside, "its interface or address has gone");
            self.sockets = None;
        }
        if let (None, Some((index, source))) = (&self.sockets, way) {
            match Sockets::open(
                &self.instance.interface,
                index,
                source,
                self.device.as_ref().map(|device| device.mac),
            ) {
                Ok(sockets) => {
                    self.machine = Machine::new(parameters(&self.instance), source);
                    self.sockets = Some(sockets);
                }
                Err(error) => debug!(instance = self.instance.name, %error, "no sockets yet"),
            }
        }
        if self.sockets.is_none() {
            let what = "takes no part: its interface is down, or has not the address to send from";
            self.complain(now, what);
        }
        if self.rests_until.is_some_and(|until| until <= now) {
            self.rests_until = None;
        }
        if !may_serve || self.rests_until.is_some() {
            self.stop(outside, "it must not serve");
        } else if self.sockets.is_some() && self.machine.state() == State::Initialize {
            info!(instance = self.instance.name, priority = self.instance.priority, "takes part");
            let commands = self.machine.start(now);
            self.carry_out(commands, outside);
        }
    }

    pub(super) fn rest(&mut self, until: Instant, outside: &mut Outside) {
        self.stop(outside, "it could not serve");
        self.rests_until = Some(until);
    }

    pub(super) fn stop(&mut self, outside: &mut Outside, reason: &str) {
        if self.machine.state() != State::Initialize {
            info!(instance = self.instance.name, reason, "takes no part any more");
            let commands = self.machine.stop();
            self.carry_out(commands, outside);
        }
    }

    /// Reads what has arrived.
    pub(super) fn receive(&mut self, outside: &mut Outside) {
        for _ in 0..AT_ONCE {
            let received = match self.sockets.as_ref().map(Sockets::receive) {
                Some(Ok(Some(received))) => received,
                // Told of when the interface went down, which is followed elsewhere.
                None | Some(Ok(None) | Err(_)) => return,
            };
            let now = Instant::now();
            match received {
                Ok(received) => self.heard(&received, outside, now),
                // Another virtual router's on the link.
                Err(Refusal::Authentication { router_id, .. }) if router_id != self.instance.router_id => {}
                Err(refusal) => {
                    self.counts.ignored += 1;
                    self.complain(now, &format!("a packet is ignored: {refusal}"));
                }
            }
        }
    }

    pub(super) fn tick(&mut self, outside: &mut Outside, now: Instant) {
        let commands = self.machine.tick(now);
        self.carry_out(commands, outside);
    }

    fn heard(&mut self, received: &Received, outside: &mut Outside, now: Instant) {
        let Received { advertisement, source, destination } = received;
        let Some(sockets) = &self.sockets else { return };
        let own = sockets.source();
        let peers = &self.instance.unicast_peers;
        let is_for_us = *destination == own || *destination == group(own);
        let is_from_peer = *source != own && (peers.is_empty() || peers.contains(source));
        if advertisement.router_id != self.instance.router_id || !is_for_us || !is_from_peer {
            return;
        }
        let expected = &self.instance.addresses;
        let is_same = |address: &IpAddr| expected.iter().any(|own| own.address == *address);
        if self.machine.suits(advertisement) {
            self.counts.received += 1;
            self.heard = Some(Heard { source: *source, priority: advertisement.priority, at: now });
        } else {
            self.counts.ignored += 1;
        }
        if !self.machine.suits(advertisement) {
            let what = format!(
                "{source} speaks version {} every {:?}",
                advertisement.version.number(),
                advertisement.interval
            );
            self.complain(now, &format!("{what}: it is not listened to"));
        } else if advertisement.addresses.len() != expected.len()
            || !advertisement.addresses.iter().all(is_same)
        {
            self.complain(now, &format!("{source} has other addresses: {:?}", advertisement.addresses));
        }
        let before = self.machine.state();
        let commands = self.machine.heard(advertisement, *source, now);
        if before == State::Active && self.machine.state() == State::Backup {
            info!(instance = self.instance.name, %source, priority = advertisement.priority, "yields");
        }
        self.carry_out(commands, outside);
    }

    fn carry_out(&mut self, commands: Vec<Command>, outside: &mut Outside) {
        for command in commands {
            match command {
                Command::Send { priority } => self.send(priority, outside),
                Command::Take => {
                    self.has_device = false;
                    self.counts.turns += 1;
                    info!(instance = self.instance.name, "is active");
                    outside.turn(Turn::Take {
                        instance: self.instance.name.clone(),
                        device: self.device.clone(),
                    });
                }
                Command::Give => {
                    outside.leases.end(&self.instance.name);
                    outside.turn(Turn::Give {
                        instance: self.instance.name.clone(),
                        device: self.device.clone(),
                    });
                }
            }
        }
    }

    /// The lease counts from before it is sent.
    fn send(&mut self, priority: u8, outside: &mut Outside) {
        let Some(sockets) = &self.sockets else { return };
        let (now, interval) = (Instant::now(), self.instance.advert_interval);
        let advertisement = Advertisement {
            version: self.instance.version,
            router_id: self.instance.router_id,
            priority,
            interval,
            addresses: self.instance.addresses.iter().map(|own| own.address).collect(),
        };
        let source = sockets.source();
        let everybody = [group(source)];
        let peers = &self.instance.unicast_peers;
        let destinations = if peers.is_empty() { &everybody[..] } else { peers };
        let mut was_sent = false;
        let mut failure = None;
        for destination in destinations {
            match sockets.send(&advertisement.encode(source, *destination), *destination) {
                Ok(()) => was_sent = true,
                Err(error) => failure = Some(format!("cannot send to {destination}: {error}")),
            }
        }
        if was_sent {
            self.sent = Some(now);
            self.counts.sent += 1;
            self.renew(outside);
        }
        if let Some(failure) = failure {
            self.complain(now, &failure);
        }
    }

    /// The lease that the last advertisement has earned.
    pub(super) fn renew(&self, outside: &mut Outside) {
        if let (State::Active, Some(sent)) = (self.machine.state(), self.sent) {
            let interval = self.instance.advert_interval;
            outside.leases.renew(&self.instance.name, sent + lease(interval), sent + interval * 2);
        }
    }

    pub(super) fn status(&self, now: Instant) -> RouterStatus {
        let instance = &self.instance;
        let (state, active) = match self.machine.state() {
            State::Initialize => ("initialize", None),
            State::Backup => {
                let heard = self.heard.filter(|heard| heard.priority > 0);
                ("backup", heard.map(|heard| (heard.source, heard.priority)))
            }
            State::Active => {
                let own = self.sockets.as_ref().map(Sockets::source);
                ("active", own.map(|source| (source, instance.priority)))
            }
        };
        RouterStatus {
            name: instance.name.clone(),
            interface: instance.interface.clone(),
            router_id: instance.router_id,
            version: instance.version.number(),
            state: state.to_owned(),
            priority: instance.priority,
            active: active.map(|(source, _)| source),
            active_priority: active.map(|(_, priority)| priority),
            counts: self.counts,
            last_received: self.heard.map(|heard| milliseconds(heard.at, now)),
            preempts: instance.preempt,
            virtual_mac: self
                .device
                .as_ref()
                .map(|device| device.mac.map(|byte| format!("{byte:02x}")).join(":")),
            preempts_in: self.machine.preempts_at().map(|at| milliseconds(now, at)),
        }
    }

    /// `all` instances' addresses move, from this interface too.
    fn source(&self, link: &Link, all: &[VrrpInstance]) -> Option<IpAddr> {
        let family = self.instance.addresses.first()?.address;
        let is_virtual = |address| {
            let here = all.iter().filter(|other| other.interface == self.instance.interface);
            here.flat_map(|other| &other.addresses).any(|other| other.address == address)
        };
        match self.instance.source_address {
            Some(source) => Some(source).filter(|source| link.addresses.contains(source)),
            None => link.source(family, self.sockets.as_ref().map(Sockets::source), is_virtual),
        }
    }

    fn complain(&mut self, now: Instant, what: &str) {
        if self.complained.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAIN_ONCE_IN) {
            self.complained = Some(now);
            warn!(instance = self.instance.name, "{what}");
        }
    }
}

fn parameters(instance: &VrrpInstance) -> Parameters {
    Parameters {
        version: instance.version,
        priority: instance.priority,
        preempt: instance.preempt,
        preempt_delay: instance.preempt_delay,
        interval: instance.advert_interval,
    }
}
