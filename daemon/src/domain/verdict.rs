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
        /// A step ended with an exit code of which its package says that trying again would not help.
        FinalCode = "final_code",
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

impl Verdict {
    /// Whether what did not succeed may be done again without a person. Not when nobody knows what it has done, when it was stopped in the
    /// midst of it, by its timeout or a person, or when its package says that trying again would not help.
    ///
    /// A timeout that its operation lets be tried again is no timeout in the verdict, but attempts that were used up.
    pub fn may_be_repeated(&self) -> bool {
        let stopped = self.outcome == Outcome::Cancelled;
        !stopped && !matches!(self.reason, Some(Reason::Lost | Reason::Timeout | Reason::FinalCode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Blocked, Cancelled, Failed};

    #[test]
    fn p7_what_may_have_been_done_or_is_hopeless_is_not_repeated_without_a_person() {
        let table = [
            (Failed, Reason::StepFailed, true),
            (Failed, Reason::FinalCode, false),
            (Failed, Reason::AttemptsExhausted, true),
            (Failed, Reason::Timeout, false),
            (Failed, Reason::NeverStarted, true),
            (Failed, Reason::Lost, false),
            (Failed, Reason::Unreachable, true),
            (Failed, Reason::WaitedTooLong, true),
            (Failed, Reason::Internal, true),
            (Failed, Reason::Differs, true),
            (Cancelled, Reason::Cancelled, false),
            (Blocked, Reason::Refused, true),
            (Blocked, Reason::Forbidden, true),
            (Blocked, Reason::Unsupported, true),
            (Blocked, Reason::Requirement, true),
        ];
        assert_eq!(table.len(), Reason::ALL.len());
        for (outcome, reason, may) in table {
            let (at, reconciled, failure) = (Timestamp(0), false, None);
            let verdict =
                Verdict { outcome, reason: Some(reason), evidence: Evidence::None, reconciled, failure, at };
            assert_eq!(verdict.may_be_repeated(), may, "{reason}");
        }
    }
}
