//! What people are told.

use super::key::ServerKey;
use super::verdict::Verdict;

/// Something happened: one line in `lvsctl events`, in the log and in alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The service's name.
    pub service: String,
    /// The real server it is about, if not the service as a whole.
    pub server: Option<ServerKey>,
    pub what: What,
    /// `http: http 503 after 12 ms, 3 of 3`
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A real server has failed.
    Down,
    /// A real server has recovered.
    Up,
}

impl What {
    /// The word for it in `lvsctl events`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }

    /// Bad news.
    pub const fn is_alarming(self) -> bool {
        matches!(self, Self::Down)
    }
}

/// What there is to tell about another verdict. That a server passes its first check is no news.
pub(super) fn of(former: Option<Verdict>, verdict: Verdict) -> Option<What> {
    match (former, verdict) {
        (_, Verdict::Down) => Some(What::Down),
        (Some(Verdict::Down), _) => Some(What::Up),
        _ => None,
    }
}
