//! Waiting: why a run does not go on, for whom, since when, and when it looks again. Waiting uses no attempt (P4).

use std::time::Duration;

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
        /// The server's maintenance windows are closed.
        Window = "window",
        /// The daemon drains, and begins none. Computed when read, never stored.
        Drain = "drain",
        /// It cannot be told at the moment whether who asked may still do it.
        Access = "access",
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

/// Longest pause between two looks at what a run waits for.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// How long to pause before the next look at something that has been waited for this long: the usual pause at first, later a tenth of the
/// wait. Each look moves `next_try`, which is a transition: a server that is away for a day makes some hundreds of them, not thousands.
pub fn pause(usual: Duration, waited: Duration) -> Duration {
    usual.max((waited / 10).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_waiting_is_some_hundreds_of_looks() {
        let (usual, day) = (Duration::from_secs(15), Duration::from_secs(86_400));
        assert_eq!(pause(usual, Duration::ZERO), usual);
        assert_eq!(pause(usual, Duration::from_secs(600)), Duration::from_secs(60));
        assert_eq!(pause(usual, day), PAUSE_MAX);
        assert_eq!(pause(Duration::from_secs(900), day), Duration::from_secs(900), "never sooner than usual");
        let mut waited = Duration::ZERO;
        let looks = std::iter::from_fn(|| {
            waited += pause(usual, waited);
            (waited < day).then_some(())
        });
        assert!((250..400).contains(&looks.count()));
    }
}
