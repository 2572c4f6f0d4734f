//! What `lvsd realserver` and its decapsulating program share.

/// Directors whose packets are unpacked, at the most.
pub const DIRECTORS: u32 = 256;
/// VIPs of one real server, at the most.
pub const VIPS: u32 = 1_024;

shared_pod! {
    /// Value of `DIRECTORS` and of the real server's `VIPS`, whose keys are addresses: being there is
    /// all they say.
    pub struct Listed [4] {
        pub reserved: u32,
    }
}

/// Index into `DECAPSULATION`: packets that carry another IP packet, by what became of them. Values are
/// part of the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// The outer header was taken off.
    Unpacked = 0,
    /// Passed on as it was: the outer source is no director.
    NotFromDirector = 1,
    /// Passed on as it was: the inner destination is no VIP of this server.
    NotForVip = 2,
    /// Passed on as it was: options, a fragment, or headers that contradict each other.
    Unfit = 3,
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Unpacked, Self::NotFromDirector, Self::NotForVip, Self::Unfit];
}
