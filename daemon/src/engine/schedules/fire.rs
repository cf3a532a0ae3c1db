//! One occurrence comes about: it waits, is left out, or its runs are accepted. All of it within the unit of the caller.

use super::super::{Asked, Engine, Refusal};
use super::aim::Aim;
use super::{left, open_runs};
use crate::domain::id::RunId;
use crate::domain::run::{Event, Run};
use crate::domain::schedule::{Cause, Fate, Last, Occurrence, Overlap, Schedule, WAITING_MAX};
use crate::domain::time::Timestamp;
use crate::store::{AuditRow, StoreError, Unit};

/// Refusals that an occurrence tells one by one.
const REFUSED_MAX: usize = 20;

/// What is to come about, and on which terms.
pub(super) struct Firing<'a> {
    pub(super) engine: &'a Engine,
    pub(super) aim: &'a Aim,
    /// Whether the schedule's principal may still ask for anything (P14).
    pub(super) admitted: bool,
}

impl Firing<'_> {
    /// What becomes of an occurrence; its schedule is changed accordingly, and neither is stored yet.
    pub(super) async fn fire(
        &self,
        unit: &mut Unit<'_>,
        schedule: &mut Schedule,
        due: Timestamp,
        cause: Cause,
    ) -> Result<Occurrence, Refusal> {
        let mut occurrence = Occurrence {
            schedule: schedule.id,
            due,
            until: due,
            count: 1,
            cause,
            fate: Fate::Waiting,
            why: String::new(),
            runs: Vec::new(),
            refused: Vec::new(),
            at: unit.now(),
        };
        let open = open_runs(unit, schedule).await?;
        if open.is_empty() && schedule.waiting == 0 {
            self.act(unit, schedule, &mut occurrence).await?;
        } else {
            self.overlap(unit, schedule, &mut occurrence, open).await?;
        }
        schedule.last = Some(Last { due, fate: occurrence.fate, why: occurrence.why.clone() });
        Ok(occurrence)
    }

    /// Runs of an earlier occurrence are open, or others wait for them.
    async fn overlap(
        &self,
        unit: &mut Unit<'_>,
        schedule: &mut Schedule,
        occurrence: &mut Occurrence,
        open: Vec<Run>,
    ) -> Result<(), Refusal> {
        let who = open
            .first()
            .map_or_else(|| "an occurrence that waits".to_owned(), |run| format!("run {}", run.id));
        match schedule.overlap {
            Overlap::Skip => {
                occurrence.fate = Fate::Skipped;
                occurrence.why = format!("{who} of an earlier occurrence is still open");
            }
            Overlap::Queue if schedule.waiting >= WAITING_MAX => {
                occurrence.fate = Fate::Skipped;
                occurrence.why =
                    format!("{WAITING_MAX} occurrences wait already for {who}, which is still open");
            }
            Overlap::Queue => {
                schedule.waiting += 1;
                occurrence.why = format!("waits for {who} of an earlier occurrence");
            }
            Overlap::CancelEarlier => {
                left::waiting(unit, schedule, "a later occurrence came before it had its turn").await?;
                for run in open {
                    self.cancel(unit, run).await?;
                }
                if open_runs(unit, schedule).await?.is_empty() {
                    return self.act(unit, schedule, occurrence).await;
                }
                schedule.waiting += 1;
                occurrence.why = format!("waits until {who} of an earlier occurrence has been cancelled");
            }
        }
        Ok(())
    }

    async fn cancel(&self, unit: &mut Unit<'_>, run: Run) -> Result<(), Refusal> {
        let (server, before, now) = (run.server, run.clone(), unit.now());
        let cancelled = run.apply(Event::CancelRequested, now, self.engine.timings());
        let mut run = cancelled.map_err(|e| Refusal::Internal(e.to_string()))?;
        self.engine.write_cancelled(unit, &mut run, &before).await?;
        unit.call(server);
        Ok(())
    }

    /// Its turn has come: what it is about is asked for, one by one.
    pub(super) async fn act(
        &self,
        unit: &mut Unit<'_>,
        schedule: &mut Schedule,
        occurrence: &mut Occurrence,
    ) -> Result<(), Refusal> {
        occurrence.at = unit.now();
        occurrence.why.clear();
        let mut refused = Vec::new();
        if self.admitted {
            for (target, ask) in self.aim.asks.clone() {
                let asked = self.asked(schedule, occurrence.due, &target);
                let answer = match ask {
                    Ok(ask) => self.engine.accept(unit, asked, ask).await,
                    Err(why) => Err(Refusal::not_now(why)),
                };
                match answer {
                    Ok(answer) => occurrence
                        .runs
                        .extend(answer.run.iter().filter_map(|run| run.id.parse::<RunId>().ok())),
                    Err(Refusal::Store(error)) => return Err(error.into()),
                    Err(refusal) => refused.push((target, refusal.to_string())),
                }
            }
        }
        occurrence.fate = if occurrence.runs.is_empty() { Fate::Refused } else { Fate::Fired };
        occurrence.why = self.sentence(schedule, occurrence.runs.len(), &refused);
        refused.truncate(REFUSED_MAX);
        occurrence.refused = refused;
        schedule.open_runs.clone_from(&occurrence.runs);
        schedule.last =
            Some(Last { due: occurrence.due, fate: occurrence.fate, why: occurrence.why.clone() });
        self.note(unit, schedule, occurrence);
        Ok(())
    }

    fn asked(&self, schedule: &Schedule, due: Timestamp, target: &str) -> Asked {
        Asked {
            principal: schedule.principal.clone(),
            method: "Schedules.Fire",
            // The same occurrence cannot ask for the same thing twice (P2).
            request_id: format!("{}.{}.{target}", schedule.id, due.0),
            digest: self.engine.fingerprint(target.as_bytes()),
        }
    }

    fn sentence(&self, schedule: &Schedule, accepted: usize, refused: &[(String, String)]) -> String {
        if !self.admitted {
            let who = &schedule.principal;
            return format!(
                "{who}, who made or changed this schedule last, may not use settled any more: whoever may, can take it over with \
                 `settlectl schedule edit`"
            );
        }
        match (&self.aim.nothing, accepted, refused) {
            (Some(nothing), _, _) => nothing.clone(),
            (None, _, []) => String::new(),
            (None, 0, [(target, why)]) => format!("{target}: {why}"),
            (None, 0, [(target, why), ..]) => {
                format!("all {} were refused, the first, {target}: {why}", refused.len())
            }
            (None, n, [(target, why), ..]) => {
                format!("{n} accepted, {} refused, the first, {target}: {why}", refused.len())
            }
        }
    }

    fn note(&self, unit: &mut Unit<'_>, schedule: &Schedule, occurrence: &Occurrence) {
        let result =
            if occurrence.fate == Fate::Fired { "accepted".to_owned() } else { occurrence.why.clone() };
        unit.audit(AuditRow {
            id: self.engine.clock().ulid().to_string(),
            principal: schedule.principal.clone(),
            method: "Schedules.Fire".to_owned(),
            object: schedule.name.clone(),
            detail: format!("{}; {} runs", occurrence.cause, occurrence.runs.len()),
            result,
            run_id: None,
        });
    }
}

/// Stores an occurrence that came about just now. False: what became of its due time is stored already, and stays.
pub(super) async fn is_new(
    unit: &mut Unit<'_>,
    schedule: &Schedule,
    due: Timestamp,
) -> Result<bool, StoreError> {
    Ok(unit.db().await?.occurrence(schedule.id, due).await?.is_none())
}
