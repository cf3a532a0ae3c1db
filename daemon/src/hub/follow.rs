//! Following one run: its milestones and output in order, from the store, live until it has completed and everything was told.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::watch;

use super::{Hub, Next, Reading, news};
use crate::clock::Clock;
use crate::domain::id::RunId;
use crate::domain::run::{Run, RunState};
use crate::domain::step::StepState;
use crate::domain::time::Timestamp;
use crate::figures::Here;
use crate::store::rows::{RunRow, StepRecord};
use crate::store::{Committed, Db, Store, StoreError};

/// Largest piece of output, in bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of output that are kept ready, beside one piece: what a slow reader costs.
const READY_BYTES: usize = 64 * 1024;
/// Steps read at once.
const STEPS: i64 = 64;
/// Shortest time between two looks: on a busy daemon something is committed all the time.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// What a follower is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// The run as it stands.
    Run(Box<RunRow>),
    /// A milestone.
    Step(Box<StepRecord>),
    /// The record of the run is gone, and with it whatever was not told.
    Gone(RunId),
    /// A piece of output.
    Output {
        /// The step that wrote it.
        step_id: String,
        /// Offset of its first byte over all steps in order.
        offset: u64,
        /// At most 64 KiB.
        data: Vec<u8>,
        /// Offset of the byte after it over all steps in order.
        next_offset: u64,
        /// The last piece of a step that wrote more than its limit.
        truncated: bool,
    },
}

/// One follower.
pub struct Follower {
    store: Store,
    committed: watch::Receiver<Committed>,
    run: RunId,
    /// What was told of the run: its version and its place.
    told: Option<(i64, i64)>,
    /// The step that is being told, by its number in the run.
    no: i64,
    /// What was told of that step.
    told_step: StepTold,
    /// Whether it was told that this step's output was cut.
    told_cut: bool,
    /// Where that step's output begins, over all steps in order.
    base: u64,
    /// The next byte to tell, over all steps in order.
    offset: u64,
    looked_at: Duration,
    /// Whether the last look found nothing to tell.
    idle: bool,
    finished: bool,
    ready: VecDeque<Told>,
    /// Bytes of output that the last look made ready.
    ready_bytes: usize,
    _here: Here,
}

/// What was told of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StepTold {
    Nothing,
    /// That it began.
    Begun,
    /// Its version with this number.
    Version(i64),
}

impl Follower {
    /// Follows `run`; output before `offset` is skipped.
    pub fn new(hub: &Hub, store: &Store, run: RunId, offset: u64, clock: &dyn Clock) -> Self {
        Self {
            store: store.clone(),
            committed: hub.committed(),
            run,
            told: None,
            no: 0,
            told_step: StepTold::Nothing,
            told_cut: false,
            base: 0,
            offset,
            looked_at: clock.monotonic(),
            idle: false,
            finished: false,
            ready: VecDeque::new(),
            ready_bytes: 0,
            _here: hub.followers().enter(),
        }
    }

    /// Looks once. Its place in the queue is read before the run, which leaves the queue for good; its steps are read after it: once it
    /// has completed, everything of it is there. One that was still queued has none: whatever began between the two reads is told by the
    /// next look, after its beginning.
    async fn look_once(&mut self) -> Result<(), StoreError> {
        let mut reader = self.store.read().await?;
        let mut db = reader.db();
        let place = db.queue_position(self.run).await?;
        let Some(row) = db.run_row(self.run).await? else {
            self.gone();
            return Ok(());
        };
        let run: Run = row.clone().try_into()?;
        let completed = matches!(run.state, RunState::Completed { .. });
        let queued = matches!(run.state, RunState::Queued { .. });
        let place = if queued { place } else { 0 };
        if self.told.is_none() || !completed {
            self.tell_run(&row, place);
        }
        if queued {
            return Ok(());
        }
        let looked = self.look_at_steps(&mut db, completed).await;
        let over = completed && !matches!(looked, Ok(false));
        if over && db.run_row(self.run).await?.is_none() {
            // Removed meanwhile, and with it what was about to be told.
            self.gone();
            return Ok(());
        }
        if looked? && completed {
            self.tell_run(&row, place);
            self.finished = true;
        }
        Ok(())
    }

    fn gone(&mut self) {
        self.ready.push_back(Told::Gone(self.run));
        self.finished = true;
    }

    fn tell_run(&mut self, row: &RunRow, place: i64) {
        if self.told != Some((row.seq, place)) {
            self.told = Some((row.seq, place));
            self.ready.push_back(Told::Run(Box::new(row.clone())));
        }
    }

