//! What people are told.

use super::key::ServerKey;
use super::member::Mode;

/// Something happened: one line in `lvsctl events`, in the log and in alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The service's name.
    pub service: String,
    /// The real server it is about, if not the service as a whole.
    pub server: Option<ServerKey>,
    pub what: What,
    /// `http 503 after 12 ms, 3 of 3`
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A real server has failed.
    Down,
    /// A real server passes its checks again, and returns later.
    Recovering,
    /// A real server has returned.
    Up,
    /// An operator has set its mode.
    Maintained(Mode),
    /// A service has not enough real servers.
    Short,
    /// A service has enough real servers again.
    Enough,
    /// Too many have failed at once: the checks are doubted.
    Doubted,
    /// The checks are believed again.
    Trusted,
    /// A real server's certificate ends soon.
    Expiring,
    /// It has been replaced.
    Renewed,
    /// Something between the directors: who is heard, who holds what.
    Cluster,
}

impl What {
    /// Everything that may happen.
    pub const ALL: [Self; 13] = [
        Self::Down,
        Self::Recovering,
        Self::Up,
        Self::Maintained(Mode::Enabled),
        Self::Maintained(Mode::Drained),
        Self::Maintained(Mode::Disabled),
        Self::Short,
        Self::Enough,
        Self::Doubted,
        Self::Trusted,
        Self::Expiring,
        Self::Renewed,
        Self::Cluster,
    ];

    /// The word for it in `lvsctl events`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Recovering => "recovering",
            Self::Up => "up",
            Self::Maintained(mode) => mode.word(),
            Self::Short => "quorum lost",
            Self::Enough => "quorum regained",
            Self::Doubted => "checks doubted",
            Self::Trusted => "checks trusted",
            Self::Expiring => "certificate expiring",
            Self::Renewed => "certificate renewed",
            Self::Cluster => "cluster",
        }
    }

    /// Bad news.
    pub const fn is_alarming(self) -> bool {
        matches!(self, Self::Down | Self::Short | Self::Doubted | Self::Expiring)
    }
}
