//! Looks after every step whether the promises hold: at the transitions since the last look, at what the servers witnessed, at the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use settled::clock::Clock as _;
use settled::domain::id::{ResourceId, RunId};
use settled::domain::operation::Operation;
use settled::domain::resource::{Resource, ResourceStatus, in_lane};
use settled::domain::run::{Position, Run, RunState, Subject};
use settled::domain::server::Server;
use settled::domain::step::{StepId, StepState};
use settled::domain::time::Timestamp;
use settled::domain::verdict::{Evidence, Outcome, Reason};
use settled::domain::window::Opening;
use settled::engine::opening;
use settled::store::rows::{Change, Object, RunRow, StepRecord, TransitionRow};

use super::{Daemon, Knobs, SimClock};
use crate::scripted::{Execution, Scripted};

/// How long after a start nothing is settled by time (DESIGN, rules of state).
const GRACE: Duration = Duration::from_secs(60);
/// Exit codes of the test packages for "another program is at it": declared, and that of a step which only says so in words.
const BUSY: [i32; 2] = [75, 76];

/// What was seen so far.
#[derive(Default)]
pub struct Checker {
    seq: i64,
    runs: BTreeMap<RunId, (Run, RunRow)>,
    resources: BTreeMap<ResourceId, Resource>,
    servers: BTreeMap<String, Server>,
    steps: BTreeMap<StepId, StepRecord>,
    before_removal: BTreeMap<ResourceId, ResourceStatus>,
    /// The statuses that each resource went through, by name.
    pub statuses: BTreeMap<String, Vec<&'static str>>,
}

impl Checker {
    /// Runs that are not terminal.
    pub fn open(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().map(|(run, _)| run).filter(|run| run.verdict().is_none())
    }

