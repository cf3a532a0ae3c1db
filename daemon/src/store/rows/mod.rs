//! Rows: how objects are stored, and the same rows as JSON, how transitions and answers carry them.
//!
//! Each row converts from and to its domain type here and nowhere else. Words outside a vocabulary are `Corrupt`, never guessed.

mod enrollment;
mod grounds;
mod lifecycle;
mod notice;
mod resource;
mod run;
mod schedule;
mod server;
mod step;
mod transition;

pub use enrollment::{EnrollmentRow, ExecutionRow};
pub use lifecycle::LifecycleRow;
pub(in crate::store) use notice::notice_to_json;
pub use notice::{DeliveryRow, NotifierRow};
pub use resource::ResourceRow;
pub use run::RunRow;
pub use schedule::{OccurrenceRow, ScheduleRow};
pub use server::ServerRow;
pub use step::{StepRecord, StepRow};
pub use transition::{Change, Kind, Object, TransitionRow};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::domain::failure::Failure;
use crate::domain::resource::{Difference, Observed, Presence};
use crate::domain::time::Timestamp;

#[derive(Serialize, Deserialize)]
struct FailureJson {
    step: String,
    exit_code: Option<i32>,
    message: String,
    last_lines: String,
    run: String,
    at: i64,
}

#[derive(Serialize, Deserialize)]
struct ObservedJson {
    presence: String,
    facts: BTreeMap<String, String>,
    /// Fact, expected, found.
    differs: Vec<(String, String, String)>,
    at: i64,
}

/// Text that comes from servers: PostgreSQL cannot store NUL, and nobody may stop a lane by saying one.
pub(in crate::store) fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn corrupt(what: &str, value: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} `{value}`"))
}

pub(in crate::store) fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    // Maps with text keys, lists and plain structs of ours always have a JSON form; the fallback can only be refused on reading.
    serde_json::to_string(value).unwrap_or_default()
}

pub(in crate::store) fn from_json<'a, T: Deserialize<'a>>(
    what: &str,
    text: &'a str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| corrupt(what, text))
}

fn failure_to_json(f: &Failure) -> String {
    to_json(&FailureJson {
        step: f.step.clone(),
        exit_code: f.exit_code,
        message: f.message.clone(),
        last_lines: f.last_lines.clone(),
        run: f.run.to_string(),
        at: f.at.0,
    })
}

fn failure_from_json(text: Option<&String>) -> Result<Option<Failure>, StoreError> {
    let Some(text) = text else { return Ok(None) };
    let json: FailureJson = from_json("failure", text)?;
    Ok(Some(Failure {
        step: json.step,
        exit_code: json.exit_code,
        message: json.message,
        last_lines: json.last_lines,
        run: json.run.parse().map_err(|_| corrupt("run id", &json.run))?,
        at: Timestamp(json.at),
    }))
}

fn observed_to_json(o: &Observed) -> String {
    let differs = o.differs.iter().map(|d| (d.fact.clone(), d.expected.clone(), d.found.clone())).collect();
    let (presence, facts) = (o.presence.to_string(), o.facts.clone());
    to_json(&ObservedJson { presence, facts, differs, at: o.at.0 })
}

fn observed_from_json(text: Option<&String>) -> Result<Option<Observed>, StoreError> {
    let Some(text) = text else { return Ok(None) };
    let json: ObservedJson = from_json("observation", text)?;
    let presence = Presence::parse(&json.presence).ok_or_else(|| corrupt("presence", &json.presence))?;
    let difference = |(fact, expected, found)| Difference { fact, expected, found };
    let differs = json.differs.into_iter().map(difference).collect();
    Ok(Some(Observed { presence, facts: json.facts, differs, at: Timestamp(json.at) }))
}

/// Parses a stored word of a closed vocabulary.
fn word<T>(what: &str, text: &str, parse: fn(&str) -> Option<T>) -> Result<T, StoreError> {
    parse(text).ok_or_else(|| corrupt(what, text))
}
