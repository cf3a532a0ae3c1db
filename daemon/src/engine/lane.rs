//! What a lane writes: that it was taken, how its runs go on, what steps printed, how the server was found.
//!
//! Every command carries the lane's epoch. Losing the lane is an ordinary answer: [`LaneError::Lost`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Engine, Refusal, Sighting};
use crate::catalog::REPAIR_TITLE;
use crate::domain::grounds::Late;
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::resource::Presence;
use crate::domain::run::{Event, Illegal, Repair, Run, StepFacts, Subject};
use crate::domain::server::{Held, Reach};
use crate::domain::step::{Ended, StepId, StepState};
use crate::store::rows::StepRecord;
use crate::store::{Command, StoreError, Unit, Wants};

/// A lane that this daemon has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneHold {
    /// The server.
    pub server: ServerId,
    /// The epoch in which it was taken.
    pub epoch: i64,
}

/// Why a lane's command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The lane belongs to someone else, or the run has moved: look again.
    #[error("the lane or its run has moved")]
    Lost,
    /// The domain says that this cannot happen now: look again.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The store does not answer, or this daemon lacks a master key: try again.
    #[error("{0}")]
    Unavailable(String),
    /// A fault in settled or in what it was given to keep.
    #[error("{0}")]
    Fault(String),
}

impl From<StoreError> for LaneError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict | StoreError::Duplicate(_) => Self::Lost,
            StoreError::Unavailable(message) => Self::Unavailable(message),
            StoreError::Full | StoreError::Replaced => Self::Unavailable(error.to_string()),
            StoreError::Corrupt(_) => Self::Fault(error.to_string()),
        }
    }
}

impl From<Refusal> for LaneError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Store(error) => error.into(),
            Refusal::NoKey(message) => Self::Unavailable(message),
            other => Self::Fault(other.to_string()),
        }
    }
}

/// How a try ended, for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEnd {
    /// The try.
    pub id: StepId,
    /// `exited`, `killed`, `rejected` or `lost`.
    pub state: StepState,
    /// Its exit code.
    pub exit_code: Option<i32>,
    /// Why it ended otherwise.
    pub why: String,
    /// Its output was longer than the limit.
    pub truncated: bool,
    /// The server has shown that it ended, if not how. Otherwise processes of it may live.
    pub proven: bool,
}

/// Something happened to a run.
#[derive(Debug, Clone)]
pub struct Advance {
    /// The run.
    pub run: RunId,
    /// What happened.
    pub event: Event,
    /// How its present try ended, if it did.
    pub end: Option<StepEnd>,
    /// Its steps, for the record of a try that begins now.
    pub outlines: Arc<[Outline]>,
}

/// What the record of a try takes from its step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The milestone that people see.
    pub title: String,
    /// From TERM to KILL, where its package says so.
    pub kill_grace: Option<Duration>,
}

impl Outline {
    /// A step of which there is no more to say.
    pub fn titled(title: &str) -> Self {
        Self { title: title.to_owned(), kill_grace: None }
    }
}

struct AdvanceCommand {
    engine: Engine,
    hold: LaneHold,
    advance: Advance,
}

#[async_trait]
impl Command for AdvanceCommand {
    type Answer = Run;
    type Refusal = LaneError;