    /// All runs.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values().map(|(run, _)| run)
    }

    /// One look.
    pub async fn check(
        &mut self,
        daemon: &Daemon,
        remote: &Scripted,
        clock: &SimClock,
        knobs: &Knobs,
    ) -> anyhow::Result<()> {
        let witness = remote.witness();
        once(&witness).context("P5")?;
        one_at_a_time(&witness).context("P3")?;
        let told = daemon.engine.hub().committed().borrow().seq;
        ensure!(told >= self.seq, "P7: what was told is gone: {} was seen, {told} is stored", self.seq);
        while self.seq < told {
            let rows = daemon.engine.store().read().await?.db().transitions(self.seq, 1_000).await?;
            for row in &rows {
                self.transition(row, &witness).with_context(|| format!("at transition {row:#?}"))?;
            }
            ensure!(self.seq >= told || rows.len() == 1_000, "P10: {told} is told and not to be read");
        }
        self.statuses_fit()?;
        self.nothing_overdue(daemon, clock, knobs).context("P6")
    }

    fn transition(&mut self, row: &TransitionRow, witness: &[Execution]) -> anyhow::Result<()> {
        ensure!(row.seq == self.seq + 1, "P10: {} follows {}", row.seq, self.seq);
        self.seq = row.seq;
        let change = row.change()?;
        match row.object()? {
            Object::Run(run, stored) => {
                self.begins_in_time(&run, Timestamp(row.at))?;
                self.run(run, stored, change, witness)
            }
            Object::Resource(resource) => self.resource(resource, change),
            Object::Step(step) => {
                let before = self.steps.insert(step.id, step.clone());
                rises(change, before.map(|b| b.version), step.version)
            }
            Object::Server(server) => {
                let before = self.servers.insert(server.name.clone(), server.clone());
                rises(change, before.map(|b| b.version), server.version)
            }
            // These worlds have none: schedules have a simulation of their own, stages have tests, and what is promised of runs holds for theirs.
            Object::Enrollment(_) | Object::Schedule(_) => Ok(()),
        }
    }

    fn run(&mut self, run: Run, row: RunRow, change: Change, witness: &[Execution]) -> anyhow::Result<()> {
        let before = self.runs.get(&run.id).map(|(run, _)| run.clone());
        rises(change, before.as_ref().map(|b| b.version), run.version)?;
        ensure!(
            run.verdict().is_some() == row.settles_by.is_none(),
            "P6: an open run tells by when it settles"
        );
        match &before {
            None => self.accepted(&run).context("P1")?,
            Some(before) => {
                ensure!(before.verdict().is_none(), "P7: a terminal run changed");
                let p = before.position();
                let id = StepId { run: run.id, step: p.step, attempt: p.attempt, try_no: p.try_no };
                let repaired = self.steps.get(&id).is_some_and(|step| step.repair);
                attempts(p, &run, witness, repaired).context("P4")?;
            }
        }
        if run.verdict().is_some() {
            verdict(&run, witness)?;
        }
        self.runs.insert(run.id, (run, row));
        Ok(())
    }

    /// An exclusive run begins only while its server's windows are open.
    fn begins_in_time(&self, run: &Run, at: Timestamp) -> anyhow::Result<()> {
        let queued = self.runs.get(&run.id).is_some_and(|(before, _)| before.is_queued());
        let begins = queued && run.exclusive && matches!(run.state, RunState::Running(_));
        if let Some(server) = self.servers.get(&run.server_name).filter(|_| begins) {
            let open = opening(&server.policy, at) == Opening::Now;
            ensure!(open, "P4: a run began while the windows were closed: {:?}", server.policy);
        }
        Ok(())
    }

    /// The record is visible, in its status, in the instant of acceptance.
    fn accepted(&self, run: &Run) -> anyhow::Result<()> {
        ensure!(
            matches!(run.state, RunState::Queued { .. }) && run.position().attempt == 0,
            "a new run is queued"
        );
        let Subject::Resource { id, .. } = &run.subject else { return Ok(()) };
        let resource = self.resources.get(id).context("the run came before its record")?;
        let expected = match run.operation {
            Operation::Install => ResourceStatus::Pending,
            Operation::Remove => ResourceStatus::Removing,
            _ => return Ok(()),
        };
        ensure!(resource.status == expected, "accepted as {}, not {expected}", resource.status);
        Ok(())
    }

    fn resource(&mut self, resource: Resource, change: Change) -> anyhow::Result<()> {
        let before = self.resources.get(&resource.id).cloned();
        rises(change, before.as_ref().map(|b| b.version), resource.version)?;
        let old = before.as_ref().map(|b| b.status);
        if resource.status == ResourceStatus::Removing && old != Some(ResourceStatus::Removing) {
            self.before_removal.insert(resource.id, old.context("P8: made as removing")?);
        }
        let removed = |outcome: Outcome| {
            let mut of = self.runs.values().map(|(run, _)| run).filter(|run| removes(run, resource.id));
            of.next_back().and_then(Run::verdict).is_some_and(|verdict| verdict.outcome == outcome)
        };
        if change == Change::Gone {
            // What a script of a stage left on record is nothing on its server: it goes with its enrollment.
            let record = resource.package == "stage_script" && resource.open_run.is_none();
            let removed = record || removed(Outcome::Succeeded);
            ensure!(removed, "P8: the record went away without a removal that succeeded");
            self.resources.remove(&resource.id);
            self.statuses.entry(resource.name).or_default().push("gone");
            return Ok(());
        }
        if old == Some(ResourceStatus::Removing) && resource.status != ResourceStatus::Removing {
            let earlier = self.before_removal.get(&resource.id).copied();
            ensure!(!removed(Outcome::Succeeded), "P8: the removal succeeded, and the record is there");
            ensure!(Some(resource.status) == earlier, "P8: {earlier:?} came back as {}", resource.status);
            ensure!(resource.last_error.is_some(), "P8: a removal that did not succeed leaves its error");
        }
        if old != Some(resource.status) {
            self.statuses.entry(resource.name.clone()).or_default().push(resource.status.as_str());
        }
        self.resources.insert(resource.id, resource);
        Ok(())
    }

    /// The status of every resource is the one that the table of DESIGN gives for its open run.
    fn statuses_fit(&self) -> anyhow::Result<()> {
        use ResourceStatus as S;
        for resource in self.resources.values() {
            let run = resource.open_run.and_then(|id| self.runs.get(&id)).map(|(run, _)| run);
            let fits = match run {
                None => matches!(resource.status, S::Active | S::Success | S::Failed | S::Paused),
                Some(run) => resource.status == expected(run),
            };
            ensure!(fits, "the status does not fit its run: {resource:#?} {run:#?}");
        }
        Ok(())
    }

    /// Nothing is open beyond its time. Allowed is what a look every so often makes unavoidable, and the grace after a start or after
    /// the look that noticed a jump of the clock; not a moment more.
    fn nothing_overdue(&self, daemon: &Daemon, clock: &SimClock, knobs: &Knobs) -> anyhow::Result<()> {
        let (now, look) = (clock.monotonic(), knobs.reconcile_every);
        let noticed = clock.last_jump().map_or(Duration::ZERO, |at| at + look);
        let grace_ends = daemon.since.max(noticed) + GRACE;
        for (run, row) in self.runs.values() {
            let late = row.settles_by.map_or(Duration::ZERO, |by| clock.now().since(Timestamp(by)));
            let due = now.saturating_sub(late).max(grace_ends);
            ensure!(late.is_zero() || now <= due + look, "a run is open beyond its time: {run:#?}");
        }
        Ok(())
    }

    /// After a start no lane belongs to a daemon that is dead: whoever waits there would wait for ever.
    pub async fn no_dead_owner(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let me = daemon.engine.me().to_string();
        for (server, owner) in self.owners(daemon).await? {
            ensure!(owner == me, "P3: the lane of {server} belongs to {owner}, who is dead");
        }
        Ok(())
    }

    /// When nothing is to be done no lane belongs to anyone, so that any daemon may take it. What is not proven to have ended is to be
    /// looked after, and so is what a lost run has left.
    pub async fn all_lanes_free(&self, daemon: &Daemon) -> anyhow::Result<()> {
        let mut kept = self.owners(daemon).await?;
        let mut reader = daemon.engine.store().read().await?;
        for server in self.servers.values() {
            let unproven = reader.db().unresolved(server.id).await?;
            let open = reader.db().open_runs_of(server.id, 1).await?;
            if !(unproven.is_empty() && open.is_empty()) {
                kept.remove(&server.name);
            }
        }
        ensure!(kept.is_empty(), "P3: lanes were not given back: {kept:?}");
        Ok(())
    }

    /// Servers whose lanes are taken, and by whom.
    async fn owners(&self, daemon: &Daemon) -> anyhow::Result<BTreeMap<String, String>> {
        let (mut owners, mut reader) = (BTreeMap::new(), daemon.engine.store().read().await?);
        for server in self.servers.values() {
            let lane = reader.db().lane(server.id).await?;
            owners.extend(lane.and_then(|lane| lane.owner).map(|owner| (server.name.clone(), owner)));
        }
        Ok(owners)
    }

    /// The last look: all runs are terminal, what is stored is what was told, and output is whole.
    pub async fn finish(&self, daemon: &Daemon, remote: &Scripted) -> anyhow::Result<()> {
        let open: Vec<_> = self.open().collect();
        ensure!(open.is_empty(), "P6: runs are still open at the end: {open:#?}");
        let mut reader = daemon.engine.store().read().await?;
        let mut db = reader.db();
        for (id, (run, _)) in &self.runs {
            ensure!(
                db.run(*id).await?.as_ref() == Some(run),
                "P10: what is stored of {id} was not told: {run:#?}"
            );
        }
        for (id, resource) in &self.resources {
            let stored = db.resource(*id).await?;
            ensure!(stored.as_ref() == Some(resource), "P10: stored {stored:#?}, told {resource:#?}");
        }
        let witness = remote.witness();
        for step in
            self.steps.values().filter(|step| matches!(step.state, StepState::Exited | StepState::Killed))
        {
            let Some(ran) = witness.iter().find(|ran| ran.id == step.id) else { continue };
            let pieces = db.output(step.id, 0, i64::MAX).await?;
            let stored: Vec<u8> = pieces.into_iter().flat_map(|(_, data)| data).collect();
            ensure!(stored == ran.output, "P5: output of {} is not what it wrote", step.id);
        }
        Ok(())
    }
}

