//! What one receiver was told, and what to tell it next.

use std::collections::VecDeque;
use std::time::Duration;

use lvs_common::connection::{Control, ENTRIES_PER_BUCKET, Entry, flags, ticks};

use super::super::directory::Known;
use super::super::wire::{self, Body, Cell, CellEntry, CellsWriter, Header, Told};
use super::super::{Directory, Peer, Source, refreshed_after, to_ticks};
use super::bulk::Bulk;
use super::flight::{Content, Flights, Landed};
use super::names::Names;
use super::pace::Pace;
use super::waiting::Waiting;
use super::{Options, SenderStats, Step};

/// Something is said at least so often, so that silence has a meaning.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// Buckets that are read in one call.
const LOOKS: u32 = 4096;

/// What was told of a cell, as a control word: nothing,
const NOTHING: u64 = 0;
/// or something that may not have arrived. No entry has this word, whose state is none.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Session {
    peer: Peer,
    options: Options,
    buckets: u32,
    version: u8,
    id: u64,
    receiver: u64,
    sequence: u64,
    /// When the receiver said something last.
    pub(super) heard: Duration,
    /// When it was told how far the bulk is.
    progressed: Option<Duration>,
    /// Buckets to be looked at.
    pub(super) waiting: Waiting,
    bulk: Bulk,
    /// The receiver knows that there is a bulk, and was told that it is complete.
    is_announced: bool,
    is_complete: bool,
    /// By cell: the control word of the entry that was told.
    told: Vec<u64>,
    pub(super) names: Names,
    flights: Flights,
    /// What is made and not sent.
    outbox: VecDeque<(Parcel, Content)>,
}

#[derive(Debug)]
enum Parcel {
    Body(Body),
    Cells(CellsWriter),
}

impl Session {
    pub(super) fn new(
        peer: Peer,
        options: Options,
        buckets: u32,
        version: u8,
        join: &Header,
        now: Duration,
    ) -> Self {
        Self {
            peer,
            options,
            buckets,
            version,
            id: join.session,
            receiver: join.receiver,
            sequence: 0,
            heard: now,
            progressed: None,
            waiting: Waiting::all(buckets, now),
            bulk: Bulk::new(buckets, 0),
            // Who begins a session expects one.
            is_announced: true,
            is_complete: false,
            told: vec![NOTHING; buckets as usize * ENTRIES_PER_BUCKET],
            names: Names::default(),
            flights: Flights::default(),
            outbox: VecDeque::new(),
        }
    }

    pub(super) fn is_of(&self, header: &Header) -> bool {
        (header.session, header.receiver) == (self.id, self.receiver)
    }

    /// Everything is to be compared with what was told, by another directory.
    pub(super) fn begin_again(&mut self, now: Duration, directory: &Directory) {
        self.waiting.mark_all(now);
        self.names.explain_all(directory);
    }

    /// The receiver is to know when it has heard of everything once more: it then holds nothing else of the services
    /// that this director has become active for.
    pub(super) fn tell_all_again(&mut self) {
        self.bulk = self.bulk.next(self.buckets);
        self.is_announced = false;
        self.is_complete = false;
        self.progressed = None;
    }

    /// Buckets and explanations that the receiver has yet to acknowledge for the first time, and datagrams from before the
    /// bulk that may be lost. Explanations after the end of the bulk are no part of it.
    pub(super) fn left(&self) -> u32 {
        let number = self.bulk.number();
        let made =
            self.outbox.iter().filter(|(_, content)| content.is_of_another_bulk(number)).count() as u32;
        let earlier = self.flights.of_other_bulks(number) + made;
        let names = if self.is_complete { 0 } else { self.names.left() };
        self.bulk.left().saturating_add(names).saturating_add(earlier)
    }

    pub(super) fn lag(&self, now: Duration) -> Duration {
        let said = self.outbox.iter().filter_map(|(_, content)| content.since());
        let oldest = self.waiting.since().into_iter().chain(said).chain(self.flights.since()).min();
        oldest.map_or(Duration::ZERO, |oldest| now.saturating_sub(oldest))
    }

    pub(super) fn report(&mut self, now: Duration, highest: u64, bits: u64, stats: &mut SenderStats) {
        if highest > self.sequence {
            return;
        }
        self.heard = now;
        let landed = self.flights.report(now, highest, bits);
        self.settle(landed, stats);
    }

