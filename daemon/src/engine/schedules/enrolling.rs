//! Schedules that enrol: who is meant, whether that can be, and what one occurrence makes of it.
//!
//! There is one enrollment per lifecycle and subject, so an occurrence disturbs nobody who is under way, unless its schedule gives up what
//! came earlier. What is completed begins anew only when the schedule says so; what has failed waits for a person.

use std::collections::BTreeMap;

use super::super::{Answer, Asked, Engine, Enroll, Refusal, audit, valid};
use super::aim::{Aim, Ask, labelled};
use crate::domain::enrollment::{Enrollment, Status};
use crate::domain::id::EnrollmentId;
use crate::domain::schedule::{Enrolling, Overlap, Schedule, TARGETS_MAX, Whom};
use crate::store::queries::ResourceFilter;
use crate::store::rows::EnrollmentRow;
use crate::store::{AuditResult, AuditRow, Db, StoreError, Unit};

/// The word for an enrollment that is there and stays as it is.
pub(super) const UNCHANGED: &str = "unchanged";
/// The same, but for the server or resource that it is about: that was made anew under its name.
const LINKED: &str = "linked";
/// Rows that are read at once.
const PAGE: i64 = 500;

fn field(name: &str) -> String {
    format!("target.enrollment.{name}")
}

/// The form of what is asked for.
pub(super) fn check(enrolling: &Enrolling, problems: &mut valid::Problems) {
    if enrolling.lifecycle.is_empty() {
        problems.add(&field("lifecycle"), "is missing");
    }
    let many = |n: usize| match n {
        0 => Err("is empty".to_owned()),
        n if n > TARGETS_MAX => Err(format!("may be at most {TARGETS_MAX}")),
        _ => Ok(()),
    };
    match &enrolling.whom {
        Whom::Subjects(subjects) => problems.check(&field("subjects"), many(subjects.len())),
        Whom::Labelled { labels, .. } => {
            problems.check(&field("labels"), many(labels.len()).and_then(|()| valid::labels(labels)));
        }
    }
}

/// Refuses a target that names what is not there now.
pub(super) async fn check_there(
    engine: &Engine,
    unit: &mut Unit<'_>,
    enrolling: &Enrolling,
) -> Result<(), Refusal> {
    let subjects = match &enrolling.whom {
        Whom::Subjects(subjects) => subjects.as_slice(),
        Whom::Labelled { package, .. } => {
            if let Some(package) = package {
                engine.package(package).map_err(of_target)?;
            }
            &[]
        }
    };
    let checked = engine.check_enrolling(unit, &enrolling.lifecycle, subjects, &enrolling.payload).await;
    checked.map_err(of_target)
}

/// A refusal of a target, with the field that it is in.
fn of_target(refusal: Refusal) -> Refusal {
    let named = |name: &str| match name {
        "lifecycle" | "payload" | "package" => field(name),
        _ => field("subjects"),
    };
    match refusal {
        Refusal::NotFound { what, name } => {
            Refusal::field(named(what), format!("there is no {what} `{name}`"))
        }
        Refusal::Invalid(mut problems) => {
            for problem in &mut problems {
                problem.field = named(&problem.field);
            }
            Refusal::Invalid(problems)
        }
        other => other,
    }
}

impl Engine {
    /// Whom a schedule enrols now.
    pub(super) async fn aim_enrolling(&self, enrolling: &Enrolling) -> Result<Aim, StoreError> {
        let subjects = match &enrolling.whom {
            Whom::Subjects(subjects) => subjects.clone(),
            Whom::Labelled { labels, package } => {
                let mut reader = self.store().read().await?;
                labelled_subjects(&mut reader.db(), labels, package.as_deref()).await?
            }
        };
        Ok(match subjects.len() {
            0 => Aim::nothing(nobody(&enrolling.whom)),
            n if n > TARGETS_MAX => Aim::nothing(format!(
                "it is about more than {TARGETS_MAX} subjects, which is the most that one schedule may be about: make several, with \
                 narrower targets"
            )),
            _ => {
                let asks = subjects.into_iter().map(|subject| (subject.clone(), Ok(ask(enrolling, subject))));
                Aim { asks: asks.collect(), nothing: None }
            }
        })
    }