fn removes(run: &Run, resource: ResourceId) -> bool {
    run.operation == Operation::Remove
        && matches!(run.subject, Subject::Resource { id, .. } if id == resource)
}

fn expected(run: &Run) -> ResourceStatus {
    let Subject::Resource { earlier, declared, .. } = run.subject else { return ResourceStatus::Failed };
    match (&run.state, &run.operation) {
        (RunState::Queued { .. }, Operation::Remove) => ResourceStatus::Removing,
        // A retry of an update is `pending` too.
        (RunState::Queued { .. }, Operation::Install) => ResourceStatus::Pending,
        (RunState::Queued { .. }, _) if run.retry_of.is_some() => ResourceStatus::Pending,
        (RunState::Queued { .. }, _) => earlier,
        _ => in_lane(&run.operation, earlier, declared),
    }
}

fn rises(change: Change, before: Option<i64>, version: i64) -> anyhow::Result<()> {
    let fits = match (change, before) {
        (Change::Created, None) => version == 1,
        (Change::Updated, Some(before)) => version > before,
        (Change::Gone, Some(before)) => version >= before,
        _ => false,
    };
    ensure!(fits, "P10: {change} from version {before:?} to {version}");
    Ok(())
}

/// A new attempt needs an execution that failed, or a panic; a new try needs proof that the payload did not run, or a busy exit, or that
/// it only repaired dpkg for the next.
fn attempts(before: Position, run: &Run, witness: &[Execution], repaired: bool) -> anyhow::Result<()> {
    let (after, run_id) = (run.position(), run.id);
    let ran = |step: u32, attempt: u32, try_no: u32| {
        witness.iter().find(move |e| e.id == StepId { run: run_id, step, attempt, try_no })
    };
    let panicked = run.waiting().is_some_and(|w| w.who.contains("a fault in settled"));
    ensure!(after.attempt >= before.attempt, "attempts went back");
    if before.attempt > 0 && after.attempt > before.attempt && !panicked {
        let failed = ran(before.step, before.attempt, before.try_no)
            .context("an attempt was used, and nothing had run")?;
        ensure!(failed.code != Some(0), "an attempt was used, and its step had ended well");
        ensure!(failed.gone.is_some(), "an attempt was used, and its step still ran");
    }
    if (after.attempt, after.step) == (before.attempt, before.step) && after.try_no > before.try_no {
        let busy = ran(before.step, before.attempt, before.try_no)
            .is_none_or(|e| e.code.is_some_and(|code| BUSY.contains(&code)));
        ensure!(busy || repaired, "P5: a new try of a step whose payload had run");
    }
    Ok(())
}

