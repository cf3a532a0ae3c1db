//! The rows of schedules and of their occurrences.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{clean, corrupt, from_json, to_json, word};
use crate::domain::id::{EnrollmentId, RunId};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::schedule::{
    Cause, Chore, Enrolling, Fate, Last, Missed, Occurrence, On, Overlap, Schedule, Target, Whom, Work,
};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// A target: a chore, an enrolling, or an operation on exactly one of servers, labels and resources.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct TargetJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    chore: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolling: Option<EnrollingJson>,
    package: String,
    operation: String,
    name: String,
    parameters: Params,
    servers: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    resources: Option<Vec<String>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct EnrollingJson {
    lifecycle: String,
    payload: String,
    again: bool,
    subjects: Option<Vec<String>>,
    labels: BTreeMap<String, String>,
    package: Option<String>,
}

impl From<&Enrolling> for EnrollingJson {
    fn from(enrolling: &Enrolling) -> Self {
        let Enrolling { lifecycle, whom, payload, again } = enrolling.clone();
        let json = Self { lifecycle, payload, again, ..Self::default() };
        match whom {
            Whom::Subjects(subjects) => Self { subjects: Some(subjects), ..json },
            Whom::Labelled { labels, package } => Self { labels, package, ..json },
        }
    }
}

impl From<EnrollingJson> for Enrolling {
    fn from(json: EnrollingJson) -> Self {
        let EnrollingJson { lifecycle, payload, again, subjects, labels, package } = json;
        let whom = subjects.map_or(Whom::Labelled { labels, package }, Whom::Subjects);
        Self { lifecycle, whom, payload, again }
    }
}

#[derive(Serialize, Deserialize)]
struct LastJson {
    due: i64,
    fate: String,
    why: String,
}

fn target_to_json(target: &Target) -> String {
    let json = match target {
        Target::Chore(chore) => TargetJson { chore: Some(chore.to_string()), ..TargetJson::default() },
        Target::Enrolling(enrolling) => {
            TargetJson { enrolling: Some(enrolling.into()), ..TargetJson::default() }
        }
        Target::Work(work) => {
            let (mut servers, mut labels, mut resources) = (None, None, None);
            match &work.on {
                On::Servers(names) => servers = Some(names.clone()),
                On::Labels(all) => labels = Some(all.clone()),
                On::Resources(paths) => resources = Some(paths.clone()),
            }
            TargetJson {
                package: work.package.clone(),
                operation: work.operation.to_string(),
                name: work.name.clone(),
                parameters: work.parameters.clone(),
                servers,
                labels,
                resources,
                ..TargetJson::default()
            }
        }
    };
    to_json(&json)
}

fn target_from_json(text: &str) -> Result<Target, StoreError> {
    let json: TargetJson = from_json("target", text)?;
    if let Some(chore) = &json.chore {
        return Ok(Target::Chore(word("chore", chore, Chore::parse)?));
    }
    if let Some(enrolling) = json.enrolling {
        return Ok(Target::Enrolling(enrolling.into()));
    }
    let on = match (json.servers, json.labels, json.resources) {
        (Some(servers), None, None) => On::Servers(servers),
        (None, Some(labels), None) => On::Labels(labels),
        (None, None, Some(resources)) => On::Resources(resources),
        _ => return Err(corrupt("target", text)),
    };
    let operation = Operation::from_word(&json.operation);
    let (package, name, parameters) = (json.package, json.name, json.parameters);
    Ok(Target::Work(Work { package, operation, name, on, parameters }))
}