    /// Enrols one subject, within the unit of an occurrence. The answer holds the enrollment if it was made or began anew; else
    /// its word is [`UNCHANGED`].
    pub(super) async fn enroll_on_schedule(
        &self,
        unit: &mut Unit<'_>,
        schedule: &Schedule,
        asked: Asked,
        ask: Enroll,
    ) -> Result<Answer, Refusal> {
        let once = Enroll { again: false, ..ask.clone() };
        let (found, word) = self.enroll_within(unit, &asked, &once).await?;
        let (enrollment, word) = match word {
            UNCHANGED | LINKED if begins_anew(schedule, &found, ask.again) => {
                let anew = Enroll { again: true, cancel: true, ..ask };
                self.enroll_within(unit, &asked, &anew).await?
            }
            UNCHANGED => return Ok(Answer { ids: vec![UNCHANGED.to_owned()], ..Answer::default() }),
            word => (found, word),
        };
        unit.audit(AuditRow {
            object: format!("{}/{}", enrollment.code, enrollment.subject),
            detail: format!("{word}, by the schedule {}", schedule.name),
            ..audit::row(&asked, AuditResult::Accepted)
        });
        let enrollment = Some(Box::new(EnrollmentRow::from(&enrollment)));
        Ok(Answer { enrollment, ..Answer::default() })
    }
}

fn ask(enrolling: &Enrolling, subject: String) -> Ask {
    Ask::Enroll(Box::new(Enroll {
        lifecycle: enrolling.lifecycle.clone(),
        subject,
        payload: enrolling.payload.clone(),
        at: None,
        again: enrolling.again,
        cancel: false,
    }))
}

/// What is completed, when the schedule says so; and what an earlier occurrence began, when that gives way to a later one.
fn begins_anew(schedule: &Schedule, found: &Enrollment, again: bool) -> bool {
    match found.status() {
        Status::Completed => again,
        Status::Failed => false,
        Status::Pending | Status::Processing => {
            schedule.overlap == Overlap::CancelEarlier && schedule.open_enrollments.contains(&found.id)
        }
    }
}

fn nobody(whom: &Whom) -> String {
    let Whom::Labelled { labels, package } = whom else { return "there is nobody whom it names".to_owned() };
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let what = package.as_ref().map(|package| format!(" and `{package}` on it")).unwrap_or_default();
    format!("there is no server with the labels {}{what}", labels.join(", "))
}

/// Servers with these labels, or what they have of a package, as subjects.
async fn labelled_subjects(
    db: &mut Db<'_>,
    labels: &BTreeMap<String, String>,
    package: Option<&str>,
) -> Result<Vec<String>, StoreError> {
    let servers = labelled(db, labels).await?;
    let Some(package) = package else {
        return Ok(servers.into_iter().map(|server| format!("server/{}", server.name)).collect());
    };
    let mut subjects = Vec::new();
    for server in servers {
        let filter =
            ResourceFilter { server: Some(server.id), package: Some(package.to_owned()), status: None };
        let mut after = String::new();
        loop {
            let page = db.resources(&filter, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.id.to_string();
            subjects
                .extend(page.iter().map(|r| format!("resource/{}/{}/{}", r.server_name, r.package, r.name)));
            if subjects.len() > TARGETS_MAX {
                return Ok(subjects);
            }
        }
    }
    Ok(subjects)
}

/// The first of the enrollments of earlier occurrences that is under way still.
pub(super) async fn under_way(
    db: &mut Db<'_>,
    schedule: &Schedule,
) -> Result<Option<Enrollment>, StoreError> {
    for id in &schedule.open_enrollments {
        let found = db.enrollment(*id).await?;
        if let Some(found) = found.filter(is_under_way) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn is_under_way(enrollment: &Enrollment) -> bool {
    matches!(enrollment.status(), Status::Pending | Status::Processing)
}

/// What an occurrence of a schedule that lets what overlaps wait would wait for.
pub(super) async fn waits_for(
    unit: &mut Unit<'_>,
    schedule: &Schedule,
) -> Result<Option<String>, StoreError> {
    if schedule.overlap != Overlap::Queue {
        return Ok(None);
    }
    let found = under_way(unit.db().await?, schedule).await?;
    Ok(found.map(|found| format!("the enrollment {}/{}", found.code, found.subject)))
}

/// A schedule knows what may be under way of all that it has enrolled.
pub(super) async fn remember(
    unit: &mut Unit<'_>,
    schedule: &mut Schedule,
    enrolled: &[EnrollmentId],
) -> Result<(), StoreError> {
    let mut open = Vec::new();
    for id in std::mem::take(&mut schedule.open_enrollments) {
        let found = unit.db().await?.enrollment(id).await?;
        if !enrolled.contains(&id) && found.is_some_and(|found| is_under_way(&found)) {
            open.push(id);
        }
    }
    open.extend(enrolled);
    schedule.open_enrollments = open;
    Ok(())
}
