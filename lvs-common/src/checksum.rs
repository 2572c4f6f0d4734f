//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624). The only file that knows the
//! arithmetic; every other one hands it old and new bytes.

/// Folds a one's complement sum into 16 bits.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Adds bytes to a running sum. The length must be even, unless this is the last call; words are taken in
/// network order, so the result is independent of the machine.
#[inline(always)]
pub fn add_bytes(mut sum: u64, bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    for pair in pairs {
        sum += u16::from_be_bytes(*pair) as u64;
    }
    if let [last] = rest {
        sum += (*last as u64) << 8;
    }
    sum
}

/// A checksum field (in host order) for data that sums up to `sum`.
#[inline(always)]
pub const fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// What a change of header bytes adds to a checksum: gathered once, applied to every checksum that
/// covers the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta {
    sum: u64,
}

impl Delta {
    pub const NONE: Self = Self { sum: 0 };

    /// A 16-bit field changes from `old` to `new` (host order).
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self { sum: self.sum + (!old) as u64 + new as u64 }
    }

    /// A run of bytes changes; even length, beginning at an even offset of what the checksum covers.
    #[inline(always)]
    #[must_use]
    pub fn bytes<const N: usize>(self, old: &[u8; N], new: &[u8; N]) -> Self {
        let mut sum = self.sum;
        for pair in old.as_chunks::<2>().0 {
            sum += (!u16::from_be_bytes(*pair)) as u64;
        }
        Self { sum: add_bytes(sum, new) }
    }

    /// Both changes, to one checksum that covers both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum }
    }

    /// The checksum after the change: HC' = ~(~HC + ~m + m') (RFC 1624 equation 3).
    #[inline(always)]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold((!checksum) as u64 + self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn full(bytes: &[u8]) -> u16 {
        finish(add_bytes(0, bytes))
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let sum = add_bytes(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(fold(sum), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        // Section 4: checksum 0xdd2f, a field goes from 0x5555 to 0x3285, the right answer is 0x0000.
        assert_eq!(Delta::NONE.word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    proptest! {
        #[test]
        fn an_update_equals_a_fresh_sum(
            mut data in proptest::collection::vec(any::<u16>(), 20..100),
            replacement in any::<[u8; 16]>(),
            word in any::<u16>(),
        ) {
            // A packet is never all zero, the one case in which zero has two representations.
            data[0] = 0x4500;
            let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
            let old = bytes(&data);
            let last = data.len() - 1;
            let delta = Delta::NONE.bytes(old[4..20].try_into().unwrap(), &replacement).word(data[last], word);
            data[last] = word;
            let mut new = bytes(&data);
            new[4..20].copy_from_slice(&replacement);
            prop_assert_eq!(delta.apply(full(&old)), full(&new));
        }

        #[test]
        fn a_correct_packet_sums_to_zero(data in proptest::collection::vec(any::<u8>(), 2..1500)) {
            let checksum = full(&data);
            let mut sum = add_bytes(0, &data);
            sum += u64::from(checksum);
            prop_assert_eq!(fold(sum), 0xffff);
        }
    }
}
