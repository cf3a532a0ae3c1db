//! What a run's change means for the record that it works on.

use super::failure::Failure;
use super::operation::Operation;
use super::params::Outputs;
use super::resource::{Applied, Fate, Resource, ResourceStatus};
use super::run::{Run, RunState, Subject};
use super::server::{Server, ServerStatus};
use super::verdict::{Outcome, Verdict};

/// A resource after a change of its run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// As it was.
    Same(Resource),
    /// Changed.
    Changed(Resource),
    /// Its record goes away.
    Gone(Resource),
}

/// What the run's present state means for its resource. A look changes nothing.
pub fn for_resource(run: &Run, resource: Resource) -> After {
    let (true, Some(fate), Subject::Resource { digest, earlier, .. }) =
        (run.keeps_record(), run.fate(), &run.subject)
    else {
        return After::Same(resource);
    };
    let before = resource.clone();
    let mut after = resource;
    let status = match fate {
        Fate::Gone => return After::Gone(after),
        Fate::Status(status) => status,
    };
    after.status = status;
    after.ours |= run.payload;
    if run.verdict().is_some() {
        // An update of which nothing has run has asked for nothing: what follows works with what was asked for before.
        after = if run.succeeded() || run.payload {
            Resource { former: None, ..after }
        } else {
            after.before_update()
        };
    }
    match run.verdict() {
        None => {}
        Some(verdict) if verdict.outcome == Outcome::Succeeded => {
            after.open_run = None;
            after.last_error = None;
            // What was seen before is not what is there now, unless seeing it was all.
            after.observed = after.observed.filter(|_| run.operation == Operation::Adopt);
            after.outputs = outputs_after(run, after.outputs);
            if let Operation::Install | Operation::Update | Operation::Adopt = run.operation {
                after.ours = true;
                let (params, digest, by) = (after.desired.clone(), digest.clone(), run.operation.clone());
                after.applied = Some(Applied { params, digest, known: true, by });
            } else if let (Operation::Own(_), Some(applied)) = (&run.operation, &mut after.applied) {
                applied.by = run.operation.clone();
            }
        }
        Some(verdict) => {
            after.open_run = None;
            // A cancel that gives back `failed` before anything began does not hide why it had failed.
            let untouched = verdict.outcome == Outcome::Cancelled && !run.payload && *earlier == status;
            let keeps = untouched && status == ResourceStatus::Failed && after.last_error.is_some();
            if !keeps {
                after.last_error = Some(error_of(run, verdict));
            }
            if run.payload
                && let Some(applied) = &mut after.applied
            {
                applied.known = false;
            }
        }
    }
    if after == before { After::Same(after) } else { After::Changed(after) }
}

/// An install and an update write everything anew; other operations change what they write.
fn outputs_after(run: &Run, before: Outputs) -> Outputs {
    let mut outputs = match run.operation {
        Operation::Install | Operation::Update => Outputs::new(),
        _ => before,
    };
    outputs.extend(run.outputs.clone());
    outputs.retain(|_, value| !value.is_empty());
    outputs
}

/// What the run's present state means for its server; `None` when it works on a resource, or nothing changes.
pub fn for_server(run: &Run, server: &Server) -> Option<Server> {
    if run.subject != Subject::Server {
        return None;
    }
    let mut after = server.clone();
    match (&run.state, run.verdict()) {
        (RunState::Queued { .. }, _) => return None,
        (_, None) => after.status = ServerStatus::Updating,
        (_, Some(verdict)) if verdict.outcome == Outcome::Succeeded => {
            after.status = ServerStatus::Success;
            after.last_error = None;
        }
        (_, Some(verdict)) => {
            after.status = ServerStatus::Failed;
            after.last_error = Some(error_of(run, verdict));
        }
    }
    (after != *server).then_some(after)
}

fn error_of(run: &Run, verdict: &Verdict) -> Failure {
    verdict.failure.clone().unwrap_or_else(|| Failure {
        step: String::new(),
        exit_code: None,
        message: format!("{} was cancelled on request", run.operation),
        last_lines: String::new(),
        run: run.id,
        at: verdict.at,
    })
}