    fn wants(&self, wants: &mut Wants) {
        wants.lane(self.hold.server);
        wants.run(self.advance.run);
        if let Some(end) = &self.advance.end {
            wants.step(end.id);
        }
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Run, LaneError> {
        let Advance { run, event, end, outlines } = &self.advance;
        unit.hold_lane(self.hold.server, self.engine.me(), self.hold.epoch).await?;
        let run = unit.run(*run).await?.ok_or(LaneError::Lost)?;
        if matches!(event, Event::Started { .. }) {
            // Whoever asks for a pause is told that nothing new starts: the lane may have looked before.
            let server = unit.server(self.hold.server).await?;
            server.filter(|server| server.reach != Reach::Paused).ok_or(LaneError::Lost)?;
        }
        if let (Event::Unanswered { .. }, Some(id)) = (event, run.live_step()) {
            // Somebody may have heard the answer since.
            unit.step(id).await?.filter(|r| r.state == StepState::Starting).ok_or(LaneError::Lost)?;
        }
        let before = run.clone();
        let mut run = run.apply(event.clone(), unit.now(), self.engine.timings())?;
        run.epoch = self.hold.epoch;
        self.engine.write_run(unit, &mut run, None).await?;
        match end {
            Some(end) => end_step(unit, &run, end).await?,
            None if run.verdict().is_some() => close_unsent(unit, &before).await?,
            None => {}
        }
        // After a proven end of a try the lane has the server at hand, and looks itself.
        if !matches!(event, Event::StepEnded(..)) {
            self.engine.look_after(unit, &run).await?;
        }
        if let Some(id) = run.live_step().filter(|id| before.live_step() != Some(*id)) {
            // A try whose start was put off keeps its record.
            let known = before.next_try() == Some(id) && unit.step(id).await?.is_some();
            if !known {
                let outline = outlines.get(id.step as usize);
                self.begin_step(unit, &run, id, outline, begins_repair(event)).await?;
            }
        }
        Ok(run)
    }
}

const fn begins_repair(event: &Event) -> bool {
    matches!(event, Event::StepEnded(Ended::Rejected { .. }, StepFacts { repair: Repair::Begins(_), .. }))
}

impl AdvanceCommand {
    /// Stores the intent to start a try, with the limits that it has however often it is sent and whatever is configured then.
    async fn begin_step(
        &self,
        unit: &mut Unit<'_>,
        run: &Run,
        id: StepId,
        outline: Option<&Outline>,
        repair: bool,
    ) -> Result<(), LaneError> {
        let planned = outline.map(|outline| outline.title.clone());
        let title = if repair { REPAIR_TITLE.to_owned() } else { planned.unwrap_or_default() };
        let resource = match &run.subject {
            Subject::Server => None,
            Subject::Resource { id, .. } => Some(*id),
        };
        let grace = outline.and_then(|outline| outline.kill_grace);
        let mut record = StepRecord {
            id,
            server: run.server,
            resource,
            no: 0,
            title,
            repair,
            // What the configuration says may have changed since; the time by which the run settles has not.
            kill_grace: grace.unwrap_or(self.engine.timings().kill_grace).min(run.kill_grace),
            output_bytes_max: self.engine.output_bytes_max(),
            state: StepState::Starting,
            exit_code: None,
            why: String::new(),
            started_at: unit.now(),
            ended_at: None,
            output_bytes: 0,
            truncated: false,
            late: None,
            version: 1,
            seq: 0,
        };
        Ok(unit.insert_step(&mut record).await?)
    }
}

/// Closes the record of a try whose start was put off, after its run has ended without it.
pub(super) async fn close_unsent(unit: &mut Unit<'_>, before: &Run) -> Result<(), StoreError> {
    let Some(id) = before.next_try().or_else(|| before.live_step()) else { return Ok(()) };
    let Some(mut record) = unit.step(id).await?.filter(|r| r.state == StepState::Starting) else {
        return Ok(());
    };
    record.state = StepState::Rejected;
    "its run ended before it could start".clone_into(&mut record.why);
    record.ended_at = Some(unit.now());
    unit.update_step(&mut record).await
}

/// Stores how a try ended. What is not proven to have ended goes on the lane's list, whatever its run came to: nothing exclusive starts
/// there until the server has shown that it ended.
pub(super) async fn end_step(unit: &mut Unit<'_>, run: &Run, end: &StepEnd) -> Result<(), LaneError> {
    let mut record = unit.step(end.id).await?.ok_or(LaneError::Lost)?;
    record.state = end.state;
    record.exit_code = end.exit_code;
    record.why.clone_from(&end.why);
    record.truncated |= end.truncated;
    record.ended_at = Some(unit.now());
    unit.update_step(&mut record).await?;
    if run.exclusive && !end.proven {
        unit.add_unresolved(run.server, end.id, &end.why).await?;
    }
    Ok(())
}

/// The smaller things that a lane writes.
enum Note {
    Take(ServerId),
    RaiseEpoch { hold: LaneHold, to: i64 },
    Release(LaneHold),
    StepSeen { hold: LaneHold, step: StepId },
    Output { hold: LaneHold, step: StepId, pos: u64, data: Vec<u8> },
    Resolved { hold: LaneHold, step: StepId, late: Box<Late> },
    Reach { hold: LaneHold, reach: Reach, detail: String },
    Held { hold: LaneHold, by: Option<Held> },
    Observed { hold: LaneHold, resource: ResourceId, sighting: Sighting },
    LookLater { hold: LaneHold, run: RunId },
}

struct NoteCommand {
    engine: Engine,
    note: Note,
}

#[async_trait]
impl Command for NoteCommand {
    type Answer = i64;
    type Refusal = LaneError;

