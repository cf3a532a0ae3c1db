//! A run of a stage that is over: how it went, and whether the stage may do it again by itself.

use super::super::{Engine, Refusal};
use crate::domain::failure::Failure;
use crate::domain::id::RunId;
use crate::domain::resource::Observed;
use crate::domain::run::{Run, Subject};
use crate::domain::verdict::{self, Reason, Verdict};
use crate::store::{StoreError, Unit};

/// A run that is over.
pub(super) enum Over {
    Run(Box<Run>),
    /// It is not kept any more.
    Forgotten(RunId),
}

impl Over {
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

impl Engine {
    /// Whether what failed may be done again by itself. Not when nobody knows what it has done, when it was stopped in the midst of it, by
    /// its timeout or a person, or when its package says that trying again is pointless: then a person decides.
    ///
    /// A timeout that its operation lets be tried again is no timeout in the verdict, but attempts that were used up.
    pub(super) async fn may_be_repeated(&self, unit: &mut Unit<'_>, over: &Over) -> Result<bool, Refusal> {
        let Over::Run(run) = over else { return Ok(false) };
        let verdict = run.verdict().map(|verdict| (verdict.outcome, verdict.reason));
        match verdict {
            Some((verdict::Outcome::Cancelled, _) | (_, Some(Reason::Lost | Reason::Timeout))) => Ok(false),
            _ => Ok(!self.is_final(unit, run).await?),
        }
    }

    /// Whether the definition says of the exit code that trying again is pointless.
    async fn is_final(&self, unit: &mut Unit<'_>, run: &Run) -> Result<bool, Refusal> {
        let Subject::Resource { package, digest, .. } = &run.subject else { return Ok(false) };
        let failure = run.verdict().and_then(|verdict| verdict.failure.as_ref());
        let Some(Failure { step, exit_code: Some(code), .. }) = failure else { return Ok(false) };
        let definition = match self.definition(unit.db().await?, package, digest).await {
            Ok(definition) => definition,
            Err(Refusal::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        let operation = definition.operations.get(run.operation.as_str());
        let mut steps = operation.into_iter().flat_map(|operation| &operation.steps);
        Ok(steps.any(|known| known.title == *step && known.final_codes.contains(code)))
    }
}
