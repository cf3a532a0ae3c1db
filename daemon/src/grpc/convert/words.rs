//! Vocabularies: the domain's words as the contract numbers them, and back for filters.

use settled_proto::v1;

use crate::auth::Role;
use crate::domain::freshness::Freshness;
use crate::domain::resource::{Presence, ResourceStatus};
use crate::domain::server::{IdentityKind, Reach, ServerStatus};
use crate::domain::step::StepState;
use crate::domain::turn::Priority;
use crate::domain::verdict::{Evidence, Outcome, Reason};
use crate::domain::waiting::WaitReason;
use crate::store::rows::{Change, Kind};

pub(super) const fn status(word: ResourceStatus) -> v1::ResourceStatus {
    match word {
        ResourceStatus::Pending => v1::ResourceStatus::Pending,
        ResourceStatus::Installing => v1::ResourceStatus::Installing,
        ResourceStatus::Active => v1::ResourceStatus::Active,
        ResourceStatus::Success => v1::ResourceStatus::Success,
        ResourceStatus::Failed => v1::ResourceStatus::Failed,
        ResourceStatus::Updating => v1::ResourceStatus::Updating,
        ResourceStatus::Removing => v1::ResourceStatus::Removing,
        ResourceStatus::Paused => v1::ResourceStatus::Paused,
    }
}

pub(super) const fn presence(word: Presence) -> v1::Presence {
    match word {
        Presence::Present => v1::Presence::Present,
        Presence::Absent => v1::Presence::Absent,
        Presence::Paused => v1::Presence::Paused,
        Presence::Drifted => v1::Presence::Drifted,
        Presence::Unknown => v1::Presence::Unknown,
    }
}

pub(super) const fn server_status(word: ServerStatus) -> v1::ServerStatus {
    match word {
        ServerStatus::Pending => v1::ServerStatus::Pending,
        ServerStatus::Updating => v1::ServerStatus::Updating,
        ServerStatus::Success => v1::ServerStatus::Success,
        ServerStatus::Failed => v1::ServerStatus::Failed,
    }
}

pub(super) const fn reach(word: Reach) -> v1::Reach {
    match word {
        Reach::Ok => v1::Reach::Ok,
        Reach::Paused => v1::Reach::Paused,
        Reach::Unreachable => v1::Reach::Unreachable,
        Reach::Refused => v1::Reach::Refused,
    }
}

pub(in crate::grpc) const fn role(word: Role) -> v1::Role {
    match word {
        Role::Viewer => v1::Role::Viewer,
        Role::Operator => v1::Role::Operator,
        Role::Admin => v1::Role::Admin,
    }
}

/// The role that is meant; none when none is said.
pub(in crate::grpc) const fn role_of(word: v1::Role) -> Option<Role> {
    match word {
        v1::Role::Unspecified => None,
        v1::Role::Viewer => Some(Role::Viewer),
        v1::Role::Operator => Some(Role::Operator),
        v1::Role::Admin => Some(Role::Admin),
    }
}

pub(super) const fn identity(word: IdentityKind) -> v1::IdentityKind {
    match word {
        IdentityKind::Key => v1::IdentityKind::Key,
        IdentityKind::Agent => v1::IdentityKind::Agent,
        IdentityKind::Installation => v1::IdentityKind::Installation,
    }
}

pub(super) const fn priority(word: Priority) -> v1::Priority {
    match word {
        Priority::Low => v1::Priority::Low,
        Priority::Normal => v1::Priority::Normal,
        Priority::High => v1::Priority::High,
    }
}

pub(super) const fn step_state(word: StepState) -> v1::StepState {
    match word {
        StepState::Starting => v1::StepState::Starting,
        StepState::Running => v1::StepState::Running,
        StepState::Exited => v1::StepState::Exited,
        StepState::Killed => v1::StepState::Killed,
        StepState::Rejected => v1::StepState::Rejected,
        StepState::Lost => v1::StepState::Lost,
    }
}

pub(super) const fn outcome(word: Outcome) -> v1::Outcome {
    match word {
        Outcome::Succeeded => v1::Outcome::Succeeded,
        Outcome::Failed => v1::Outcome::Failed,
        Outcome::Cancelled => v1::Outcome::Cancelled,
        Outcome::Blocked => v1::Outcome::Blocked,
    }
}

pub(super) const fn reason(word: Reason) -> v1::Reason {
    match word {
        Reason::StepFailed => v1::Reason::StepFailed,
        Reason::AttemptsExhausted => v1::Reason::AttemptsExhausted,
        Reason::Timeout => v1::Reason::Timeout,
        Reason::NeverStarted => v1::Reason::NeverStarted,
        Reason::Lost => v1::Reason::Lost,
        Reason::Unreachable => v1::Reason::Unreachable,
        Reason::Cancelled => v1::Reason::Cancelled,
        Reason::Internal => v1::Reason::Internal,
        Reason::Refused => v1::Reason::Refused,
        Reason::Forbidden => v1::Reason::Forbidden,
        Reason::Unsupported => v1::Reason::Unsupported,
        Reason::WaitedTooLong => v1::Reason::WaitedTooLong,
        Reason::FinalCode => v1::Reason::FinalCode,
        Reason::Requirement => v1::Reason::Requirement,
        Reason::Differs => v1::Reason::Differs,
    }
}

