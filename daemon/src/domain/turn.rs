//! How a run waits for its turn in the lane: how long at most, and before whom.

use std::time::Duration;

text_enum! {
    /// Before whom a run has its turn. Within a priority, who came first goes first; what has begun is not interrupted.
    Priority {
        /// After everything else.
        Low = "low",
        /// As work usually is.
        Normal = "normal",
        /// Before everything else.
        High = "high",
    }
}

impl Priority {
    /// Its place in the order, as stored: what is higher goes first.
    pub fn rank(self) -> i64 {
        match self {
            Self::Low => 0,
            Self::Normal => 1,
            Self::High => 2,
        }
    }

    /// The priority of a stored rank.
    pub fn from_rank(rank: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|priority| priority.rank() == rank)
    }
}

/// How a run is to wait for its turn, and how often it may be attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// How long it may stay queued; `None`: as long as its operation says, or else the daemon's configuration.
    pub limit: Option<Duration>,
    /// Before whom it has its turn.
    pub priority: Priority,
    /// Attempts; `None`: as many as its operation says, or else the daemon's configuration.
    pub attempts: Option<u32>,
}

impl Default for Turn {
    fn default() -> Self {
        Self { limit: None, priority: Priority::Normal, attempts: None }
    }
}
