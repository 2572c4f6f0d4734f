//! Datagrams on a serial line, which carries bytes and loses some.
//!
//! A frame is a zero, the datagram and its checksum without any zero in them, and a zero. Zeros are taken
//! out by Consistent Overhead Byte Stuffing (Cheshire and Baker, SIGCOMM 1997). So whoever begins to listen
//! in the middle, or has heard noise, understands again from the next zero on. The checksum (the FCS of RFC
//! 1662 section C.2) tells noise from forgery.

use std::time::Duration;

/// Bytes of the longest datagram.
pub const LONGEST: usize = 1_500;

const END: u8 = 0;
const CHECKSUM: usize = 2;
/// So many bytes stand behind a code, at the most.
const BLOCK: usize = 254;
const LONGEST_STUFFED: usize = stuffed(LONGEST);

/// Bits that a byte takes: one to start, eight, one to stop.
const BITS: u64 = 10;

/// How long the frame of a datagram of so many bytes takes at `baud` bits a second, at the most.
pub fn duration(bytes: usize, baud: u32) -> Duration {
    carried(stuffed(bytes) + 2, baud)
}

/// How long a line needs for so many bytes.
pub(super) fn carried(bytes: usize, baud: u32) -> Duration {
    Duration::from_micros((bytes as u64 * BITS * 1_000_000).div_ceil(baud.max(1).into()))
}

/// Bytes of a datagram with its checksum, stuffed.
const fn stuffed(bytes: usize) -> usize {
    let bytes = bytes + CHECKSUM;
    bytes + bytes / BLOCK + 1
}

/// The frame that carries `datagram`.
pub fn encode(datagram: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(stuffed(datagram.len()) + 2);
    frame.push(END);
    // The code before each block: the number of its bytes, and one. A zero follows all but the last and the
    // longest.
    let mut code = frame.len();
    frame.push(1);
    for byte in datagram.iter().copied().chain(checksum(datagram).to_le_bytes()) {
        if usize::from(frame[code]) == BLOCK + 1 {
            code = frame.len();
            frame.push(1);
        }
        if byte == END {
            code = frame.len();
            frame.push(1);
        } else {
            frame.push(byte);
            frame[code] += 1;
        }
    }
    frame.push(END);
    frame
}

/// Bytes that were no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Finds frames in what a line brings.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Since the last zero; no more than a frame can have.
    stuffed: Vec<u8>,
    is_too_long: bool,
    datagram: Vec<u8>,
}

impl Decoder {
    /// What ends with `byte`, if anything does.
    pub fn push(&mut self, byte: u8) -> Option<Result<&[u8], Damaged>> {
        if byte != END {
            self.is_too_long |= self.stuffed.len() == LONGEST_STUFFED;
            if !self.is_too_long {
                self.stuffed.push(byte);
            }
            return None;
        }
        if self.stuffed.is_empty() {
            return None;
        }
        let is_whole = !self.is_too_long && unstuff(&self.stuffed, &mut self.datagram);
        self.is_too_long = false;
        self.stuffed.clear();
        if !is_whole {
            return Some(Err(Damaged));
        }
        let checked = self.datagram.split_last_chunk::<CHECKSUM>();
        let whole = checked.filter(|(datagram, sum)| checksum(datagram).to_le_bytes() == **sum);
        Some(whole.map(|(datagram, _)| datagram).ok_or(Damaged))
    }
}

/// Whether `stuffed` is as [`encode`] has it; `plain` is then what it was made of.
fn unstuff(stuffed: &[u8], plain: &mut Vec<u8>) -> bool {
    plain.clear();
    let mut rest = stuffed;
    while let Some((&code, behind)) = rest.split_first() {
        let Some((block, next)) = behind.split_at_checked(usize::from(code).wrapping_sub(1)) else {
            return false;
        };
        plain.extend(block);
        rest = next;
        if block.len() < BLOCK && !rest.is_empty() {
            plain.push(END);
        }
    }
    true
}

/// The FCS of RFC 1662: CRC-16 with the polynomial x^16 + x^12 + x^5 + 1, reflected.
fn checksum(bytes: &[u8]) -> u16 {
    let step = |sum: u16, _| if sum & 1 == 1 { sum >> 1 ^ 0x8408 } else { sum >> 1 };
    !bytes.iter().fold(u16::MAX, |sum, byte| (0..8).fold(sum ^ u16::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that is found in `bytes`.
    fn found(bytes: &[u8]) -> Vec<Result<Vec<u8>, Damaged>> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|byte| decoder.push(*byte).map(|found| found.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn the_checksum_is_that_of_hdlc() {
        assert_eq!(checksum(b"123456789"), 0x906e);
    }

    #[test]
    fn a_frame_has_zeros_at_its_ends_only() {
        for length in [0, 1, 251, 252, 253, 254, 255, 508, 509, LONGEST] {
            for byte in [0, 1, 255] {
                let datagram = vec![byte; length];
                let frame = encode(&datagram);
                let [0, inside @ .., 0] = &frame[..] else { panic!("{frame:?}") };
                assert!(!inside.contains(&0) && inside.len() <= stuffed(length), "{length} times {byte}");
                assert_eq!(found(&frame), [Ok(datagram)]);
            }
        }
    }

    #[test]
    fn a_line_takes_ten_bits_a_byte() {
        // 93 + 2 + 1 + 2 bytes.
        assert_eq!(duration(93, 9_800), Duration::from_millis(100));
        assert_eq!(encode(&[1; 93]).len(), 98);
    }

    #[test]
    fn what_is_too_long_takes_no_memory() {
        let mut decoder = Decoder::default();
        for _ in 0..100_000 {
            assert_eq!(decoder.push(7), None);
        }
        assert!(decoder.stuffed.capacity() < 4 * LONGEST_STUFFED);
        assert_eq!(decoder.push(0), Some(Err(Damaged)));
        assert_eq!(found(&encode(&[1; LONGEST + 1])), [Err(Damaged)]);
    }

    proptest! {
        #[test]
        fn datagrams_are_found_among_noise(
            datagrams in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..600), 1..4),
            noise in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut bytes = noise;
            datagrams.iter().for_each(|datagram| bytes.extend(encode(datagram)));
            let found: Vec<_> = found(&bytes).into_iter().flatten().collect();
            // Noise makes a frame by chance, once in 65536 times.
            prop_assert!(found.ends_with(&datagrams));
        }

        #[test]
        fn damage_costs_one_datagram(
            datagram in prop::collection::vec(any::<u8>(), 1..300),
            at in any::<prop::sample::Index>(),
            flip in 1..=255u8,
        ) {
            let (mut damaged, next) = (encode(&datagram), encode(b"next"));
            let inside = 1 + at.index(damaged.len() - 2);
            damaged[inside] ^= flip;
            let found: Vec<_> = found(&[damaged, next].concat()).into_iter().flatten().collect();
            prop_assert!(!found.contains(&datagram));
            prop_assert_eq!(found.last().map(Vec::as_slice), Some(&b"next"[..]));
        }
    }
}
