//! Why a datagram counts for nothing.

use std::fmt;

/// What is wrong with a datagram, in the order in which it is looked for. Up to
/// [`Signature`](Self::Signature) anybody can cause it; what comes after is the doing of somebody who has a
/// key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too few bytes to be one of ours.
    Short,
    /// It does not begin as ours do.
    Foreign,
    /// Of a version that this build does not know: its number.
    Version(u8),
    /// Of another use than the one it came for: its number.
    Kind(u8),
    /// Signed with a key whose name is not in the key file.
    UnknownKey,
    /// Not signed with the key that it names: another secret, or damage on the way.
    Signature,
    /// Signed, and still not what it should be.
    Malformed,
}

impl Refusal {
    /// How many kinds there are.
    pub const KINDS: usize = 7;

    /// What [`Self::name`] may be.
    pub const NAMES: [&str; Self::KINDS] =
        ["short", "foreign", "version", "kind", "unknown_key", "signature", "malformed"];

    fn index(self) -> usize {
        match self {
            Self::Short => 0,
            Self::Foreign => 1,
            Self::Version(_) => 2,
            Self::Kind(_) => 3,
            Self::UnknownKey => 4,
            Self::Signature => 5,
            Self::Malformed => 6,
        }
    }

    /// One word, as counters are called.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => formatter.write_str("it is too short"),
            Self::Foreign => formatter.write_str("it is not of a cluster"),
            Self::Version(version) => {
                write!(formatter, "it is of version {version}, which this build does not know")
            }
            Self::Kind(kind) => write!(formatter, "it is of kind {kind}, which does not belong here"),
            Self::UnknownKey => formatter.write_str("the key file does not have its key"),
            Self::Signature => formatter.write_str("its signature is wrong"),
            Self::Malformed => formatter.write_str("it is signed, and malformed"),
        }
    }
}

impl std::error::Error for Refusal {}

/// How often each happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::KINDS]);

impl Refusals {
    pub fn count(&mut self, refusal: Refusal) {
        self.0[refusal.index()] += 1;
    }

    /// Every kind by its name, those that never happened too.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::NAMES.into_iter().zip(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_for_itself() {
        let all = [
            Refusal::Short,
            Refusal::Foreign,
            Refusal::Version(9),
            Refusal::Kind(9),
            Refusal::UnknownKey,
            Refusal::Signature,
            Refusal::Malformed,
        ];
        let mut refusals = Refusals::default();
        for (times, refusal) in all.into_iter().enumerate() {
            (0..=times).for_each(|_| refusals.count(refusal));
        }
        let expected: Vec<_> = all.iter().map(|refusal| refusal.name()).zip(1..).collect();
        assert_eq!(refusals.iter().collect::<Vec<_>>(), expected);
    }
}
