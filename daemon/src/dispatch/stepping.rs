//! How a lane drives one run: sends the try that is stored, follows it, stores its output and its end, waits between attempts.

use std::sync::Arc;
use std::time::Duration;

use super::claim::unlockable;
use super::remains::Remains;
use super::{LIMIT, Lane, Next, failures};
use crate::catalog::{PlannedStep, repair_dpkg};
use crate::domain::grounds::Seen;
use crate::domain::params::Outputs;
use crate::domain::run::{Event, Phase, Progress, Repair, Retry, Run, RunState, StepFacts};
use crate::domain::step::{Ended, StepId, StepState};
use crate::domain::verdict::{Evidence, Outcome, Verdict};
use crate::domain::waiting::WaitReason;
use crate::engine::{Advance, LaneError, Outline, Prepared, log};
use crate::remote::{Dpkg, Holder, Limits, RemoteError, Report, StepSpec, StepStatus};
use crate::secrets::Mask;

/// Largest piece of output that is stored at once, in bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// What is said of a try that its server has forgotten.
pub(super) const CLEARED_AWAY: &str = "the server has cleared it away already";
/// What is said of a try that nobody watches any more.
pub(super) const LOST_SUPERVISOR: &str = "lost its supervisor";
/// What is said of a try that its server has never had, or has lost with its disk.
pub(super) const NO_RECORD: &str = "the server has no record of it, and no process of it";

/// The run in hand.
pub(super) struct Work {
    pub(super) run: Run,
    pub(super) prepared: Prepared,
    followed: Option<Followed>,
    cancel_sent: bool,
    /// The try that is the repair of an interrupted dpkg, when the present one is.
    repair: Option<(StepId, PlannedStep)>,
    /// The try of `run` was stored by our last commit and nothing was sent yet: it need not be read again.
    fresh: bool,
}

/// Where a lane stands in the output of a try.
struct Followed {
    id: StepId,
    stored: u64,
    mask: Mask,
    /// Processes that live on beside its end.
    left_behind: Vec<String>,
}

impl Work {
    pub(super) fn new(run: Run, prepared: Prepared) -> Self {
        Self { run, prepared, followed: None, cancel_sent: false, repair: None, fresh: false }
    }

    fn left_behind(&self, id: StepId) -> &[String] {
        self.followed.as_ref().filter(|f| f.id == id).map_or(&[], |f| &f.left_behind)
    }

    /// A run whose first try was just stored.
    pub(super) fn begun(run: Run, prepared: Prepared) -> Self {
        Self { fresh: true, ..Self::new(run, prepared) }
    }

    /// Somebody may have changed the run: it is read before it goes on.
    pub(super) const fn look_again(&mut self) {
        self.fresh = false;
    }

    /// The run goes on with this try, just stored.
    fn goes_on(&mut self, run: Run) {
        (self.run, self.fresh) = (run, true);
        (self.followed, self.cancel_sent) = (None, false);
    }

    pub(super) fn outlines(&self) -> Arc<[Outline]> {
        Arc::clone(&self.prepared.outlines)
    }

    /// What is sent as this try.
    pub(super) fn step(&self, id: StepId) -> Result<&PlannedStep, LaneError> {
        let planned = self.prepared.plan.steps.get(id.step as usize);
        let step = if self.is_repair(id) { self.repair.as_ref().map(|(_, step)| step) } else { planned };
        step.ok_or_else(|| LaneError::Fault(format!("step {id} is not in the plan of its run")))
    }

    /// This try is a repair.
    pub(super) fn repairs(&mut self, id: StepId) {
        let before = self.prepared.plan.steps.get(id.step as usize);
        self.repair = before.map(|before| (id, repair_dpkg(before)));
    }

    fn is_repair(&self, id: StepId) -> bool {
        self.repair.as_ref().is_some_and(|(repair, _)| *repair == id)
    }

