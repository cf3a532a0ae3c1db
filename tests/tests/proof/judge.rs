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
    let all = all_runs(channel).await;
    let mut finding = Finding::of(journal.runs(), &all, &seen);
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
    /// Compares what was acknowledged and witnessed with the list of all runs.
    fn of(acknowledged: Vec<String>, all: &[Run], seen: &Seen) -> Self {
        let ids: BTreeSet<_> = all.iter().map(|run| &run.id).collect();
        let open = all.iter().filter(|run| run.state() != RunState::Completed);
        Self {
            acknowledged: acknowledged.len(),
            runs: all.len(),
            overlaps: seen.overlaps.clone(),
            twice: seen.begun.iter().filter(|(_, times)| **times > 1).map(|(id, _)| id.clone()).collect(),
            open: open.map(|run| run.id.clone()).collect(),
            lost: acknowledged.into_iter().filter(|id| !ids.contains(id)).collect(),
            ..Self::default()
        }
    }

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

#[cfg(test)]
mod tests {
    use settled_proto::v1::Step;

    use super::*;

    /// A run that went well, and the witness of it.
    fn good() -> (Run, Outputs, Seen) {
        let step = Step {
            id: "1.0.1.1".into(),
            state: StepState::Exited.into(),
            exit_code: Some(0),
            ..Step::default()
        };
        let run = Run {
            id: "1".into(),
            state: RunState::Completed.into(),
            outcome: Outcome::Succeeded.into(),
            evidence: Evidence::ExitRecord.into(),
            attempt: 1,
            step_titles: vec!["One".into()],
            steps: vec![step],
            ..Run::default()
        };
        let mut seen = Seen::default();
        seen.begun.insert("1.0.1.1".into(), 1);
        seen.ended.insert("1.0.1.1".into(), 1);
        seen.sums.insert("1.0.1.1".into(), hex::encode(Sha256::digest(b"said")));
        (run, Outputs::from([("1.0.1.1".to_owned(), b"said".to_vec())]), seen)
    }

    /// What is found after one thing was falsified.
    fn after(falsify: impl FnOnce(&mut Run, &mut Outputs, &mut Seen)) -> bool {
        let (mut run, mut outputs, mut seen) = good();
        falsify(&mut run, &mut outputs, &mut seen);
        let mut finding = Finding::of(vec!["1".into()], std::slice::from_ref(&run), &seen);
        finding.look_at(&run, &outputs, &seen);
        finding.is_good()
    }

    #[test]
    fn the_judge_believes_what_fits_and_finds_each_lie() {
        assert!(after(|_, _, _| {}));
        let lies: [fn(&mut Run, &mut Outputs, &mut Seen); 11] = [
            |run, _, _| run.id = "2".into(),
            |run, _, _| run.state = RunState::Running.into(),
            |run, _, _| run.outcome = Outcome::Failed.into(),
            |run, _, _| run.evidence = Evidence::Probe.into(),
            |run, _, _| run.attempt = 2,
            |run, _, _| run.step_titles.push("Two".into()),
            |run, _, _| run.steps[0].state = StepState::Rejected.into(),
            |_, outputs, _| drop(outputs.insert("1.0.1.1".into(), b"sai".to_vec())),
            |_, _, seen| *seen.begun.get_mut("1.0.1.1").unwrap() = 2,
            |_, _, seen| seen.ended.clear(),
            |_, _, seen| seen.overlaps.push("1.0.1.1".into()),
        ];
        for (n, lie) in lies.into_iter().enumerate() {
            assert!(!after(lie), "lie {n} is believed");
        }
    }
}
