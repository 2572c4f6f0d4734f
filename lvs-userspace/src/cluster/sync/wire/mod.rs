//! What the two directors say to each other about connections: pure encoding and decoding, everything bounded.
//!
//! A datagram is a [`Header`] and a [`Body`], numbers in network order. Header, [`Body::Join`] and [`Body::Offer`]
//! stay as they are in all versions: with them both agree on the version of everything else.

mod bytes;
mod cells;

pub use cells::{Cell, CellEntry, CellsWriter, Told};

use bytes::{Reader, Writer};
use lvs_common::service::ServiceKey;
use thiserror::Error;

use super::DestinationKey;

/// Versions of the layout that are understood, the newest last.
pub const VERSIONS: std::ops::RangeInclusive<u8> = 1..=1;
/// Bytes of a datagram at the most, with the proof of its origin.
pub const DATAGRAM: usize = 1400;
/// Buckets a sender's table may have, which is 268 million connections.
pub const BUCKETS: u32 = 1 << 26;
/// Numbers of destinations in one session.
pub const NUMBERS: u32 = 1 << 20;

const MAGIC: [u8; 4] = *b"LVSC";
/// Bytes of a header.
const HEADER: usize = 32;

/// Before every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Layout of the body, but for Join and Offer.
    pub version: u8,
    /// Chosen by the sender of connections; 0 = none yet.
    pub session: u64,
    /// Chosen by the receiver.
    pub receiver: u64,
    /// Of the sender: raised with each datagram of a session. The receiver's are 0.
    pub sequence: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The receiver wants the session, or to be offered one. It understands versions `oldest..=newest`.
    Join { oldest: u8, newest: u8 },
    /// The sender would have this session. Its table has so many buckets.
    Offer { buckets: u32 },
    /// Which numbers mean which destinations.
    Names(Vec<(u32, DestinationKey)>),
    /// What stands in these cells, by rising numbers of their buckets.
    Cells(Vec<Told>),
    /// Of the bulk's buckets so many are left, and so many wait to be looked at.
    Progress { total: u32, left: u32, waiting: u32 },
    /// The newest datagram that came, and which before it have taken effect: bit `n` stands for `highest - n`.
    Report { highest: u64, bits: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    #[error("the datagram is no message about connections")]
    Foreign,
    #[error("layout version {0} of a message about connections is not understood")]
    Version(u8),
    #[error("a message about connections of kind {0} makes no sense")]
    Malformed(u8),
}

mod kind {
    pub(super) const JOIN: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const NAMES: u8 = 3;
    pub(super) const CELLS: u8 = 4;
    pub(super) const PROGRESS: u8 = 5;
    pub(super) const REPORT: u8 = 6;
}

impl Body {
    const fn kind(&self) -> u8 {
        match self {
            Self::Join { .. } => kind::JOIN,
            Self::Offer { .. } => kind::OFFER,
            Self::Names(_) => kind::NAMES,
            Self::Cells(_) => kind::CELLS,
            Self::Progress { .. } => kind::PROGRESS,
            Self::Report { .. } => kind::REPORT,
        }
    }
}

/// A datagram, its proof not yet added.
pub fn encode(header: &Header, body: &Body) -> Vec<u8> {
    let mut writer = begin(header, body.kind());
    match body {
        Body::Join { oldest, newest } => {
            writer.u8(*oldest);
            writer.u8(*newest);
        }
        Body::Offer { buckets } => writer.u32(*buckets),
        Body::Names(names) => names.iter().for_each(|(number, key)| write_name(&mut writer, *number, key)),
        Body::Cells(told) => {
            let mut cells = CellsWriter::new(usize::MAX);
            for bucket in told {
                cells.push(bucket);
            }
            writer.bytes(cells.body());
        }
        Body::Progress { total, left, waiting } => {
            writer.u32(*total);
            writer.u32(*left);
            writer.u32(*waiting);
        }
        Body::Report { highest, bits } => {
            writer.u64(*highest);
            writer.u64(*bits);
        }
    }
    writer.into()
}

/// As [`encode`] of [`Body::Cells`] that are encoded already.
pub fn encode_cells(header: &Header, cells: &CellsWriter) -> Vec<u8> {
    let mut writer = begin(header, kind::CELLS);
    writer.bytes(cells.body());
    writer.into()
}

