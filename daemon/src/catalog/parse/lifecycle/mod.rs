//! The text of a lifecycle becomes a [`Flow`], or the list of everything that is wrong with it, by line and field, like that of a package.
//!
//! Whether there are such packages, servers and parameters shows when a stage begins: they may come later than the lifecycle.

mod action;
mod stage;
mod subjects;

use toml::de::{DeTable, DeValue};

use super::reader::Table;
use super::report::Report;
use super::{DEFINITION_BYTES_MAX, Problem};
use crate::domain::lifecycle::{Activation, Flow, PAYLOAD_BYTES_DEFAULT};
use crate::domain::time::Timestamp;
use crate::domain::window::{WINDOWS_MAX, Window};

/// Most stages of a lifecycle.
const STAGES_MAX: usize = 64;
/// Largest payload that a definition may allow, in bytes: scripts get it as one value.
const PAYLOAD_BYTES_MAX: i64 = 64 * 1024;

/// Reads a lifecycle as its author wrote it. Never panics, whatever the text.
pub fn parse_lifecycle(text: &str) -> Result<Flow, Vec<Problem>> {
    if text.len() > DEFINITION_BYTES_MAX {
        let message = format!("has {} bytes; at most {DEFINITION_BYTES_MAX} are allowed", text.len());
        return Err(vec![Problem::whole(message)]);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut report = Report::new(text);
    for error in errors {
        report.add(error.span().map(|span| span.start), "", error.message());
    }
    report.check()?;
    let flow = read(Table::document(document.get_ref()), text, &mut report);
    report.check()?;
    flow.ok_or_else(|| vec![Problem::whole("is not a lifecycle")])
}

fn read(mut table: Table<'_>, text: &str, report: &mut Report<'_>) -> Option<Flow> {
    let code = table.required_text("code", report);
    if code.as_deref().is_some_and(|code| !is_label(code)) {
        table.problem("code", LABEL_RULE, report);
    }
    let name = table.line("name", report);
    let active = table.boolean("active", report).unwrap_or(true);
    let (starts_at, ends_at) = (table.moment("starts_at", report), table.moment("ends_at", report));
    if let (Some(starts), Some(ends)) = (starts_at, ends_at)
        && ends <= starts
    {
        table.problem("ends_at", "must be later than starts_at", report);
    }
    let activation = table.word("activation", Activation::ALL, Activation::parse, report);
    let time_zone = table.text("time_zone", report).unwrap_or_else(|| "UTC".to_owned());
    let payload_bytes_max = table.integer("payload_bytes_max", 2, PAYLOAD_BYTES_MAX, report);
    let subjects = subjects::read(&mut table, report);
    let (windows, blackouts) = (table.windows("windows", report), table.windows("blackouts", report));
    let stages = table.tables("stages", report);
    if stages.is_empty() {
        table.problem("stages", "a lifecycle has at least one stage, written [[stages]]", report);
    }
    if stages.len() > STAGES_MAX {
        let message = format!("has {} stages; at most {STAGES_MAX} are allowed", stages.len());
        table.problem("stages", message, report);
    }
    let stages = stage::all(stages, &windows.unwrap_or_default(), &blackouts.unwrap_or_default(), report);
    table.finish(report);
    Some(Flow {
        code: code?,
        name: name?,
        active,
        starts_at,
        ends_at,
        activation: activation.unwrap_or(Activation::Cron),
        time_zone,
        payload_bytes_max: payload_bytes_max
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(PAYLOAD_BYTES_DEFAULT),
        subjects,
        stages,
        source: text.to_owned(),
    })
}

/// The kinds of values that only lifecycles have.
impl Table<'_> {
    /// A point in time with its offset.
    fn moment(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Timestamp> {
        let text = match self.take(key)? {
            DeValue::Datetime(at) => at.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let at = text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_microsecond()));
        if at.is_none() {
            self.problem(key, "must be a time with its offset, like 2026-03-01T00:00:00Z", report);
        }
        at
    }

    /// One word of a vocabulary.
    fn word<T: std::fmt::Display>(
        &mut self,
        key: &'static str,
        all: &[T],
        parse: fn(&str) -> Option<T>,
        report: &mut Report<'_>,
    ) -> Option<T> {
        let text = self.text(key, report)?;
        let word = parse(&text);
        if word.is_none() {
            let words: Vec<_> = all.iter().map(ToString::to_string).collect();
            self.problem(key, format!("must be one of {}", words.join(", ")), report);
        }
        word
    }

    /// Windows in their text form.
    fn windows(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<Window>> {
        let texts = self.texts(key, report)?;
        if texts.len() > WINDOWS_MAX {
            self.problem(key, format!("must be at most {WINDOWS_MAX}"), report);
        }
        let mut windows = Vec::new();
        for text in texts {
            match text.parse::<Window>() {
                Ok(window) => windows.push(window),
                Err(bad) => self.problem(key, bad.to_string(), report),
            }
        }
        Some(windows)
    }
}

const LABEL_RULE: &str = "must be 1 to 40 lower case letters, digits, '-' and '_', and begin with a letter";

/// Codes of lifecycles and names of stages.
fn is_label(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests;
