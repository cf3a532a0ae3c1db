//! The words of the contract's enums: lower case, without the prefix. `None` stands for "not said".

use settled_proto::v1::{
    Activation, AuditResult, Cause, Change, DeliveryState, EnrollmentStatus, Evidence, ExecutionOutcome,
    Fate, Freshness, IdentityKind, Kind, MissedPolicy, NoticeEvent, Outcome, OutputStream, Overlap, Presence,
    Priority, Reach, Reason, ResourceStatus, Role, RunState, ServerStatus, StepState, Verb, WaitReason,
};

/// An enum of the contract, as its number arrives.
pub(crate) trait Word: TryFrom<i32> + Sized {
    /// What the names of its values begin with.
    const PREFIX: &'static str;
    /// The name in the .proto file.
    fn name(&self) -> &'static str;
}

macro_rules! words {
    ($($kind:ident $prefix:literal)*) => {$(
        impl Word for $kind {
            const PREFIX: &'static str = $prefix;
            fn name(&self) -> &'static str {
                self.as_str_name()
            }
        }
    )*};
}

words! {
    Activation "ACTIVATION_"
    AuditResult "AUDIT_RESULT_"
    Cause "CAUSE_"
    Change "CHANGE_"
    DeliveryState "DELIVERY_STATE_"
    EnrollmentStatus "ENROLLMENT_STATUS_"
    Evidence "EVIDENCE_"
    ExecutionOutcome "EXECUTION_OUTCOME_"
    Fate "FATE_"
    Freshness "FRESHNESS_"
    IdentityKind "IDENTITY_KIND_"
    Kind "KIND_"
    MissedPolicy "MISSED_POLICY_"
    NoticeEvent "NOTICE_EVENT_"
    Outcome "OUTCOME_"
    OutputStream "OUTPUT_STREAM_"
    Overlap "OVERLAP_"
    Presence "PRESENCE_"
    Priority "PRIORITY_"
    Reach "REACH_"
    Reason "REASON_"
    ResourceStatus "RESOURCE_STATUS_"
    Role "ROLE_"
    RunState "RUN_STATE_"
    ServerStatus "SERVER_STATUS_"
    StepState "STEP_STATE_"
    Verb "VERB_"
    WaitReason "WAIT_REASON_"
}

/// The word for a number; a value that a newer daemon knows keeps its number.
pub(crate) fn word<E: Word>(number: i32) -> Option<String> {
    if number == 0 {
        return None;
    }
    Some(match E::try_from(number) {
        Ok(value) => value.name().trim_start_matches(E::PREFIX).to_ascii_lowercase(),
        Err(_) => format!("unknown_{number}"),
    })
}

/// The word, or nothing.
pub(crate) fn word_or_empty<E: Word>(number: i32) -> String {
    word::<E>(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_are_words() {
        assert_eq!(word::<ResourceStatus>(ResourceStatus::Pending as i32).as_deref(), Some("pending"));
        assert_eq!(word::<Reason>(Reason::StepFailed as i32).as_deref(), Some("step_failed"));
        assert_eq!(word::<Evidence>(Evidence::ExitRecord as i32).as_deref(), Some("exit_record"));
        assert_eq!(word::<IdentityKind>(IdentityKind::Key as i32).as_deref(), Some("key"));
        assert_eq!(word::<RunState>(0), None);
        assert_eq!(word::<RunState>(99).as_deref(), Some("unknown_99"));
    }
}
