//! A run of a stage that is over: how it went.

use crate::domain::id::RunId;
use crate::domain::resource::Observed;
use crate::domain::run::{Run, Subject};
use crate::domain::verdict::{self, Verdict};
use crate::store::{StoreError, Unit};

/// A run that is over.
pub(super) enum Over {
    Run(Box<Run>),
    /// It is not kept any more.
    Forgotten(RunId),
}

impl Over {
    /// Whether the stage may do it again by itself; not when nobody knows any more how it went.
    pub(super) fn may_be_repeated(&self) -> bool {
        match self {
            Self::Forgotten(_) => false,
            Self::Run(run) => run.verdict().is_some_and(Verdict::may_be_repeated),
        }
    }

    /// Why it did not succeed, in words.
    pub(super) fn error(&self) -> String {
        match self {
            Self::Forgotten(id) => format!("run {id} is not kept any more, so nobody knows how it ended"),
            Self::Run(run) => match run.verdict() {
                Some(Verdict { failure: Some(failure), .. }) => {
                    format!("run {}: {}", run.id, failure.message)
                }
                Some(Verdict { outcome, reason, .. }) => {
                    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                    format!("run {} was {outcome}{reason}", run.id)
                }
                None => format!("run {} is still open", run.id),
            },
        }
    }
}

/// Whether it did what it was to do.
pub(super) fn succeeded(run: &Run) -> bool {
    run.verdict().is_some_and(|verdict| verdict.outcome == verdict::Outcome::Succeeded)
}

/// The run, if it is over.
pub(super) async fn over(unit: &mut Unit<'_>, id: RunId) -> Result<Option<Over>, StoreError> {
    Ok(match unit.run(id).await? {
        None => Some(Over::Forgotten(id)),
        Some(run) if run.verdict().is_some() => Some(Over::Run(Box::new(run))),
        Some(_) => None,
    })
}

/// What a probe saw, as far as its resource is still there.
pub(super) async fn observed_by(unit: &mut Unit<'_>, run: &Run) -> Result<Option<Observed>, StoreError> {
    let Subject::Resource { id, .. } = &run.subject else { return Ok(None) };
    Ok(unit.resource(*id).await?.and_then(|resource| resource.observed))
}
