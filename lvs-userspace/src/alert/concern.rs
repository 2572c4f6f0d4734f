//! What happens between directors, as far as people are told of it.

use serde::{Deserialize, Serialize};

/// Something that begins, ends, or just happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    pub topic: Topic,
    /// Whom or what it is about: the name of a node or of a group, or an address.
    pub about: String,
    /// Names of the groups it touches.
    pub groups: Vec<String>,
    pub course: Course,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    Begins,
    Ends,
    /// It has no end.
    Happens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// A node is not heard.
    Peer,
    /// A group has come from another director.
    Takeover,
    /// This director has lost a group, or cannot take it, and knows of nobody who has it.
    Group,
    /// Somebody else claims an address.
    Conflict,
    /// Directors would serve a group differently.
    Drift,
    /// Not all connections, or not the desired state, have come here.
    State,
    /// The program that fences has failed, and the group was taken all the same.
    Fence,
}

impl Topic {
    /// The words for its beginning, or for what has happened, and for its end.
    pub const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Peer => ["silent", "heard"],
            Self::Takeover => ["taken over", "taken over"],
            Self::Group => ["not held", "held"],
            Self::Conflict => ["address conflict", "address conflict over"],
            Self::Drift => ["configurations differ", "configurations agree"],
            Self::State => ["state incomplete", "state complete"],
            Self::Fence => ["fencing failed", "fencing failed"],
        }
    }

    /// Whether a director tells of it even while another one tells people: nobody else knows.
    pub const fn is_own(self) -> bool {
        matches!(self, Self::State)
    }
}