fn verdict(run: &Run, witness: &[Execution]) -> anyhow::Result<()> {
    let Some(verdict) = run.verdict() else { return Ok(()) };
    let steps: Vec<_> = witness.iter().filter(|e| e.id.run == run.id).collect();
    match verdict.outcome {
        Outcome::Succeeded => {
            ensure!(verdict.evidence != Evidence::None, "P7: succeeded without evidence");
            let p = run.position();
            let last = steps
                .iter()
                .find(|e| (e.id.step, e.id.attempt, e.id.try_no) == (p.step, p.attempt, p.try_no));
            let proven = !run.exclusive
                || verdict.evidence != Evidence::ExitRecord
                || last.is_some_and(|e| e.code == Some(0));
            ensure!(proven, "P7: succeeded by an exit record that no payload wrote: {last:#?}");
        }
        Outcome::Cancelled => ensure!(steps.iter().all(|e| e.gone.is_some()), "P9: cancelled while it ran"),
        Outcome::Failed if verdict.evidence == Evidence::None => {
            ensure!(verdict.reason == Some(Reason::Lost), "P7: without evidence the reason is lost");
        }
        Outcome::Failed | Outcome::Blocked => {}
    }
    if verdict.evidence == Evidence::NotStarted {
        ensure!(steps.is_empty(), "P7: not started, and {} payloads ran", steps.len());
    }
    ensure!(
        verdict.failure.is_some() || verdict.outcome != Outcome::Failed,
        "a failure tells what went wrong"
    );
    Ok(())
}

fn once(witness: &[Execution]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for ran in witness {
        ensure!(seen.insert(ran.id), "the payload of {} ran twice", ran.id);
    }
    Ok(())
}

fn one_at_a_time(witness: &[Execution]) -> anyhow::Result<()> {
    let mut by_host: BTreeMap<&str, Vec<&Execution>> = BTreeMap::new();
    for ran in witness {
        ensure!(ran.epoch >= ran.claimed, "began by a command of an epoch that was over: {ran:#?}");
        by_host.entry(&ran.host).or_default().push(ran);
    }
    for ran in by_host.values_mut() {
        ran.sort_by_key(|e| e.began);
        for pair in ran.windows(2) {
            let free = [pair[0].gone, pair[0].given_up].into_iter().flatten().min();
            let apart = free.is_some_and(|free| free <= pair[1].began);
            ensure!(apart, "two payloads at once: {:#?} and {:#?}", pair[0], pair[1]);
        }
    }
    Ok(())
}
