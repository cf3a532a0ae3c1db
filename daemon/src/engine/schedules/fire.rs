//! One occurrence comes about: it waits, is left out, or its runs and enrollments are accepted. All of it within the unit of the caller.

use super::super::{Answer, Asked, Engine, Refusal, audit};
use super::aim::Aim;
use super::enrolling::UNCHANGED;
use super::{enrolling, left, open_runs};
use crate::auth::Verb;
use crate::domain::id::{EnrollmentId, RunId};
use crate::domain::run::{Event, Run};
use crate::domain::schedule::{Cause, Fate, Last, Occurrence, Overlap, Schedule, WAITING_MAX};
use crate::domain::time::Timestamp;
use crate::store::{AuditResult, AuditRow, StoreError, Unit};

/// Refusals that an occurrence tells one by one.
const REFUSED_MAX: usize = 20;

/// What brings an occurrence about.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// Its time, or what is made up for: its schedule's principal is that of what comes of it.
    Time(Cause),
    /// This principal, who is that of what comes of it.
    Hand(&'a str),
}

/// What is to come about, and on which terms.
pub(super) struct Firing<'a> {
    pub(super) engine: &'a Engine,
    pub(super) aim: &'a Aim,
    /// Whether whoever it is done for may still ask for anything (P14).
    pub(super) admitted: bool,
}

impl Firing<'_> {
    /// What becomes of an occurrence; its schedule is changed accordingly, and neither is stored yet.
    pub(super) async fn fire(
        &self,
        unit: &mut Unit<'_>,
        schedule: &mut Schedule,
        due: Timestamp,
        by: By<'_>,
    ) -> Result<Occurrence, Refusal> {
        let (cause, principal) = match by {
            By::Time(cause) => (cause, None),
            By::Hand(who) => (Cause::ByHand, Some(who.to_owned())),
        };
        let mut occurrence = Occurrence {
            schedule: schedule.id,
            due,
            until: due,
            count: 1,
            cause,
            fate: Fate::Waiting,
            why: String::new(),
            runs: Vec::new(),
            enrollments: Vec::new(),
            refused: Vec::new(),
            principal,
            at: unit.now(),
        };
        let open = open_runs(unit, schedule).await?;
        let who = match open.first() {
            Some(run) => Some(format!("run {}", run.id)),
            None => enrolling::waits_for(unit, schedule).await?,
        };
        if who.is_none() && schedule.waiting == 0 {
            self.act(unit, schedule, &mut occurrence).await?;
        } else {
            let who = who.unwrap_or_else(|| "an occurrence that waits".to_owned());
            self.overlap(unit, schedule, &mut occurrence, open, who).await?;
        }
        schedule.last = Some(Last { due, fate: occurrence.fate, why: occurrence.why.clone() });
        Ok(occurrence)
    }

    /// `who` of an earlier occurrence is open, or others wait for it.
    async fn overlap(
        &self,
        unit: &mut Unit<'_>,
        schedule: &mut Schedule,
        occurrence: &mut Occurrence,
        open: Vec<Run>,
        who: String,
    ) -> Result<(), Refusal> {
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
        let (mut refused, mut there) = (Vec::new(), 0);
        if self.admitted {
            for (target, ask) in self.aim.asks.clone() {
                let asked = self.asked(schedule, occurrence, &target);
                let answer = match ask {
                    Ok(ask) => self.engine.accept(unit, schedule, asked, ask).await,
                    Err(why) => Err(Refusal::not_now(why)),
                };
                match answer {
                    Ok(answer) if is_unchanged(&answer) => there += 1,
                    Ok(answer) => came_of(occurrence, &answer),
                    Err(Refusal::Store(error)) => return Err(error.into()),
                    Err(refusal) => refused.push((target, refusal.to_string())),
                }
            }
        }
        let accepted = occurrence.runs.len() + occurrence.enrollments.len();
        occurrence.fate = match (accepted, there, refused.len()) {
            (0, 1.., 0) => Fate::Skipped,
            (0, ..) => Fate::Refused,
            _ => Fate::Fired,
        };
        occurrence.why = self.sentence(schedule, occurrence, (accepted, there), &refused);
        refused.truncate(REFUSED_MAX);
        occurrence.refused = refused;
        schedule.open_runs.clone_from(&occurrence.runs);
        enrolling::remember(unit, schedule, &occurrence.enrollments).await?;
        schedule.last =
            Some(Last { due: occurrence.due, fate: occurrence.fate, why: occurrence.why.clone() });
        self.note(unit, schedule, occurrence);
        Ok(())
    }

    fn asked(&self, schedule: &Schedule, occurrence: &Occurrence, target: &str) -> Asked {
        Asked {
            principal: done_for(schedule, occurrence).to_owned(),
            method: "Schedules.Fire",
            // The same occurrence cannot ask for the same thing twice (P2).
            request_id: format!("{}.{}.{target}", schedule.id, occurrence.due.0),
            digest: self.engine.fingerprint(target.as_bytes()),
            peer: String::new(),
            verb: Verb::Operate,
        }
    }

    fn sentence(
        &self,
        schedule: &Schedule,
        occurrence: &Occurrence,
        (accepted, there): (usize, usize),
        refused: &[(String, String)],
    ) -> String {
        if !self.admitted
            && let Some(who) = &occurrence.principal
        {
            return format!(
                "{who}, who fired it by hand, may not have work done any more: whoever may, can fire it again"
            );
        }
        if !self.admitted {
            let who = &schedule.principal;
            return format!(
                "{who}, who made or changed this schedule last, may not have work done any more: whoever may, can take it over with \
                 `settlectl schedule edit`"
            );
        }
        match (&self.aim.nothing, accepted, refused) {
            (Some(nothing), _, _) => nothing.clone(),
            (None, 0, []) if there > 0 => format!("all {there} were enrolled before"),
            (None, n, []) if there > 0 => format!("{n} enrolled, {there} were enrolled before"),
            (None, _, []) => String::new(),
            (None, 0, [(target, why)]) => format!("{target}: {why}"),
            (None, 0, [(target, why), ..]) if there == 0 => {
                format!("all {} were refused, the first, {target}: {why}", refused.len())
            }
            (None, n, [(target, why), ..]) => {
                let before =
                    if there > 0 { format!("{there} were enrolled before, ") } else { String::new() };
                format!("{n} accepted, {before}{} refused, the first, {target}: {why}", refused.len())
            }
        }
    }

    fn note(&self, unit: &mut Unit<'_>, schedule: &Schedule, occurrence: &Occurrence) {
        let asked = self.asked(schedule, occurrence, "");
        let (result, why) = match occurrence.fate {
            Fate::Fired => (AuditResult::Accepted, String::new()),
            _ => (AuditResult::Refused(String::new()), format!("; {}", occurrence.why)),
        };
        let detail = format!("{}; {}{why}", occurrence.cause, amount(occurrence));
        unit.audit(AuditRow { object: schedule.name.clone(), detail, ..audit::row(&asked, result) });
    }
}