fn runs_to_json(runs: &[RunId]) -> String {
    to_json(&runs.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn runs_from_json(text: &str) -> Result<Vec<RunId>, StoreError> {
    let ids: Vec<String> = from_json("run ids", text)?;
    ids.iter().map(|id| id.parse().map_err(|_| corrupt("run id", id))).collect()
}

fn enrollments_to_json(enrollments: &[EnrollmentId]) -> String {
    to_json(&enrollments.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn enrollments_from_json(text: &str) -> Result<Vec<EnrollmentId>, StoreError> {
    let ids: Vec<String> = from_json("enrollment ids", text)?;
    ids.iter().map(|id| id.parse().map_err(|_| corrupt("enrollment id", id))).collect()
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

fn span(what: &str, micros: i64) -> Result<Duration, StoreError> {
    u64::try_from(micros).map(Duration::from_micros).map_err(|_| corrupt(what, &micros.to_string()))
}

/// A schedule as stored.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct ScheduleRow {
    pub id: String,
    pub name: String,
    pub cron: String,
    pub time_zone: String,
    pub target: String,
    pub overlap: String,
    pub missed: String,
    pub missed_within: Option<i64>,
    pub jitter: i64,
    pub starts_at: Option<i64>,
    pub ends_at: Option<i64>,
    pub paused: bool,
    pub principal: String,
    pub next_due: Option<i64>,
    pub fire_at: Option<i64>,
    pub open_runs: String,
    pub open_enrollments: String,
    pub waiting: i64,
    pub last: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub seq: i64,
}

impl From<&Schedule> for ScheduleRow {
    fn from(s: &Schedule) -> Self {
        let last =
            |last: &Last| LastJson { due: last.due.0, fate: last.fate.to_string(), why: clean(&last.why) };
        Self {
            id: s.id.to_string(),
            name: s.name.clone(),
            cron: s.cron.clone(),
            time_zone: s.time_zone.clone(),
            target: target_to_json(&s.target),
            overlap: s.overlap.to_string(),
            missed: s.missed.to_string(),
            missed_within: s.missed_within.map(micros),
            jitter: micros(s.jitter),
            starts_at: s.starts_at.map(|t| t.0),
            ends_at: s.ends_at.map(|t| t.0),
            paused: s.paused,
            principal: s.principal.clone(),
            next_due: s.next_due.map(|t| t.0),
            fire_at: s.next_fire_at().map(|t| t.0),
            open_runs: runs_to_json(&s.open_runs),
            open_enrollments: enrollments_to_json(&s.open_enrollments),
            waiting: s.waiting,
            last: s.last.as_ref().map(|l| to_json(&last(l))),
            created_at: s.created_at.0,
            updated_at: s.updated_at.0,
            version: s.version,
            seq: s.seq,
        }
    }
}

fn last_from_json(text: &str) -> Result<Last, StoreError> {
    let json: LastJson = from_json("last occurrence", text)?;
    Ok(Last { due: Timestamp(json.due), fate: word("fate", &json.fate, Fate::parse)?, why: json.why })
}

impl TryFrom<ScheduleRow> for Schedule {
    type Error = StoreError;

    fn try_from(row: ScheduleRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("schedule id", &row.id))?,
            name: row.name,
            cron: row.cron,
            time_zone: row.time_zone,
            target: target_from_json(&row.target)?,
            overlap: word("overlap", &row.overlap, Overlap::parse)?,
            missed: word("policy", &row.missed, Missed::parse)?,
            missed_within: row.missed_within.map(|us| span("limit", us)).transpose()?,
            jitter: span("jitter", row.jitter)?,
            starts_at: row.starts_at.map(Timestamp),
            ends_at: row.ends_at.map(Timestamp),
            paused: row.paused,
            principal: row.principal,
            next_due: row.next_due.map(Timestamp),
            open_runs: runs_from_json(&row.open_runs)?,
            open_enrollments: enrollments_from_json(&row.open_enrollments)?,
            waiting: row.waiting,
            last: row.last.as_deref().map(last_from_json).transpose()?,
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            version: row.version,
            seq: row.seq,
        })
    }
}

/// An occurrence as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct OccurrenceRow {
    pub schedule_id: String,
    pub due: i64,
    pub until: i64,
    pub count: i64,
    pub cause: String,
    pub fate: String,
    pub why: String,
    pub runs: String,
    pub enrollments: String,
    pub refused: String,
    pub principal: Option<String>,
    pub at: i64,
}

impl From<&Occurrence> for OccurrenceRow {
    fn from(o: &Occurrence) -> Self {
        let refused: Vec<_> = o.refused.iter().map(|(target, why)| (clean(target), clean(why))).collect();
        Self {
            schedule_id: o.schedule.to_string(),
            due: o.due.0,
            until: o.until.0,
            count: o.count,
            cause: o.cause.to_string(),
            fate: o.fate.to_string(),
            why: clean(&o.why),
            runs: runs_to_json(&o.runs),
            enrollments: enrollments_to_json(&o.enrollments),
            refused: to_json(&refused),
            principal: o.principal.clone(),
            at: o.at.0,
        }
    }
}

impl TryFrom<OccurrenceRow> for Occurrence {
    type Error = StoreError;

    fn try_from(row: OccurrenceRow) -> Result<Self, StoreError> {
        Ok(Self {
            schedule: row.schedule_id.parse().map_err(|_| corrupt("schedule id", &row.schedule_id))?,
            due: Timestamp(row.due),
            until: Timestamp(row.until),
            count: row.count,
            cause: word("cause", &row.cause, Cause::parse)?,
            fate: word("fate", &row.fate, Fate::parse)?,
            why: row.why,
            runs: runs_from_json(&row.runs)?,
            enrollments: enrollments_from_json(&row.enrollments)?,
            refused: from_json("refusals", &row.refused)?,
            principal: row.principal,
            at: Timestamp(row.at),
        })
    }
}
