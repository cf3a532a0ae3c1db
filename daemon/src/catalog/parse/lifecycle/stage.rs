//! `[[stages]]`: name, gate, action, and how it is repeated and waited for.

use std::time::Duration;

use super::super::reader::Table;
use super::super::report::Report;
use super::{LABEL_RULE, action, is_label};
use crate::domain::lifecycle::{
    AGAIN_DEFAULT, ATTEMPTS_DEFAULT, BACKOFF_DEFAULT, Gate, Stage, Then, WAIT_DEFAULT,
};
use crate::domain::window::Window;

/// Most executions of a stage.
const ATTEMPTS_MAX: i64 = 100;
/// Longest pause and longest wait.
const SPAN_MAX: Duration = Duration::from_secs(366 * 86_400);

/// All stages; those that say nothing of windows have those of the lifecycle.
pub(super) fn all(
    tables: Vec<Table<'_>>,
    windows: &[Window],
    blackouts: &[Window],
    report: &mut Report<'_>,
) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for table in tables {
        let (at, path) = (table.start(), table.path().to_owned());
        let Some(stage) = read(table, windows, blackouts, report) else { continue };
        if stages.iter().any(|before| before.name == stage.name) {
            report.add(at, &path, format!("there are two stages `{}`", stage.name));
        }
        stages.push(stage);
    }
    stages
}

fn read(
    mut table: Table<'_>,
    windows: &[Window],
    blackouts: &[Window],
    report: &mut Report<'_>,
) -> Option<Stage> {
    let name = table.required_text("name", report);
    if name.as_deref().is_some_and(|name| !is_label(name)) {
        table.problem("name", LABEL_RULE, report);
    }
    let summary = if table.has("summary") { table.line("summary", report) } else { None };
    let gate = table.table("gate", report).map(|gate| read_gate(gate, report));
    let action = action::read(&mut table, report);
    let attempts = table.integer("attempts", 1, ATTEMPTS_MAX, report);
    let backoff = table.span("backoff", SPAN_MAX, report);
    let max_wait = table.span("max_wait", SPAN_MAX, report);
    let then = table.word("then", Then::ALL, Then::parse, report).unwrap_or(Then::Fail);
    if then == Then::GoOn && gate.is_none() {
        table.problem("then", "without a gate there is nothing that it could go on in spite of", report);
    }
    let own_windows = table.windows("windows", report);
    let own_blackouts = table.windows("blackouts", report);
    table.finish(report);
    Some(Stage {
        name: name?,
        summary: summary.unwrap_or_default(),
        gate,
        action: action?,
        attempts: attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or(ATTEMPTS_DEFAULT),
        backoff: backoff.unwrap_or(BACKOFF_DEFAULT),
        max_wait: max_wait.unwrap_or(WAIT_DEFAULT),
        then,
        windows: own_windows.unwrap_or_else(|| windows.to_vec()),
        blackouts: own_blackouts.unwrap_or_else(|| blackouts.to_vec()),
    })
}

fn read_gate(mut table: Table<'_>, report: &mut Report<'_>) -> Gate {
    let probe = table.table("probe", report).map(|probe| action::read_target(probe, report));
    let (when, until) = (table.expression("when", report), table.expression("until", report));
    let again = table.span("again", SPAN_MAX, report).unwrap_or(AGAIN_DEFAULT);
    if probe.is_none() && !table.has("when") && !table.has("until") {
        report.add(table.start(), table.path(), "needs `when`, `until` or `probe`");
    }
    table.finish(report);
    Gate { probe, when, until, again }
}