    fn settle(&mut self, landed: Landed, stats: &mut SenderStats) {
        for content in landed.acknowledged {
            match content {
                Content::Cells { buckets, bulk, .. } => {
                    buckets.iter().for_each(|(bucket, _)| self.bulk.acknowledged(*bucket, bulk));
                }
                Content::Names(_) => self.names.acknowledged(),
                Content::Progress { bulk } => self.is_announced |= self.bulk.is(bulk),
            }
        }
        stats.lost += landed.lost.len() as u64;
        for content in landed.lost {
            match content {
                Content::Cells { buckets, bulk, since } => {
                    for (bucket, said) in buckets {
                        self.bulk.lost(bucket, bulk);
                        self.waiting.mark_again(since, bucket);
                        for cell in (0..ENTRIES_PER_BUCKET).filter(|cell| said & 1 << cell != 0) {
                            self.told[bucket as usize * ENTRIES_PER_BUCKET + cell] = UNKNOWN;
                        }
                    }
                }
                Content::Names(names) => self.names.lost(&names),
                Content::Progress { bulk } => {
                    if self.bulk.is(bulk) && !self.is_announced {
                        self.progressed = None;
                    }
                }
            }
        }
    }

    pub(super) fn poll(
        &mut self,
        now: Duration,
        source: &impl Source,
        directory: &Directory,
        pace: &mut Pace,
        stats: &mut SenderStats,
    ) -> Step {
        let landed = self.flights.time_out(now);
        self.settle(landed, stats);
        let mut has_more = false;
        if !self.flights.has_room() {
            return Step::Wait;
        }
        if !pace.allows(now) {
            return if self.outbox.is_empty() && self.waiting.count() == 0 {
                Step::Wait
            } else {
                Step::Pause
            };
        }
        if self.outbox.is_empty() {
            if self.has_to_progress(now) {
                let (total, waiting) = (self.buckets, self.waiting.count());
                // Until the receiver has said that it knows of the bulk, this does not say that it has ended.
                let left = self.left().max(u32::from(!self.is_announced));
                self.is_complete = left == 0;
                self.progressed = Some(now);
                let content = Content::Progress { bulk: self.bulk.number() };
                self.outbox.push_back((Parcel::Body(Body::Progress { total, left, waiting }), content));
            } else {
                has_more = self.fill(now, source, directory, stats);
            }
        }
        match self.outbox.pop_front() {
            Some((parcel, content)) => Step::Send(self.peer, self.send(now, &parcel, content, pace, stats)),
            None if has_more => Step::Again,
            None => Step::Wait,
        }
    }

    /// Whether the receiver should hear how far the bulk is.
    fn has_to_progress(&self, now: Duration) -> bool {
        let has_ended = self.left() == 0 && self.is_announced && !self.is_complete;
        has_ended || self.progressed.is_none_or(|last| now.saturating_sub(last) >= KEEPALIVE)
    }

    fn send(
        &mut self,
        now: Duration,
        parcel: &Parcel,
        content: Content,
        pace: &mut Pace,
        stats: &mut SenderStats,
    ) -> Vec<u8> {
        self.sequence += 1;
        let (version, session, receiver) = (self.version, self.id, self.receiver);
        let header = Header { version, session, receiver, sequence: self.sequence };
        let datagram = match parcel {
            Parcel::Body(body) => wire::encode(&header, body),
            Parcel::Cells(cells) => wire::encode_cells(&header, cells),
        };
        let bytes = datagram.len() + self.options.overhead;
        stats.datagrams += 1;
        stats.bytes += bytes as u64;
        pace.sent(bytes);
        self.flights.add(self.sequence, now, content);
        datagram
    }

    /// Puts the next marked buckets into the outbox; whether there are more.
    fn fill(
        &mut self,
        now: Duration,
        source: &impl Source,
        directory: &Directory,
        stats: &mut SenderStats,
    ) -> bool {
        let room = wire::room(self.options.overhead);
        let mut cells = CellsWriter::new(room);
        let (mut said, mut names, mut looked) = (Vec::new(), Vec::new(), 0);
        let since = self.waiting.since().unwrap_or(now);
        while looked < LOOKS && cells.has_room() {
            let Some(bucket) = self.waiting.next() else { break };
            looked += 1;
            // What changes too fast stays marked.
            let Some(entries) = source.read(bucket) else { continue };
            self.waiting.clear(bucket);
            let told = self.compare(now, bucket, &entries, directory, &mut names, stats);
            let spoken = (0..).zip(&told.cells).filter(|(_, cell)| **cell != Cell::Unsaid);
            let mask = spoken.fold(0_u8, |mask, (cell, _)| mask | 1 << cell);
            if mask == 0 {
                self.bulk.nothing(bucket);
                continue;
            }
            self.bulk.told(bucket);
            said.push((bucket, mask));
            cells.push(&told);
        }
        // First what the numbers mean.
        let at_once = (room / wire::NAME).max(1);
        names.extend(self.names.take_waiting(at_once, directory));
        for names in names.chunks(at_once) {
            self.names.sent();
            let explained = names.iter().map(|(number, known)| (*number, known.key)).collect();
            let content = names.iter().map(|(_, known)| (known.index, known.generation)).collect();
            self.outbox.push_back((Parcel::Body(Body::Names(explained)), Content::Names(content)));
        }
        if !cells.is_empty() {
            let content = Content::Cells { buckets: said, bulk: self.bulk.number(), since };
            self.outbox.push_back((Parcel::Cells(cells), content));
        }
        self.waiting.count() > 0 || self.names.has_waiting()
    }

