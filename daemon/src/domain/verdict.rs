//! Verdicts: how a run ended, why, and what that rests on (P7).

use super::failure::Failure;
use super::time::Timestamp;

text_enum! {
    /// How a run ended.
    Outcome {
        /// It did what was asked, proven.
        Succeeded = "succeeded",
        /// It did not, or nobody can prove that it did.
        Failed = "failed",
        /// Someone stopped it.
        Cancelled = "cancelled",
        /// It was not allowed to begin.
        Blocked = "blocked",
    }
}

text_enum! {
    /// Why a run did not succeed. Closed and documented in the contract.
    Reason {
        /// A step failed, and no further attempt makes sense or is allowed.
        StepFailed = "step_failed",
        /// Every attempt failed.
        AttemptsExhausted = "attempts_exhausted",
        /// A step ran longer than its timeout.
        Timeout = "timeout",
        /// It stayed queued beyond its limit.
        NeverStarted = "never_started",
        /// Nobody can prove how it ended.
        Lost = "lost",
        /// The server could not be reached until the run's limit.
        Unreachable = "unreachable",
        /// It had begun, and what it waited for did not come until its limit.
        WaitedTooLong = "waited_too_long",
        /// Someone cancelled it.
        Cancelled = "cancelled",
        /// A fault in settled itself.
        Internal = "internal",
        /// The server refuses settled.
        Refused = "refused",
        /// The principal lost the right before it began.
        Forbidden = "forbidden",
        /// The server does not have what the package needs.
        Unsupported = "unsupported",
        /// A package that it requires is not there, or something there requires what it would take away.
        Requirement = "requirement",
        /// What is on the server is not what was said of it.
        Differs = "differs",
    }
}

text_enum! {
    /// What a verdict rests on.
    Evidence {
        /// The exit record on the server.
        ExitRecord = "exit_record",
        /// A probe that the package declares as proof.
        Probe = "probe",
        /// No payload was ever started.
        NotStarted = "not_started",
        /// Nothing. Never with `succeeded`.
        None = "none",
    }
}

/// The end of a run. Never changes once it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// Why; `None` only when it succeeded.
    pub reason: Option<Reason>,
    /// What that rests on.
    pub evidence: Evidence,
    /// The reconciler settled it.
    pub reconciled: bool,
    /// What went wrong, for people.
    pub failure: Option<Failure>,
    /// When.
    pub at: Timestamp,
}