    /// Tells what is new of the steps; true when there is no more for now.
    async fn look_at_steps(&mut self, db: &mut Db<'_>, completed: bool) -> Result<bool, StoreError> {
        let steps = db.steps_from(self.run, self.no, STEPS + 1).await?;
        let (read, whole) = (steps.len(), usize::try_from(STEPS).unwrap_or(usize::MAX));
        for (at, step) in steps.into_iter().take(whole).enumerate() {
            if step.no != self.no {
                self.turn_to(step.no);
            }
            // Steps come one after the other: what has a successor, or a completed run, has nothing to add.
            let over = is_ended(step.state) || at + 1 < read || completed;
            if !self.look_at_step(db, &step, over).await? {
                return Ok(false);
            }
            if over {
                self.base += step.output_bytes;
                self.turn_to(step.no + 1);
            }
        }
        Ok(read <= whole)
    }

    fn turn_to(&mut self, no: i64) {
        (self.no, self.told_step, self.told_cut) = (no, StepTold::Nothing, false);
    }

    /// Tells what is new of one step: that it began, its output, how it ended. False when there is more than fits for now.
    async fn look_at_step(
        &mut self,
        db: &mut Db<'_>,
        step: &StepRecord,
        over: bool,
    ) -> Result<bool, StoreError> {
        let end = self.base + step.output_bytes;
        let ended = is_ended(step.state);
        if self.told_step == StepTold::Nothing && ended && self.offset < end {
            self.told_step = StepTold::Begun;
            self.ready.push_back(Told::Step(Box::new(begun(step))));
        } else if !ended {
            self.tell_step(step);
        }
        while self.offset < end {
            if self.ready_bytes >= READY_BYTES {
                return Ok(false);
            }
            self.tell_output(db, step, over && step.truncated).await?;
        }
        if over && step.truncated && !self.told_cut && self.offset == end {
            self.push_output(step, Vec::new(), true);
        }
        if ended {
            self.tell_step(step);
        }
        Ok(true)
    }

    fn tell_step(&mut self, step: &StepRecord) {
        if self.told_step != StepTold::Version(step.seq) {
            self.told_step = StepTold::Version(step.seq);
            self.ready.push_back(Told::Step(Box::new(step.clone())));
        }
    }

    async fn tell_output(
        &mut self,
        db: &mut Db<'_>,
        step: &StepRecord,
        truncated: bool,
    ) -> Result<(), StoreError> {
        let pos = self.offset.saturating_sub(self.base);
        let missing = || StoreError::Corrupt(format!("no output of step {} at {pos}", step.id));
        let (start, data) = db.output_at(step.id, pos).await?.ok_or_else(missing)?;
        let skip = usize::try_from(pos).unwrap_or(usize::MAX) - usize::try_from(start).unwrap_or(0);
        let rest = data.get(skip..).filter(|rest| !rest.is_empty()).ok_or_else(missing)?;
        let data = rest[..rest.len().min(PIECE_BYTES_MAX)].to_vec();
        self.offset = self.base + pos + data.len() as u64;
        let is_last = self.offset == self.base + step.output_bytes;
        self.push_output(step, data, truncated && is_last);
        Ok(())
    }

    fn push_output(&mut self, step: &StepRecord, data: Vec<u8>, truncated: bool) {
        self.told_cut |= truncated;
        self.ready_bytes += data.len();
        let step_id = step.id.to_string();
        let offset = self.offset - data.len() as u64;
        self.ready.push_back(Told::Output { step_id, offset, data, next_offset: self.offset, truncated });
    }
}

impl Reading for Follower {
    /// `None` when the run has completed and all was told, or after [`Told::Gone`].
    type Told = Option<Told>;
    type Error = StoreError;

    fn next(&mut self, _: &dyn Clock) -> Result<Next<Option<Told>>, StoreError> {
        Ok(match self.ready.pop_front() {
            Some(told) => Next::Tell(Some(told)),
            None if self.finished => Next::Tell(None),
            None if self.idle => Next::Wait,
            None => Next::Look,
        })
    }

    async fn look(&mut self, clock: &dyn Clock) -> Result<(), StoreError> {
        self.looked_at = clock.monotonic();
        self.ready_bytes = 0;
        self.look_once().await?;
        self.idle = self.ready.is_empty();
        Ok(())
    }

    async fn wait(&mut self, clock: &dyn Clock) {
        news::wait(&mut self.committed, clock).await;
        clock.sleep_until(self.looked_at + LOOK_PAUSE).await;
        self.idle = false;
    }
}

const fn is_ended(state: StepState) -> bool {
    match state {
        StepState::Starting | StepState::Running => false,
        StepState::Exited | StepState::Killed | StepState::Rejected | StepState::Lost => true,
    }
}

/// A step as it was before it ended, so that its story can be told in order.
fn begun(step: &StepRecord) -> StepRecord {
    StepRecord {
        state: StepState::Running,
        exit_code: None,
        why: String::new(),
        ended_at: None::<Timestamp>,
        truncated: false,
        ..step.clone()
    }
}
