//! Judges the end: what the journal says, what the servers witnessed, and what settled tells must agree.

use std::collections::BTreeSet;

use settled_proto::v1::runs_client::RunsClient;
use settled_proto::v1::{Evidence, GetRunRequest, ListRunsRequest, Outcome, Run, RunState, StepState};
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;

use crate::clients::{Journal, Outputs, completed};
use crate::witness::Seen;
use crate::world::World;

/// What was found. Everything but the first four is to be empty.
#[derive(Debug, Default)]
pub(crate) struct Finding {
    pub(crate) acknowledged: usize,
    pub(crate) runs: usize,
    pub(crate) steps: usize,
    pub(crate) outputs_compared: usize,
    /// Acknowledged runs that are not there.
    lost: Vec<String>,
    /// Steps that another ran beside.
    overlaps: Vec<String>,
    /// Runs that have not completed.
    open: Vec<String>,
    /// Steps that began more than once.
    twice: Vec<String>,
    /// Steps whose stored output is not what they wrote.
    differing: Vec<String>,
    /// Steps and runs of which settled says one thing and the server another.
    untrue: Vec<String>,
}

impl Finding {
    pub(crate) fn is_good(&self) -> bool {
        [&self.lost, &self.overlaps, &self.open, &self.twice, &self.differing, &self.untrue]
            .iter()
            .all(|found| found.is_empty())
    }
}

/// Looks at everything, when nothing moves any more.
pub(crate) async fn judge(world: &World, channel: &Channel, journal: &Journal) -> Finding {
    let mut seen = Seen::default();
    world.witnesses().iter().for_each(|dir| seen.read(dir));
    let mut finding = Finding { overlaps: seen.overlaps.clone(), ..Finding::default() };
    finding.twice = seen.begun.iter().filter(|(_, times)| **times > 1).map(|(id, _)| id.clone()).collect();

    let all = all_runs(channel).await;
    let ids: BTreeSet<_> = all.iter().map(|run| run.id.clone()).collect();
    let acknowledged = journal.runs();
    finding.acknowledged = acknowledged.len();
    finding.runs = all.len();
    finding.lost = acknowledged.into_iter().filter(|id| !ids.contains(id)).collect();
    finding.open =
        all.iter().filter(|run| run.state() != RunState::Completed).map(|run| run.id.clone()).collect();
    let mut told = BTreeSet::new();
    for run in all.iter().filter(|run| run.state() == RunState::Completed && !run.package.is_empty()) {
        let (_, outputs) = completed(channel, &run.id).await;
        let request = GetRunRequest { run_id: run.id.clone() };
        let run = RunsClient::new(channel.clone()).get(request).await.unwrap().into_inner();
        told.extend(run.steps.iter().map(|step| step.id.clone()));
        finding.look_at(&run, &outputs, &seen);
    }
    // What ran and is in no run was never recorded before it began (P1).
    finding.untrue.extend(seen.begun.into_keys().filter(|id| !told.contains(id)));
    finding
}

impl Finding {
    /// Compares what is told of one run with what its server has seen.
    fn look_at(&mut self, run: &Run, outputs: &Outputs, seen: &Seen) {
        let proven = run.outcome() == Outcome::Succeeded && run.evidence() == Evidence::ExitRecord;
        if !proven || run.attempt != 1 {
            self.untrue.push(format!("{}: {}", run.id, run.summary));
        }
        for step in &run.steps {
            self.steps += 1;
            let ran = (seen.begun.contains_key(&step.id), seen.ended.contains_key(&step.id));
            match (step.state(), ran) {
                (StepState::Exited, (true, true)) if step.exit_code == Some(0) => {
                    self.outputs_compared += 1;
                    let stored = outputs.get(&step.id).map_or(&[][..], Vec::as_slice);
                    if seen.sums.get(&step.id) != Some(&hex::encode(Sha256::digest(stored))) {
                        self.differing.push(step.id.clone());
                    }
                }
                (StepState::Rejected, (false, false)) => {}
                (state, ran) => self.untrue.push(format!("{}: {state:?}, {ran:?}", step.id)),
            }
        }
        let done = run.steps.iter().filter(|step| step.state() == StepState::Exited).count();
        if done != run.step_titles.len() {
            self.untrue.push(format!("{}: {done} of {} steps", run.id, run.step_titles.len()));
        }
    }
}

/// All runs there are.
async fn all_runs(channel: &Channel) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut request = ListRunsRequest { page_size: 500, ..ListRunsRequest::default() };
    loop {
        let page = RunsClient::new(channel.clone()).list(request.clone()).await.unwrap().into_inner();
        runs.extend(page.runs);
        if page.next_page_token.is_empty() {
            return runs;
        }
        request.page_token = page.next_page_token;
    }
}