    /// Timeout of what follows this try when it has ended well; `None` when that ends the run.
    fn next_timeout(&self, id: StepId) -> Option<Duration> {
        let next = if self.is_repair(id) { id.step } else { id.step + 1 };
        self.prepared.plan.steps.get(next as usize).map(|next| next.timeout)
    }
}

impl Lane {
    /// The next thing for the run in hand.
    pub(super) async fn step_work(&mut self) -> Result<Next, LaneError> {
        let Some(work) = &mut self.work else { return Ok(Next::Now) };
        if std::mem::take(&mut work.fresh) {
            let run = work.run.clone();
            let id = run.live_step().ok_or(LaneError::Lost)?;
            return self.send(&run, id, 0).await;
        }
        let run = self.crew.engine.store().read().await?.db().run(work.run.id).await?;
        let Some(run) = run.filter(|run| run.verdict().is_none()) else {
            self.work = None;
            // Somebody else has ended it: the next claim finds out what is left of it.
            self.claimed = false;
            return Ok(Next::Now);
        };
        work.run = run.clone();
        let RunState::Running(progress) = &run.state else {
            self.work = None;
            return Ok(Next::Now);
        };
        match progress.phase {
            Phase::Between { .. } => self.between(&run, progress).await,
            Phase::Stepping { .. } => self.stepping(run).await,
        }
    }

    /// Between two tries: waits for its time, then stores and sends the next.
    async fn between(&mut self, run: &Run, progress: &Progress) -> Result<Next, LaneError> {
        let now = self.crew.engine.clock().now();
        let until = progress.waiting.as_ref().and_then(|w| w.next_try).unwrap_or(now);
        if now < until {
            self.rest();
            return Ok(self.later(until.since(now)));
        }
        if !self.has_permit() {
            let Ok(permit) = Arc::clone(&self.crew.permits).try_acquire_owned() else {
                self.waits(run, WaitReason::Limit, LIMIT.to_owned(), None).await?;
                return Ok(Next::Permit);
            };
            self.permit(Some(permit));
        }
        let Some(work) = &self.work else { return Ok(Next::Now) };
        let step = &work.prepared.plan.steps.get(progress.position.step as usize);
        let timeout = step.map_or(Duration::ZERO, |step| step.timeout);
        if progress.position.step == 0 && progress.position.try_no == 1 {
            log::attempt_starts(run);
        }
        let run = self.tell(run, Event::TryStarted { timeout }).await?;
        if let Some(work) = &mut self.work {
            work.goes_on(run);
        }
        Ok(Next::Now)
    }

    /// A try is stored: it is sent, or followed when the server has it.
    async fn stepping(&mut self, run: Run) -> Result<Next, LaneError> {
        let id = run.live_step().ok_or(LaneError::Lost)?;
        let record = self.crew.engine.store().read().await?.db().step(id).await?.ok_or(LaneError::Lost)?;
        if let Some(work) = self.work.as_mut().filter(|_| record.repair) {
            work.repairs(id);
        }
        if run.cancel_requested
            && let Some(next) = self.cancel_step(id).await?
        {
            return Ok(next);
        }
        if record.state == StepState::Starting {
            return self.send(&run, id, record.output_bytes).await;
        }
        self.follow(&run, id, record.output_bytes).await
    }

    async fn cancel_step(&mut self, id: StepId) -> Result<Option<Next>, LaneError> {
        if self.work.as_ref().is_none_or(|work| work.cancel_sent) {
            return Ok(None);
        }
        let target = self.target()?;
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        match self.crew.acting()?.cancel(&target, id, epoch).await {
            Ok(_) => {
                if let Some(work) = &mut self.work {
                    work.cancel_sent = true;
                }
                Ok(None)
            }
            Err(error) => self.trouble(error).await.map(Some),
        }
    }