    fn wants(&self, wants: &mut Wants) {
        match &self.note {
            Note::StepSeen { hold, step }
            | Note::Output { hold, step, .. }
            | Note::Resolved { hold, step, .. } => {
                wants.lane(hold.server);
                wants.step(*step);
            }
            Note::Reach { hold, .. } | Note::Held { hold, .. } => wants.lane(hold.server),
            Note::Observed { hold, resource, .. } => {
                wants.lane(hold.server);
                wants.resource_id(*resource);
            }
            Note::Take(_) | Note::RaiseEpoch { .. } | Note::Release(_) | Note::LookLater { .. } => {}
        }
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<i64, LaneError> {
        let me = self.engine.me();
        match &self.note {
            Note::Take(server) => {
                let epoch = unit.take_lane(*server, me).await?;
                unit.adopt_running(*server, epoch).await?;
                return Ok(epoch);
            }
            Note::RaiseEpoch { hold, to } => {
                unit.raise_epoch(hold.server, me, hold.epoch, *to).await?;
                unit.adopt_running(hold.server, *to).await?;
                return Ok(*to);
            }
            Note::Release(hold) => unit.release_lane(hold.server, me, hold.epoch).await?,
            Note::StepSeen { hold, step } => {
                unit.hold_lane(hold.server, me, hold.epoch).await?;
                let mut record = unit.step(*step).await?.ok_or(LaneError::Lost)?;
                if record.state == StepState::Starting {
                    record.state = StepState::Running;
                    unit.update_step(&mut record).await?;
                }
            }
            Note::Output { hold, step, pos, data } => {
                unit.hold_lane(hold.server, me, hold.epoch).await?;
                unit.append_output(*step, *pos, data).await?;
            }
            Note::Resolved { hold, step, late } => {
                unit.hold_lane(hold.server, me, hold.epoch).await?;
                self.resolve(unit, *step, late).await?;
            }
            Note::Reach { hold, reach, detail } => {
                unit.hold_lane(hold.server, me, hold.epoch).await?;
                return set_reach(unit, hold.server, *reach, detail).await.map(i64::from);
            }
            Note::Held { hold, by } => {
                unit.hold_lane(hold.server, me, hold.epoch).await?;
                let server = unit.server(hold.server).await?.filter(|server| server.held != *by);
                let Some(mut server) = server else { return Ok(0) };
                server.held.clone_from(by);
                unit.update_server(&mut server).await?;
            }
            Note::Observed { hold, resource, sighting } => {
                unit.hold_lane(hold.server, me, hold.epoch).await?;
                let Some(mut resource) = unit.resource(*resource).await? else { return Ok(0) };
                resource.observed = Some(sighting.clone().of(&resource, unit.now()));
                unit.update_resource(&mut resource).await?;
            }
            Note::LookLater { hold, run } => {
                unit.hold_lane(hold.server, me, hold.epoch).await?;
                let Some(run) = unit.run(*run).await? else { return Ok(0) };
                self.engine.look_after(unit, &run).await?;
            }
        }
        Ok(0)
    }
}

impl NoteCommand {
    /// The step goes off the list, what its server showed is kept with it, and what is there now is looked at. Its run stays as it is.
    async fn resolve(&self, unit: &mut Unit<'_>, step: StepId, late: &Late) -> Result<(), LaneError> {
        if !unit.resolve(step).await? {
            return Ok(());
        }
        if let Some(mut record) = unit.step(step).await? {
            record.late = Some(late.clone());
            unit.update_step(&mut record).await?;
        }
        if let Some(run) = unit.run(step.run).await? {
            self.engine.look_after(unit, &run).await?;
            unit.call(run.server);
        }
        Ok(())
    }
}

/// How a server stands from now on; whether its reach is another one than before.
async fn set_reach(
    unit: &mut Unit<'_>,
    server: ServerId,
    reach: Reach,
    detail: &str,
) -> Result<bool, LaneError> {
    let Some(mut server) = unit.server(server).await? else { return Ok(false) };
    let before = server.reach;
    // A pause is a person's word: what the network says does not end it.
    if before == Reach::Paused || before == reach && server.reach_detail == detail {
        return Ok(false);
    }
    server.reach = reach;
    detail.clone_into(&mut server.reach_detail);
    if reach == Reach::Ok {
        server.last_seen = Some(unit.now());
    }
    unit.update_server(&mut server).await?;
    Ok(before != reach)
}

impl Engine {
    async fn note(&self, note: Note) -> Result<i64, LaneError> {
        self.writer().commit(NoteCommand { engine: self.clone(), note }).await
    }