/// Whose what comes of an occurrence is.
pub(super) fn done_for<'a>(schedule: &'a Schedule, occurrence: &'a Occurrence) -> &'a str {
    occurrence.principal.as_deref().unwrap_or(&schedule.principal)
}

/// What came of it, for the audit.
fn amount(occurrence: &Occurrence) -> String {
    match occurrence.enrollments.len() {
        0 => format!("{} runs", occurrence.runs.len()),
        n => format!("{n} enrolled"),
    }
}

/// An enrollment that is there stays as it is.
fn is_unchanged(answer: &Answer) -> bool {
    answer.run.is_none() && answer.ids == [UNCHANGED]
}

fn came_of(occurrence: &mut Occurrence, answer: &Answer) {
    occurrence.runs.extend(answer.run.iter().filter_map(|run| run.id.parse::<RunId>().ok()));
    let enrolled = answer.enrollment.iter().filter_map(|row| row.id.parse::<EnrollmentId>().ok());
    occurrence.enrollments.extend(enrolled);
}

/// Stores an occurrence that came about just now. False: what became of its due time is stored already, and stays.
pub(super) async fn is_new(
    unit: &mut Unit<'_>,
    schedule: &Schedule,
    due: Timestamp,
) -> Result<bool, StoreError> {
    Ok(unit.db().await?.occurrence(schedule.id, due).await?.is_none())
}