    async fn send(&mut self, run: &Run, id: StepId, stored: u64) -> Result<Next, LaneError> {
        let (target, spec) = (self.target()?, self.spec(id).await?);
        match self.crew.acting()?.start(&target, &spec).await {
            Ok(report) => {
                self.reached().await?;
                self.sent(run, id, stored, report).await
            }
            Err(RemoteError::Unsendable(why)) => {
                self.conclude(run, id, Ended::Rejected { why }, Remains::default(), true).await
            }
            Err(RemoteError::Conflict(_)) => self.contested(run, id).await,
            Err(error) => self.trouble(error).await,
        }
    }

    /// What is sent as this try: the same each time, because a server takes anything else for the try of somebody else.
    async fn spec(&self, id: StepId) -> Result<StepSpec, LaneError> {
        let record = self.crew.engine.store().read().await?.db().step(id).await?.ok_or(LaneError::Lost)?;
        let work = self.work.as_ref().ok_or(LaneError::Lost)?;
        let step = work.step(id)?;
        let wanted = work.prepared.secrets.iter().filter(|(name, _)| step.secrets.contains(name));
        Ok(StepSpec {
            id,
            epoch: u64::try_from(self.hold.epoch).unwrap_or(0),
            script: step.script.clone(),
            env: step.env_with(&work.run.outputs),
            secrets: wanted.cloned().collect(),
            dpkg: match (work.is_repair(id), step.needs_dpkg) {
                (true, _) => Dpkg::Repaired,
                (false, true) => Dpkg::Needed,
                (false, false) => Dpkg::Unused,
            },
            limits: Limits {
                timeout: step.timeout,
                grace: record.kill_grace,
                output_bytes_max: record.output_bytes_max,
            },
        })
    }

    async fn sent(&mut self, run: &Run, id: StepId, stored: u64, report: Report) -> Result<Next, LaneError> {
        match report.status {
            StepStatus::Running => {
                let timeout = self.work.as_ref().ok_or(LaneError::Lost)?.step(id)?.timeout;
                // Its time first: of a step that the store knows to run nobody asks again when it began.
                self.go_on(run, Some(timeout)).await?;
                self.crew.engine.step_seen(self.hold, id).await?;
                self.progressed();
                Ok(Next::Now)
            }
            StepStatus::Ended(ref ended) if report.output_bytes == 0 => {
                let ended = ended.clone();
                self.ended(run, id, ended, report.into()).await
            }
            StepStatus::Ended(_) => self.follow(run, id, stored).await,
            StepStatus::Busy { holder } => self.put_off(run, &holder).await,
            StepStatus::Interrupted { packages } => self.interrupted(run, id, &packages).await,
            StepStatus::Orphaned => self.stuck(run, id, LOST_SUPERVISOR, &report.processes).await,
            StepStatus::Accepted | StepStatus::Absent => Ok(self.later(self.crew.settings.poll)),
            StepStatus::Reaped => {
                self.judge_lost(run, id, CLEARED_AWAY.to_owned(), Seen::default(), false).await
            }
        }
    }

    /// Another program holds a lock that the step needs: the same try is sent again later.
    async fn put_off(&mut self, run: &Run, holder: &Holder) -> Result<Next, LaneError> {
        let message = format!("{holder} holds the package lock of the server");
        let failure = failures::plain(run.id, message, self.crew.engine.clock().now());
        let after = self.tell(run, Event::HeldUp(failure)).await?;
        if after.verdict().is_some() {
            log::attempt_ended(&after, run.position().attempt);
            self.work = None;
        }
        Ok(Next::Now)
    }

