//! Datagrams that were sent and not acknowledged, and how many there may be.

use std::collections::VecDeque;
use std::time::Duration;

/// Datagrams under way: what fits into a socket's buffer, and into the bits of a report.
const WINDOW: u32 = 64;
const SMALLEST_WINDOW: u32 = 4;
/// A datagram is lost when it was not acknowledged for so long, or four times as long as others took.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a datagram said, so that it can be said again as it is then.
#[derive(Debug)]
pub(super) enum Content {
    /// Buckets, and of each a bit for every cell that was spoken of; during which bulk, and when the oldest of them may
    /// have changed.
    Cells { buckets: Vec<(u32, u8)>, bulk: u32, since: Duration },
    /// Destinations, by index and generation.
    Names(Vec<(u32, u32)>),
    /// How far this bulk is.
    Progress { bulk: u32 },
}

impl Content {
    /// It tells of cells, and was made during another bulk than this.
    pub(super) const fn is_of_another_bulk(&self, than: u32) -> bool {
        matches!(self, Self::Cells { bulk, .. } if *bulk != than)
    }

    /// Since when the oldest change may have been waiting that it tells of.
    pub(super) const fn since(&self) -> Option<Duration> {
        match self {
            Self::Cells { since, .. } => Some(*since),
            Self::Names(_) | Self::Progress { .. } => None,
        }
    }
}

#[derive(Debug)]
struct Flight {
    sequence: u64,
    sent: Duration,
    content: Content,
}

#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: VecDeque<Flight>,
    /// Of the datagrams that may be under way, those that losses have taken away.
    narrowed: u32,
    acknowledged: u32,
    round_trip: Duration,
}

/// What has become of datagrams.
#[derive(Debug, Default)]
pub(super) struct Landed {
    pub(super) acknowledged: Vec<Content>,
    pub(super) lost: Vec<Content>,
}

impl Flights {
    pub(super) fn has_room(&self) -> bool {
        (self.flights.len() as u32) < WINDOW - self.narrowed
    }

    pub(super) fn add(&mut self, sequence: u64, sent: Duration, content: Content) {
        self.flights.push_back(Flight { sequence, sent, content });
    }

    /// Datagrams under way that tell of cells and are of another bulk than this.
    pub(super) fn of_other_bulks(&self, than: u32) -> u32 {
        self.flights.iter().filter(|flight| flight.content.is_of_another_bulk(than)).count() as u32
    }

    /// Since when the oldest change may have been waiting of those that are under way.
    pub(super) fn since(&self) -> Option<Duration> {
        self.flights.iter().filter_map(|flight| flight.content.since()).min()
    }

    /// The receiver takes datagrams in the order of their numbers: one that is not among those up to `highest`
    /// will never be.
    pub(super) fn report(&mut self, now: Duration, highest: u64, bits: u64) -> Landed {
        let mut landed = Landed::default();
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.sequence <= highest) {
            let distance = highest - flight.sequence;
            if distance < u64::from(u64::BITS) && bits >> distance & 1 != 0 {
                self.measure(now.saturating_sub(flight.sent));
                landed.acknowledged.push(flight.content);
            } else {
                landed.lost.push(flight.content);
            }
        }
        self.adapt(&landed);
        landed
    }

    /// What nobody has said anything of for too long.
    pub(super) fn time_out(&mut self, now: Duration) -> Landed {
        let patience = PATIENCE.max(self.round_trip * 4);
        let mut landed = Landed::default();
        while let Some(flight) = self.flights.pop_front_if(|one| now.saturating_sub(one.sent) > patience) {
            landed.lost.push(flight.content);
        }
        self.adapt(&landed);
        landed
    }

    fn measure(&mut self, round_trip: Duration) {
        let former = if self.round_trip.is_zero() { round_trip } else { self.round_trip };
        self.round_trip = (former * 7 + round_trip) / 8;
    }

    /// Half as many after a loss, one more after as many as there may be have arrived.
    fn adapt(&mut self, landed: &Landed) {
        if !landed.lost.is_empty() {
            let window = ((WINDOW - self.narrowed) / 2).max(SMALLEST_WINDOW);
            self.narrowed = WINDOW - window;
            self.acknowledged = 0;
            return;
        }
        self.acknowledged += landed.acknowledged.len() as u32;
        if self.acknowledged >= WINDOW - self.narrowed {
            self.acknowledged = 0;
            self.narrowed = self.narrowed.saturating_sub(1);
        }
    }
}
