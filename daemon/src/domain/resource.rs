//! Resources: one package on one server, and the table of which status follows which operation (DESIGN, rules of state).

use std::collections::BTreeMap;
use std::fmt;

use super::failure::Failure;
use super::id::{ResourceId, RunId, ServerId};
use super::operation::Operation;
use super::params::{Outputs, Params};
use super::time::Timestamp;
use super::verdict::Outcome;

/// Stands for a server as a whole among the key parameters of its resources: a package that a server has one of takes it.
pub const WHOLE_SERVER: &str = "*";

text_enum! {
    /// Where a resource stands. These eight, no others.
    ResourceStatus {
        /// Accepted; the install has not begun.
        Pending = "pending",
        /// The install has the lane.
        Installing = "installing",
        /// It is there.
        Active = "active",
        /// One-time work is done.
        Success = "success",
        /// The last install, retry or update failed.
        Failed = "failed",
        /// A change has the lane.
        Updating = "updating",
        /// It is being taken off.
        Removing = "removing",
        /// It is there, and paused.
        Paused = "paused",
    }
}

text_enum! {
    /// Whether a thing is on its server, as a probe saw it.
    Presence {
        /// It is there.
        Present = "present",
        /// It is not there.
        Absent = "absent",
        /// It is there, and paused.
        Paused = "paused",
        /// It is there, and differs from what was applied.
        Drifted = "drifted",
        /// Nobody knows.
        Unknown = "unknown",
    }
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Whether it is there.
    pub presence: Presence,
    /// What the probe told of it.
    pub facts: BTreeMap<String, String>,
    /// Where it is not as it was applied; empty: it agrees, or nobody can say.
    pub differs: Vec<Difference>,
    /// When.
    pub at: Timestamp,
}

/// Something on a server that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name of the fact, or `state`.
    pub fact: String,
    /// What it should be; empty: nothing.
    pub expected: String,
    /// What it is; empty: nothing was told.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("`{text}`") };
        write!(f, "{} is {}, not {}", self.fact, shown(&self.found), shown(&self.expected))
    }
}

/// What was applied last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The parameters.
    pub params: Params,
    /// Digest of the definition that applied them.
    pub digest: String,
    /// False while a change is unsettled: nobody knows whether they still hold.
    pub known: bool,
    /// The operation that succeeded last, and so says what is to be seen. A pause and its end leave it.
    pub by: Operation,
}

impl Observed {
    /// What a probe saw, beside what was applied. Something that is there and differs has drifted.
    pub fn beside(
        presence: Presence,
        facts: BTreeMap<String, String>,
        differs: Vec<Difference>,
        at: Timestamp,
    ) -> Self {
        let there = matches!(presence, Presence::Present | Presence::Paused);
        let presence = if there && !differs.is_empty() { Presence::Drifted } else { presence };
        Self { presence, facts, differs, at }
    }
}

/// What was asked for before the update that is open. It is in force again when that ends before anything of it has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// The parameters.
    pub desired: Params,
    /// Names of the secret parameters that had a value.
    pub secrets: Vec<String>,
}

/// The record that users own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Never changes.
    pub id: ResourceId,
    /// Unique by (server, package, name).
    pub name: String,
    /// Its server.
    pub server: ServerId,
    /// Name of its server.
    pub server_name: String,
    /// Name of its package.
    pub package: String,
    /// Where it stands.
    pub status: ResourceStatus,
    /// What was asked for last.
    pub desired: Params,
    /// What was asked for before that, while an update is open.
    pub former: Option<Former>,
    /// What was applied last; `None` before the first success.
    pub applied: Option<Applied>,
    /// Names of the secret parameters that have a value.
    pub secrets: Vec<String>,
    /// What its operations have written when they succeeded.
    pub outputs: Outputs,
    /// Something of it on the server may be settled's. False only as long as an adoption is not proven: then a removal forgets the record,
    /// and touches nothing.
    pub ours: bool,
    /// The last error, until the next success.
    pub last_error: Option<Failure>,
    /// What the last probe saw.
    pub observed: Option<Observed>,
    /// The open exclusive run.
    pub open_run: Option<RunId>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Rises with every change; the store's guard.
    pub version: i64,
    /// Sequence number of its last transition.
    pub seq: i64,
}

impl Resource {
    /// As it was before the update that is open: what that has asked for is forgotten.
    #[must_use]
    pub fn before_update(mut self) -> Self {
        if let Some(former) = self.former.take() {
            (self.desired, self.secrets) = (former.desired, former.secrets);
        }
        self
    }

