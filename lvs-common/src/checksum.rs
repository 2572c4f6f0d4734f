//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624). The only file that knows the
//! arithmetic; every other one hands it old and new bytes.

/// Folds a one's complement sum into 16 bits.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    // At most 2^33 - 2, then 0x2fffe, 0x10000, 0xffff.
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

/// The third word of an IPv4 header without options, whose checksum is still 0 there: the same with the
/// checksum of the header. Words as they stand in memory: the sum of swapped bytes is the swapped sum
/// (RFC 1071 section 2 B).
#[inline(always)]
pub const fn complete_ipv4(header: &[u32; 5]) -> u32 {
    let [a, b, c, d, e] = *header;
    let sum = a as u64 + b as u64 + c as u64 + d as u64 + e as u64;
    // In memory the checksum stands behind the two bytes of the word that are set.
    let [x, y] = (!fold(sum)).to_ne_bytes();
    c | u32::from_ne_bytes([0, 0, x, y])
}

/// What a change of header bytes adds to a checksum: gathered once, applied to every checksum that
/// covers the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta {
    /// Of 16-bit words as they stand in memory (RFC 1071 section 2 B).
    sum: u64,
}

impl Delta {
    pub const NONE: Self = Self { sum: 0 };

    /// A 16-bit field changes from `old` to `new` (host order).
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self { sum: self.sum + (!old.to_be()) as u64 + new.to_be() as u64 }
    }

    /// A run of bytes changes; even length, beginning at an even offset of what the checksum covers.
    #[inline(always)]
    #[must_use]
    pub fn bytes<const N: usize>(self, old: &[u8; N], new: &[u8; N]) -> Self {
        // Four bytes at a time: 2^16 is 1 to a one's complement sum of 16-bit words.
        let (old, old_rest) = old.as_chunks::<4>();
        let (new, new_rest) = new.as_chunks::<4>();
        let mut sum = self.sum;
        for (old, new) in old.iter().zip(new) {
            sum += (!u32::from_ne_bytes(*old)) as u64 + u32::from_ne_bytes(*new) as u64;
        }
        if let ([a, b], [c, d]) = (old_rest, new_rest) {
            sum += (!u16::from_ne_bytes([*a, *b])) as u64 + u16::from_ne_bytes([*c, *d]) as u64;
        }
        Self { sum }
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
        u16::from_be(!fold((!checksum.to_be()) as u64 + self.sum))
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
        fn a_completed_header_sums_to_zero(mut words in any::<[u32; 5]>()) {
            words[0] |= 1;
            words[2] &= u32::from_ne_bytes([0xff, 0xff, 0, 0]);
            words[2] = complete_ipv4(&words);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            prop_assert_eq!(fold(add_bytes(0, &bytes)), 0xffff);
        }

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
