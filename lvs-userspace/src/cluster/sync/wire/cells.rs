//! What stands in the cells of a sender's table: 11 to 31 bytes an entry.

use lvs_common::address::Address;
use lvs_common::connection::ENTRIES_PER_BUCKET;
use lvs_common::tcp_state::state;

use super::bytes::{Reader, Writer};
use super::{BUCKETS, NUMBERS};

/// The cells of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub bucket: u32,
    pub cells: [Cell; ENTRIES_PER_BUCKET],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// As it was.
    Unsaid,
    /// What stood there is gone.
    Empty,
    Entry(CellEntry),
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellEntry {
    /// One of [`state`], of those that are live.
    pub state: u8,
    /// Only one packet of it was seen.
    pub is_embryonic: bool,
    pub client: Address,
    pub client_port: u16,
    /// The port the client dialled, where it is not the service's.
    pub virtual_port: Option<u16>,
    /// A number of the session.
    pub destination: u32,
    /// Since its last packet, in milliseconds.
    pub age: u32,
}

/// Bytes of one bucket at the most.
const LONGEST: usize = 5 + 1 + ENTRIES_PER_BUCKET * (1 + 5 + 16 + 2 + 2 + 5);

/// Bits of an entry's first byte, above the state.
const STATE: u8 = 0x0f;
const EMBRYONIC: u8 = 0x10;
const CLIENT_V6: u8 = 0x20;
const OTHER_PORT: u8 = 0x40;

/// Encodes buckets until no more fit.
#[derive(Clone, Debug)]
pub struct CellsWriter {
    writer: Writer,
    room: usize,
    previous: u32,
}

impl CellsWriter {
    /// For a body of so many bytes.
    pub fn new(room: usize) -> Self {
        Self { writer: Writer::default(), room, previous: 0 }
    }

    /// Whether another bucket fits, whatever stands in it.
    pub fn has_room(&self) -> bool {
        self.room.saturating_sub(self.writer.as_slice().len()) >= LONGEST
    }

    pub fn is_empty(&self) -> bool {
        self.writer.as_slice().is_empty()
    }

    /// Adds a bucket, whose number is above those before.
    pub fn push(&mut self, told: &Told) {
        self.writer.number(told.bucket - self.previous);
        self.previous = told.bucket;
        let mut said = 0;
        for (bit, cell) in told.cells.iter().enumerate() {
            said |= match cell {
                Cell::Unsaid => 0,
                Cell::Empty => 1 << bit,
                Cell::Entry(_) => 0x11 << bit,
            };
        }
        self.writer.u8(said);
        for cell in &told.cells {
            if let Cell::Entry(entry) = cell {
                write(&mut self.writer, entry);
            }
        }
    }

    pub(super) fn body(&self) -> &[u8] {
        self.writer.as_slice()
    }
}

fn write(writer: &mut Writer, entry: &CellEntry) {
    writer.u8(entry.state & STATE
        | if entry.is_embryonic { EMBRYONIC } else { 0 }
        | if entry.client.is_v4() { 0 } else { CLIENT_V6 }
        | if entry.virtual_port.is_some() { OTHER_PORT } else { 0 });
    writer.number(entry.destination);
    writer.address(&entry.client);
    writer.u16(entry.client_port);
    if let Some(port) = entry.virtual_port {
        writer.u16(port);
    }
    writer.number(entry.age);
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Vec<Told>> {
    let mut all = Vec::new();
    let mut previous = 0_u32;
    while !reader.0.is_empty() {
        let step = reader.number().filter(|step| *step > 0 || all.is_empty())?;
        let bucket = previous.checked_add(step)?;
        if bucket >= BUCKETS {
            return None;
        }
        previous = bucket;
        let said = reader.u8()?;
        // Of a cell that is not spoken of there is no entry.
        if (said >> 4) & !said & 0x0f != 0 {
            return None;
        }
        let mut cells = [Cell::Unsaid; ENTRIES_PER_BUCKET];
        for (bit, cell) in cells.iter_mut().enumerate() {
            *cell = match (said >> bit) & 0x11 {
                0 => Cell::Unsaid,
                1 => Cell::Empty,
                _ => Cell::Entry(read_entry(reader)?),
            };
        }
        all.push(Told { bucket, cells });
    }
    Some(all)
}

fn read_entry(reader: &mut Reader<'_>) -> Option<CellEntry> {
    let first = reader.u8().filter(|first| first & !(STATE | EMBRYONIC | CLIENT_V6 | OTHER_PORT) == 0)?;
    let state = first & STATE;
    if !state::is_live(u32::from(state)) || u32::from(state) > state::UDP {
        return None;
    }
    Some(CellEntry {
        state,
        is_embryonic: first & EMBRYONIC != 0,
        destination: reader.number().filter(|number| *number < NUMBERS)?,
        client: reader.address(first & CLIENT_V6 != 0)?,
        client_port: reader.u16()?,
        virtual_port: if first & OTHER_PORT != 0 { Some(reader.u16()?) } else { None },
        age: reader.number()?,
    })
}