    /// What was applied last, when the server is to show it: no change is open, and none has left a doubt.
    pub fn at_rest(&self) -> Option<&Applied> {
        use ResourceStatus as S;
        let rests = self.open_run.is_none() && matches!(self.status, S::Active | S::Success | S::Paused);
        self.applied.as_ref().filter(|applied| rests && applied.known)
    }

    /// It was adopted, and nothing has changed it since.
    pub fn is_adopted(&self) -> bool {
        self.applied.as_ref().is_some_and(|applied| applied.by == Operation::Adopt)
    }
}

/// The statuses that an operation declares: `installing`/`active` by default, `updating`/`success` for one-time work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declared {
    /// While it has the lane.
    pub in_progress: ResourceStatus,
    /// After its success.
    pub success: ResourceStatus,
}

/// What becomes of a resource when its run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has this status.
    Status(ResourceStatus),
    /// The record goes away.
    Gone,
}

/// Why an operation cannot be accepted in the resource's status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{operation}` is not possible while the resource is `{status}`; {hint}")]
pub struct NotNow {
    /// What was asked for.
    pub operation: Operation,
    /// Where the resource stands.
    pub status: ResourceStatus,
    /// What to do instead.
    pub hint: &'static str,
}

/// The status at acceptance of an operation on a resource in `status`. `retry` tells an install of a failed record from a first one.
///
/// A resource with an open exclusive run never gets here (the store refuses a second one), except for a removal, which cancels a queued run first.
pub fn at_accept(operation: &Operation, status: ResourceStatus) -> Result<ResourceStatus, NotNow> {
    use ResourceStatus as S;
    let not_now = |hint| Err(NotNow { operation: operation.clone(), status, hint });
    match (operation, status) {
        (Operation::Probe | Operation::Register, same) => Ok(same),
        (_, S::Installing | S::Updating | S::Removing) => not_now("wait for its open run, or cancel that"),
        (Operation::Remove, _) => Ok(S::Removing),
        (Operation::Install | Operation::Adopt, S::Pending | S::Failed) => Ok(S::Pending),
        (Operation::Install | Operation::Adopt, _) => not_now("it is installed: use update"),
        (_, S::Pending) => not_now("wait for its install, or cancel that"),
        (Operation::Resume, S::Paused) => Ok(S::Paused),
        (Operation::Resume, _) => not_now("it is not paused"),
        (Operation::Pause, S::Paused) => not_now("it is paused already"),
        (Operation::Pause, S::Failed) => not_now("retry or update it first"),
        (Operation::Update | Operation::Pause | Operation::Own(_), same) => Ok(same),
    }
}

/// The status while the run has the lane.
pub fn in_lane(operation: &Operation, earlier: ResourceStatus, declared: Declared) -> ResourceStatus {
    match operation {
        Operation::Probe | Operation::Register => earlier,
        Operation::Install => declared.in_progress,
        Operation::Adopt => ResourceStatus::Pending,
        Operation::Remove => ResourceStatus::Removing,
        Operation::Update | Operation::Pause | Operation::Resume | Operation::Own(_) => {
            ResourceStatus::Updating
        }
    }
}

/// What becomes of the resource when the run ends. `started` = a step's payload may have run; `earlier` = the status before acceptance.
pub fn at_end(
    operation: &Operation,
    outcome: Outcome,
    started: bool,
    earlier: ResourceStatus,
    declared: Declared,
) -> Fate {
    use Operation as O;
    if outcome == Outcome::Succeeded {
        return match operation {
            O::Remove => Fate::Gone,
            O::Pause => Fate::Status(ResourceStatus::Paused),
            O::Resume => Fate::Status(ResourceStatus::Active),
            // What is paused stays so: an own operation does not wake it.
            O::Own(_) if earlier == ResourceStatus::Paused => Fate::Status(earlier),
            O::Install | O::Update | O::Adopt | O::Own(_) => Fate::Status(declared.success),
            O::Probe | O::Register => Fate::Status(earlier),
        };
    }
    match operation {
        O::Install | O::Adopt => Fate::Status(ResourceStatus::Failed),
        O::Update if started => Fate::Status(ResourceStatus::Failed),
        O::Update | O::Own(_) | O::Pause | O::Resume | O::Remove | O::Probe | O::Register => {
            Fate::Status(earlier)
        }
    }
}

#[cfg(test)]
mod tests;