    /// Waits for news of a running try; being woken ends the wait.
    async fn follow(&mut self, run: &Run, id: StepId, stored: u64) -> Result<Next, LaneError> {
        let target = self.target()?;
        let wait = self.crew.settings.attach_wait;
        let offset = self.followed(id, stored)?.offset();
        let wake = self.wake();
        let remote = Arc::clone(&self.crew.remote);
        let news = tokio::select! {
            news = remote.attach(&target, id, offset, wait) => news,
            () = wake.notified() => {
                self.woken();
                return Ok(Next::Now);
            }
        };
        let news = match news {
            Ok(news) => news,
            Err(error) => return self.trouble(error).await,
        };
        self.reached().await?;
        let last = matches!(news.report.status, StepStatus::Ended(_));
        self.store_output(id, &news.output, last).await?;
        if last {
            self.followed(id, stored)?.left_behind.clone_from(&news.report.processes);
        }
        match news.report.status {
            StepStatus::Running if !news.report.processes.is_empty() => {
                self.stuck(run, id, "was killed", &news.report.processes).await
            }
            StepStatus::Running => {
                self.go_on(run, None).await?;
                self.progressed();
                Ok(Next::Now)
            }
            StepStatus::Ended(ref ended) => {
                let ended = ended.clone();
                self.ended(run, id, ended, news.report.into()).await
            }
            StepStatus::Orphaned => self.stuck(run, id, LOST_SUPERVISOR, &news.report.processes).await,
            StepStatus::Accepted | StepStatus::Busy { .. } | StepStatus::Interrupted { .. } => {
                let stored = self.followed(id, stored)?.stored;
                Box::pin(self.send(run, id, stored)).await
            }
            StepStatus::Absent => self.judge_lost(run, id, NO_RECORD.to_owned(), Seen::default(), true).await,
            StepStatus::Reaped => {
                self.judge_lost(run, id, CLEARED_AWAY.to_owned(), Seen::default(), false).await
            }
        }
    }

    fn followed(&mut self, id: StepId, stored: u64) -> Result<&mut Followed, LaneError> {
        let work = self.work.as_mut().ok_or(LaneError::Lost)?;
        if work.followed.as_ref().is_none_or(|f| f.id != id) {
            let mask = Mask::new(work.prepared.masked.iter().cloned());
            work.followed = Some(Followed { id, stored, mask, left_behind: Vec::new() });
        }
        work.followed.as_mut().ok_or(LaneError::Lost)
    }

    async fn store_output(&mut self, id: StepId, output: &[u8], last: bool) -> Result<(), LaneError> {
        let hold = self.hold;
        let engine = self.crew.engine.clone();
        let followed = self.followed(id, 0)?;
        let masked = followed.mask.pass(output, last);
        for piece in masked.chunks(PIECE_BYTES_MAX) {
            engine.output(hold, id, followed.stored, piece.to_vec()).await?;
            followed.stored += piece.len() as u64;
        }
        Ok(())
    }

    /// A wait is over: the run goes on where it stands. `began`: its try begins only now, and has this long.
    async fn go_on(&self, run: &Run, began: Option<Duration>) -> Result<(), LaneError> {
        let engine = &self.crew.engine;
        let late = began.is_some_and(|time| run.begins_late(engine.clock().now(), time));
        if late || run.waiting().is_some() {
            self.tell(run, Event::GoesOn { began }).await?;
        }
        Ok(())
    }

    /// Processes of a step live that this daemon cannot end: they are named, and looked at again later.
    pub(super) async fn stuck(
        &mut self,
        run: &Run,
        id: StepId,
        what: &str,
        processes: &[String],
    ) -> Result<Next, LaneError> {
        let retry = self.retry(Some(run), WaitReason::Unresolved);
        let what = format!("step {id} {what}, and processes of it live: {}", processes.join(", "));
        let who = unlockable(&what, &run.server_name);
        let now = self.crew.engine.clock().now();
        self.held_by(id, run.waiting_since(WaitReason::Unresolved, now), Some(processes)).await?;
        let at = now + retry;
        self.rest();
        self.waits(run, WaitReason::Unresolved, who, Some(at)).await?;
        Ok(self.later(retry))
    }