    /// Takes the lane of a server if nobody has it.
    pub async fn take_lane(&self, server: ServerId) -> Result<LaneHold, LaneError> {
        let epoch = self.note(Note::Take(server)).await?;
        Ok(LaneHold { server, epoch })
    }

    /// Raises the lane's epoch above what its server has accepted.
    pub async fn raise_epoch(&self, hold: LaneHold, to: i64) -> Result<LaneHold, LaneError> {
        let epoch = self.note(Note::RaiseEpoch { hold, to }).await?;
        Ok(LaneHold { epoch, ..hold })
    }

    /// Gives the lane back.
    pub async fn release_lane(&self, hold: LaneHold) -> Result<(), LaneError> {
        self.note(Note::Release(hold)).await.map(drop)
    }

    /// Tells what happened to a run.
    pub async fn advance(&self, hold: LaneHold, advance: Advance) -> Result<Run, LaneError> {
        self.writer().commit(AdvanceCommand { engine: self.clone(), hold, advance }).await
    }

    /// The server could not be looked at after a failed change: it is as soon as it answers again.
    pub async fn look_later(&self, hold: LaneHold, run: RunId) -> Result<(), LaneError> {
        self.note(Note::LookLater { hold, run }).await.map(drop)
    }

    /// The server has the try.
    pub async fn step_seen(&self, hold: LaneHold, step: StepId) -> Result<(), LaneError> {
        self.note(Note::StepSeen { hold, step }).await.map(drop)
    }

    /// Stores output of a try at `pos`.
    pub async fn output(
        &self,
        hold: LaneHold,
        step: StepId,
        pos: u64,
        data: Vec<u8>,
    ) -> Result<(), LaneError> {
        self.note(Note::Output { hold, step, pos, data }).await.map(drop)
    }

    /// The end of a try that was not proven to have ended is proven; `late`: what its server has shown. Nothing happens to one that is not
    /// on the list.
    pub async fn step_resolved(&self, hold: LaneHold, step: StepId, late: Late) -> Result<(), LaneError> {
        self.note(Note::Resolved { hold, step, late: Box::new(late) }).await.map(drop)
    }

    /// Stores whether a server can be worked on. Whether that is news, whatever the detail.
    pub async fn set_reach(&self, hold: LaneHold, reach: Reach, detail: String) -> Result<bool, LaneError> {
        self.note(Note::Reach { hold, reach, detail }).await.map(|news| news != 0)
    }

    /// Stores what has held the lane for too long, or that nothing does any more.
    pub async fn set_held(&self, hold: LaneHold, by: Option<Held>) -> Result<(), LaneError> {
        self.note(Note::Held { hold, by }).await.map(drop)
    }

    /// Stores what a probe saw of a resource, beside what was applied.
    pub async fn compare(
        &self,
        hold: LaneHold,
        resource: ResourceId,
        sighting: Sighting,
    ) -> Result<(), LaneError> {
        self.note(Note::Observed { hold, resource, sighting }).await.map(drop)
    }

    /// Stores what a probe saw of a resource.
    pub async fn observe(
        &self,
        hold: LaneHold,
        resource: ResourceId,
        presence: Presence,
        facts: BTreeMap<String, String>,
    ) -> Result<(), LaneError> {
        let sighting = Sighting { presence, facts, beside: None };
        self.note(Note::Observed { hold, resource, sighting }).await.map(drop)
    }
}
