//! Waiting: why a run does not go on, for whom, since when, and when it looks again. Waiting uses no attempt (P4).

use super::time::Timestamp;

text_enum! {
    /// The closed vocabulary of reasons to wait.
    WaitReason {
        /// Another run has the lane or stands before this one. Computed when read, never stored.
        Lane = "lane",
        /// The server cannot be reached.
        Unreachable = "unreachable",
        /// The server refuses, until someone edits it.
        Refused = "refused",
        /// The server is paused.
        Paused = "paused",
        /// Another program holds a lock that the step needs.
        Busy = "busy",
        /// The pause between two attempts.
        Backoff = "backoff",
        /// An earlier step on the server is not proven to have ended.
        Unresolved = "unresolved",
        /// The limit of servers at work is reached.
        Limit = "limit",
        /// The daemon drains, and begins none. Computed when read, never stored.
        Drain = "drain",
    }
}

/// Why a run waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The reason.
    pub reason: WaitReason,
    /// For whom or what.
    pub who: String,
    /// Since when, for this reason.
    pub since: Timestamp,
    /// When it looks again; `None` when an event wakes it.
    pub next_try: Option<Timestamp>,
}