pub(super) const fn freshness(word: Freshness) -> v1::Freshness {
    match word {
        Freshness::Fresh => v1::Freshness::Fresh,
        Freshness::LikelyStale => v1::Freshness::LikelyStale,
        Freshness::Reconciled => v1::Freshness::Reconciled,
        Freshness::Terminal => v1::Freshness::Terminal,
    }
}

pub(super) const fn evidence(word: Evidence) -> v1::Evidence {
    match word {
        Evidence::ExitRecord => v1::Evidence::ExitRecord,
        Evidence::Probe => v1::Evidence::Probe,
        Evidence::NotStarted => v1::Evidence::NotStarted,
        Evidence::None => v1::Evidence::None,
    }
}

pub(super) const fn wait_reason(word: WaitReason) -> v1::WaitReason {
    match word {
        WaitReason::Lane => v1::WaitReason::Lane,
        WaitReason::Unreachable => v1::WaitReason::Unreachable,
        WaitReason::Refused => v1::WaitReason::Refused,
        WaitReason::Paused => v1::WaitReason::Paused,
        WaitReason::Busy => v1::WaitReason::Busy,
        WaitReason::Backoff => v1::WaitReason::Backoff,
        WaitReason::Unresolved => v1::WaitReason::Unresolved,
        WaitReason::Limit => v1::WaitReason::Limit,
        WaitReason::Window => v1::WaitReason::Window,
        WaitReason::Drain => v1::WaitReason::Drain,
        WaitReason::Access => v1::WaitReason::Access,
    }
}

pub(super) const fn kind(word: Kind) -> v1::Kind {
    match word {
        Kind::Server => v1::Kind::Server,
        Kind::Resource => v1::Kind::Resource,
        Kind::Run => v1::Kind::Run,
        Kind::Step => v1::Kind::Step,
        Kind::Schedule => v1::Kind::Schedule,
        Kind::Enrollment => v1::Kind::Enrollment,
    }
}

pub(super) const fn change(word: Change) -> v1::Change {
    match word {
        Change::Created => v1::Change::Created,
        Change::Updated => v1::Change::Updated,
        Change::Gone => v1::Change::Gone,
    }
}

/// The status of a filter; `None` means any.
pub(in crate::grpc) fn status_word(word: v1::ResourceStatus) -> Option<String> {
    let word = match word {
        v1::ResourceStatus::Unspecified => return None,
        v1::ResourceStatus::Pending => ResourceStatus::Pending,
        v1::ResourceStatus::Installing => ResourceStatus::Installing,
        v1::ResourceStatus::Active => ResourceStatus::Active,
        v1::ResourceStatus::Success => ResourceStatus::Success,
        v1::ResourceStatus::Failed => ResourceStatus::Failed,
        v1::ResourceStatus::Updating => ResourceStatus::Updating,
        v1::ResourceStatus::Removing => ResourceStatus::Removing,
        v1::ResourceStatus::Paused => ResourceStatus::Paused,
    };
    Some(word.to_string())
}

/// The outcome of a filter; `None` means any.
pub(in crate::grpc) fn outcome_word(word: v1::Outcome) -> Option<String> {
    let word = match word {
        v1::Outcome::Unspecified => return None,
        v1::Outcome::Succeeded => Outcome::Succeeded,
        v1::Outcome::Failed => Outcome::Failed,
        v1::Outcome::Cancelled => Outcome::Cancelled,
        v1::Outcome::Blocked => Outcome::Blocked,
    };
    Some(word.to_string())
}

/// The run state of a filter; `None` means any.
pub(in crate::grpc) fn run_state_word(word: v1::RunState) -> Option<String> {
    let word = match word {
        v1::RunState::Unspecified => return None,
        v1::RunState::Queued => "queued",
        v1::RunState::Running => "running",
        v1::RunState::Completed => "completed",
    };
    Some(word.to_owned())
}

/// The freshness of a filter; `None` means any.
pub(in crate::grpc) const fn freshness_of(word: v1::Freshness) -> Option<Freshness> {
    match word {
        v1::Freshness::Unspecified => None,
        v1::Freshness::Fresh => Some(Freshness::Fresh),
        v1::Freshness::LikelyStale => Some(Freshness::LikelyStale),
        v1::Freshness::Reconciled => Some(Freshness::Reconciled),
        v1::Freshness::Terminal => Some(Freshness::Terminal),
    }
}

/// The kind of a filter; `None` means any.
pub(in crate::grpc) const fn kind_of(word: v1::Kind) -> Option<Kind> {
    match word {
        v1::Kind::Unspecified => None,
        v1::Kind::Server => Some(Kind::Server),
        v1::Kind::Resource => Some(Kind::Resource),
        v1::Kind::Run => Some(Kind::Run),
        v1::Kind::Step => Some(Kind::Step),
        v1::Kind::Schedule => Some(Kind::Schedule),
        v1::Kind::Enrollment => Some(Kind::Enrollment),
    }
}
