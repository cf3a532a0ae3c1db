//! What a try leaves on its server beside its end: what was seen there, and what it wrote to `SETTLED_OUTPUT`.

use super::failures;
use super::stepping::Work;
use crate::domain::grounds::Seen;
use crate::domain::params::Outputs;
use crate::domain::run::StepFacts;
use crate::domain::step::{Cause, Ended};
use crate::engine::Prepared;
use crate::remote::{RESULT_BYTES_MAX, Report};
use crate::secrets::Mask;

/// What there is of a try beside its end.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// What was seen on the server.
    pub(super) seen: Seen,
    /// Its output was longer than the limit.
    pub(super) truncated: bool,
    /// What it wrote to `SETTLED_OUTPUT`.
    result: Vec<u8>,
}

impl From<Report> for Remains {
    fn from(report: Report) -> Self {
        let seen = failures::seen(&report.processes, report.scene.as_ref());
        Self { seen, truncated: report.truncated, result: report.result }
    }
}

impl Remains {
    /// The facts of a try's end, with what it wrote. What does not fit its package makes of a good end a failed one.
    pub(super) fn complete(self, facts: StepFacts, work: &Work, ended: &Ended) -> StepFacts {
        complete(facts, &work.prepared, ended, self.seen, &self.result)
    }
}

/// See [`Remains::complete`].
pub(super) fn complete(
    mut facts: StepFacts,
    prepared: &Prepared,
    ended: &Ended,
    seen: Seen,
    result: &[u8],
) -> StepFacts {
    facts.seen = seen;
    if !matches!(ended, Ended::Exited { code: 0, cause: Cause::Itself }) {
        return facts;
    }
    match outputs(prepared, result) {
        Ok(outputs) => facts.outputs = Some(outputs),
        Err(what) => {
            facts.outputs = None;
            let step = &facts.failure.step;
            facts.failure.message =
                format!("`{step}` ended with exit code 0, but it wrote to SETTLED_OUTPUT {what}");
        }
    }
    facts
}

fn outputs(prepared: &Prepared, result: &[u8]) -> Result<Outputs, String> {
    if result.len() > RESULT_BYTES_MAX {
        return Err(format!("more than {RESULT_BYTES_MAX} bytes"));
    }
    // A secret that was written there is blanked before anything is said of it.
    let masked = Mask::new(prepared.masked.iter().cloned()).pass(result, true);
    prepared.plan.read_outputs(&masked)
}