fn begin(header: &Header, kind: u8) -> Writer {
    let mut writer = Writer::with_capacity(DATAGRAM);
    writer.bytes(&MAGIC);
    writer.u8(header.version);
    writer.u8(kind);
    writer.u16(0);
    writer.u64(header.session);
    writer.u64(header.receiver);
    writer.u64(header.sequence);
    writer
}

/// Room for a body in a datagram whose proof takes `overhead` bytes.
pub const fn room(overhead: usize) -> usize {
    DATAGRAM.saturating_sub(HEADER + overhead)
}

/// Bytes of one name at the most.
pub const NAME: usize = 5 + 1 + 16 + 2 + 1 + 16 + 2 + 1;

pub fn decode(datagram: &[u8]) -> Result<(Header, Body), WireError> {
    let mut reader = Reader(datagram);
    let (header, kind) = read_header(&mut reader).ok_or(WireError::Foreign)?;
    if !VERSIONS.contains(&header.version) && kind != kind::JOIN && kind != kind::OFFER {
        return Err(WireError::Version(header.version));
    }
    let body = match kind {
        kind::JOIN => read_join(&mut reader),
        kind::OFFER => {
            reader.u32().filter(|buckets| *buckets <= BUCKETS).map(|buckets| Body::Offer { buckets })
        }
        kind::NAMES => read_names(&mut reader),
        kind::CELLS => cells::read(&mut reader).map(Body::Cells),
        kind::PROGRESS => read_progress(&mut reader),
        kind::REPORT => read_report(&mut reader),
        _ => None,
    };
    // A newer handshake may say more.
    let is_whole = reader.0.is_empty() || kind == kind::JOIN || kind == kind::OFFER;
    body.filter(|_| is_whole).map(|body| (header, body)).ok_or(WireError::Malformed(kind))
}

fn read_header(reader: &mut Reader<'_>) -> Option<(Header, u8)> {
    if reader.0.len() > DATAGRAM || reader.take(4)? != MAGIC {
        return None;
    }
    let version = reader.u8()?;
    let kind = reader.u8()?;
    reader.take(2)?;
    let (session, receiver, sequence) = (reader.u64()?, reader.u64()?, reader.u64()?);
    Some((Header { version, session, receiver, sequence }, kind))
}

fn read_join(reader: &mut Reader<'_>) -> Option<Body> {
    Some(Body::Join { oldest: reader.u8()?, newest: reader.u8()? })
}

fn read_progress(reader: &mut Reader<'_>) -> Option<Body> {
    Some(Body::Progress { total: reader.u32()?, left: reader.u32()?, waiting: reader.u32()? })
}

fn read_report(reader: &mut Reader<'_>) -> Option<Body> {
    Some(Body::Report { highest: reader.u64()?, bits: reader.u64()? })
}

/// Bits of a name's first byte: which address is IPv6.
const VIP_V6: u8 = 1;
const SERVER_V6: u8 = 2;

fn write_name(writer: &mut Writer, number: u32, key: &DestinationKey) {
    let families = if key.service.address.is_v4() { 0 } else { VIP_V6 }
        | if key.address.is_v4() { 0 } else { SERVER_V6 };
    writer.number(number);
    writer.u8(families);
    writer.address(&key.service.address);
    writer.u16(key.service.port);
    writer.u8(key.service.protocol);
    writer.address(&key.address);
    writer.u16(key.port);
    writer.u8(key.forward);
}

fn read_names(reader: &mut Reader<'_>) -> Option<Body> {
    let mut names = Vec::new();
    while !reader.0.is_empty() {
        let number = reader.number().filter(|number| *number < NUMBERS)?;
        let families = reader.u8().filter(|families| families & !(VIP_V6 | SERVER_V6) == 0)?;
        let vip = reader.address(families & VIP_V6 != 0)?;
        let service = ServiceKey::new(vip, reader.u16()?, reader.u8()?);
        let address = reader.address(families & SERVER_V6 != 0)?;
        names.push((number, DestinationKey { service, address, port: reader.u16()?, forward: reader.u8()? }));
    }
    Some(Body::Names(names))
}