    /// A try has ended, proven by its server.
    pub(super) async fn ended(
        &mut self,
        run: &Run,
        id: StepId,
        ended: Ended,
        remains: Remains,
    ) -> Result<Next, LaneError> {
        if let Ended::Lost { why } = &ended {
            return self.judge_lost(run, id, why.clone(), remains.seen, true).await;
        }
        self.conclude(run, id, ended, remains, false).await
    }

    /// Stores the end of a try. `hopeless`: another try cannot help.
    async fn conclude(
        &mut self,
        run: &Run,
        id: StepId,
        ended: Ended,
        remains: Remains,
        hopeless: bool,
    ) -> Result<Next, LaneError> {
        let truncated = remains.truncated;
        let facts = self.facts(run, id, &ended).await?;
        let work = self.work.as_ref().ok_or(LaneError::Lost)?;
        let mut facts = remains.complete(facts, work, &ended);
        if hopeless {
            facts.retry = Retry::Hopeless;
        }
        self.store_end(run, id, ended, truncated, facts).await
    }

    pub(super) async fn store_end(
        &mut self,
        run: &Run,
        id: StepId,
        ended: Ended,
        truncated: bool,
        facts: StepFacts,
    ) -> Result<Next, LaneError> {
        let outlines = self.work.as_ref().map_or_else(|| Arc::from([]), Work::outlines);
        let left_behind = self.work.as_ref().map_or(&[][..], |work| work.left_behind(id));
        let end = Some(failures::leaving(failures::end_of(id, &ended, truncated), left_behind));
        let event = Event::StepEnded(ended, facts);
        let after =
            self.crew.engine.advance(self.hold, Advance { run: run.id, event, end, outlines }).await?;
        self.after(run, after, id).await
    }

    pub(super) async fn facts(&self, run: &Run, id: StepId, ended: &Ended) -> Result<StepFacts, LaneError> {
        let work = self.work.as_ref().ok_or(LaneError::Lost)?;
        let step = work.step(id)?;
        let code = if let Ended::Exited { code, .. } = ended { Some(*code) } else { None };
        let last_lines =
            if code == Some(0) { String::new() } else { self.crew.engine.last_lines(id).await? };
        let now = self.crew.engine.clock().now();
        Ok(StepFacts {
            next: work.next_timeout(id),
            retry: match code {
                Some(code) if step.is_busy(code, &last_lines) => Retry::Busy,
                Some(code) if step.final_codes.contains(&code) => Retry::FinalCode,
                _ => Retry::May,
            },
            retry_on_timeout: work.prepared.plan.retry_on_timeout,
            repair: if work.is_repair(id) { Repair::Was } else { Repair::No },
            failure: failures::of_step(run.id, &step.title, ended, last_lines, now),
            outputs: Some(Outputs::new()),
            seen: Seen::default(),
        })
    }

    /// What follows the end of a try: clearing away on the server, a log line, a look at what is there after a failure.
    pub(super) async fn after(&mut self, before: &Run, after: Run, id: StepId) -> Result<Next, LaneError> {
        self.progressed();
        self.reap(id).await;
        let ended = after.verdict().is_some();
        if ended || after.position().attempt != before.position().attempt {
            log::attempt_ended(&after, before.position().attempt);
        }
        if !ended {
            if let Some(work) =
                self.work.as_mut().filter(|_| after.live_step().is_some_and(|next| next != id))
            {
                work.goes_on(after);
            }
            return Ok(Next::Now);
        }
        // Where nothing is proven by a record, the look was queued with the verdict.
        let proven = |v: &Verdict| v.outcome != Outcome::Succeeded && v.evidence == Evidence::ExitRecord;
        if after.payload && after.verdict().is_some_and(proven) {
            self.observe().await?;
        }
        self.work = None;
        Ok(Next::Now)
    }
}

impl Followed {
    /// Where the next news begins: what is stored and what the mask holds back.
    fn offset(&self) -> u64 {
        self.stored + self.mask.held() as u64
    }
}