    /// What of a bucket the receiver does not know.
    fn compare(
        &mut self,
        now: Duration,
        bucket: u32,
        entries: &[Option<Entry>; ENTRIES_PER_BUCKET],
        directory: &Directory,
        names: &mut Vec<(u32, Known)>,
        stats: &mut SenderStats,
    ) -> Told {
        let mut told = Told { bucket, cells: [Cell::Unsaid; ENTRIES_PER_BUCKET] };
        let first = bucket as usize * ENTRIES_PER_BUCKET;
        for ((entry, cell), former) in entries.iter().zip(&mut told.cells).zip(&mut self.told[first..]) {
            match entry.as_ref().and_then(|entry| Some((entry, self.options.tells(entry, directory)?))) {
                Some((entry, known)) => {
                    let control = entry.control();
                    if is_known(Control(*former), control, directory) {
                        continue;
                    }
                    let (number, is_new) = self.names.number(known);
                    if is_new {
                        names.push((number, *known));
                    }
                    *cell = Cell::Entry(told_entry(now, entry, number, known));
                    *former = control.0;
                    stats.entries += 1;
                }
                None => {
                    let there = entry.filter(|entry| entry.version == Control(*former).version());
                    match there.filter(|_| *former != UNKNOWN) {
                        // From now on another director tells of it, also of its end.
                        Some(entry) if is_anothers(&entry, directory) => *former = NOTHING,
                        Some(_) => continue,
                        None => {}
                    }
                    if *former == NOTHING {
                        continue;
                    }
                    *cell = Cell::Empty;
                    *former = NOTHING;
                    stats.removals += 1;
                }
            }
        }
        told
    }

    /// Marks a bucket whose connections have had packets that the receiver should know of.
    pub(super) fn compare_times(
        &mut self,
        now: Duration,
        bucket: u32,
        entries: &[Option<Entry>; ENTRIES_PER_BUCKET],
        directory: &Directory,
    ) {
        let former = &self.told[bucket as usize * ENTRIES_PER_BUCKET..];
        let is_old = |(entry, former): (&Option<Entry>, &u64)| {
            let Some(entry) = entry else { return false };
            let former = Control(*former);
            former.0 != NOTHING && former.0 != UNKNOWN && !is_known(former, entry.control(), directory)
        };
        if entries.iter().zip(former).any(is_old) {
            self.waiting.mark(now, bucket);
        }
    }
}

impl Options {
    /// The destination of an entry that is to be told of.
    fn tells<'a>(&self, entry: &Entry, directory: &'a Directory) -> Option<&'a Known> {
        if entry.flags & flags::EMBRYONIC != 0 && !self.embryonic {
            return None;
        }
        directory.at(entry.destination, entry.generation).filter(|known| known.is_mine)
    }
}

/// Whether another director is active for the service of an entry.
fn is_anothers(entry: &Entry, directory: &Directory) -> bool {
    directory.at(entry.destination, entry.generation).is_some_and(|known| !known.is_mine)
}

/// Whether what was told still does: nothing has changed but the time, and that not by much.
fn is_known(told: Control, now: Control, directory: &Directory) -> bool {
    let later = now.last_seen().wrapping_sub(told.last_seen()).cast_signed();
    let same = told.seen(0) == now.seen(0) && told.0 != UNKNOWN;
    same && later < refreshed_after(directory.timeout(now.state() as u8)).max(1).cast_signed()
}

fn told_entry(now: Duration, entry: &Entry, number: u32, known: &Known) -> CellEntry {
    let idle = to_ticks(now).wrapping_sub(entry.last_seen).cast_signed().max(0).cast_unsigned();
    CellEntry {
        state: entry.state,
        is_embryonic: entry.flags & flags::EMBRYONIC != 0,
        client: entry.client,
        client_port: entry.client_port,
        virtual_port: (entry.virtual_port != known.key.service.port).then_some(entry.virtual_port),
        destination: number,
        age: u32::try_from(ticks::to_milliseconds(idle)).unwrap_or(u32::MAX),
    }
}
