//! What directors and voters say to each other.

use super::identity::{GroupId, NodeId};

/// Directors of one cluster, at the most.
pub const NODES: usize = 8;
/// Groups of one cluster, at the most.
pub const GROUPS: usize = 16;
/// Echoes in one message, at the most: each director and the voter may be in a second life that has not proved
/// itself yet.
pub const ECHOES: usize = 2 * (NODES + 1);

/// One message. Newer ones replace older ones: each says all there is to say, so none needs to arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    pub sender: NodeId,
    /// Which life of the sender: chosen anew at each start. With `sequence` no two messages are the same.
    pub life: u64,
    /// Raised with each message of a life.
    pub sequence: u64,
    /// An answer, which is not answered.
    pub is_answer: bool,
    /// The sender's own, in milliseconds, to find files that disagree.
    pub keepalive: u32,
    pub deadtime: u32,
    /// The newest message the sender has from each of the others. At most [`ECHOES`]. Of two lives of a node the first is
    /// the one that the sender believes, and that its promises are made to.
    pub echoes: Vec<Echo>,
    /// At most [`GROUPS`], each once.
    pub groups: Vec<GroupBeat>,
}

/// The newest message that was received from a node: proof that it lives and is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    pub node: NodeId,
    pub life: u64,
    pub sequence: u64,
}

/// What a node says about one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBeat {
    pub group: GroupId,
    /// The highest term of office the sender knows of.
    pub epoch: u64,
    /// The sender claims the group for `epoch`: it holds it, or asks for it.
    pub claims: bool,
    /// How long the claim is to be honoured without further beats, in milliseconds; 0 = the dead time. For a
    /// planned restart.
    pub hold: u32,
    /// Who has the sender's vote.
    pub promise: Option<Promise>,
    /// Its state is complete, so it could serve.
    pub is_ready: bool,
    /// It asks the holder to hand the group over.
    pub wants: bool,
    pub fitness: Fitness,
    /// Of the services that the group's addresses have, and of who serves: equal where files and state agree. 0 = not
    /// known.
    pub digest: u64,
}

/// A vote: no other claim is supported until the dead time has passed since the holder's last beat, or its hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    pub to: NodeId,
    pub epoch: u64,
}

/// How well a node could serve; the order of the fields is the order of their weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fitness {
    /// Service links are up, and a gateway answers if any is watched.
    pub is_fit: bool,
    /// 1000 for each gateway, script and file that is well, and what the checks say of the group's services: real
    /// servers that are up, or services with their quorum where one lacks it. Comparable within one configuration.
    pub score: u16,
}
