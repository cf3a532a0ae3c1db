//! Runs for people.

use jiff::Timestamp;
use settled_proto::v1::{Outcome, Priority, Run, RunState, StepState};

use super::story::wait_line;
use super::table::{self, Style};
use super::words::{word, word_or_empty};
use super::{text, verdict};

/// A list of runs.
pub(crate) fn list(runs: &[Run], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["id", "resource", "operation", "state", "waiting", "age", "took"];
    if wide {
        headings.extend(["attempt", "principal", "summary"]);
    }
    let rows = runs.iter().map(|run| {
        let waiting = run.waiting.as_ref();
        let mut row = vec![
            run.id.clone(),
            verdict::subject(run),
            text::clean(&run.operation),
            state(run),
            waiting.map_or_else(String::new, |w| {
                text::short(&join(&word_or_empty::<settled_proto::v1::WaitReason>(w.reason), &w.who), 50)
            }),
            text::age(run.accepted_at.as_ref(), now),
            took(run, now),
        ];
        if wide {
            row.push(format!("{}/{}", run.attempt, run.max_attempts));
            row.push(text::clean(&run.principal));
            row.push(text::clean(&run.summary));
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

/// State while it is open, outcome with its marks when it is over.
pub(crate) fn state(run: &Run) -> String {
    if run.state != RunState::Completed as i32 {
        let state = word_or_empty::<RunState>(run.state);
        let state = if run.position > 0 { format!("{state} #{}", run.position) } else { state };
        return if run.cancel_requested { format!("{state}, cancelling") } else { state };
    }
    let mut words = word::<Outcome>(run.outcome).unwrap_or_else(|| "completed".to_owned());
    if verdict::unproven(run) {
        words.push_str(", unproven");
    }
    if run.reconciled {
        words.push_str(", reconciled");
    }
    words
}

fn took(run: &Run, now: Timestamp) -> String {
    text::time(run.started_at.as_ref()).map_or_else(String::new, |from| {
        text::span(from, text::time(run.completed_at.as_ref()).unwrap_or(now))
    })
}

fn join(word: &str, who: &str) -> String {
    if who.is_empty() { word.to_owned() } else { format!("{word}: {who}") }
}

/// One run with its steps and, when it is over, its verdict.
pub(crate) fn show(run: &Run, style: Style, now: Timestamp) -> String {
    let completed = run.state == RunState::Completed as i32;
    let attempts =
        if run.attempt > 0 { format!("{} of {}", run.attempt, run.max_attempts) } else { String::new() };
    let pairs = vec![
        ("Run", run.id.clone()),
        ("What", format!("{} of {}", text::clean(&run.operation), verdict::subject(run))),
        ("State", state(run)),
        ("Waiting", run.waiting.as_ref().map(wait_line).unwrap_or_default()),
        ("Attempt", attempts),
        ("Asked by", text::clean(&run.principal)),
        ("Priority", word_or_empty::<Priority>(run.priority)),
        ("Retry of", run.retry_of.clone()),
        ("Accepted", text::when(run.accepted_at.as_ref(), now)),
        ("Started", text::when(run.started_at.as_ref(), now)),
        ("Completed", text::when(run.completed_at.as_ref(), now)),
        ("Took", took(run, now)),
        ("Settles by", text::when(run.settles_by.as_ref(), now)),
    ];
    let mut parts = vec![table::pairs(pairs, style)];
    if !run.steps.is_empty() || !run.step_titles.is_empty() {
        parts.push(steps(run, style, now));
    }
    if completed {
        parts.push(verdict::verdict(run).join("\n"));
    } else if !run.summary.is_empty() {
        parts.push(text::clean(&run.summary));
    }
    parts.join("\n\n")
}

fn steps(run: &Run, style: Style, now: Timestamp) -> String {
    let all = run.step_titles.len();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for step in &run.steps {
        let mut how = word_or_empty::<StepState>(step.state);
        if let Some(code) = step.exit_code {
            how = if code == 0 { "exited 0".to_owned() } else { format!("failed, exit code {code}") };
        }
        if !step.why.is_empty() {
            how = format!("{how} ({})", text::clean(&step.why));
        }
        let took = text::time(step.started_at.as_ref()).map_or_else(String::new, |from| {
            text::span(from, text::time(step.ended_at.as_ref()).unwrap_or(now))
        });
        let again = format!("{}.{}", step.attempt, step.r#try);
        rows.push(vec![format!("{}/{}", step.index + 1, all), text::clean(&step.title), again, how, took]);
    }
    let begun = run.steps.iter().map(|s| s.index as usize + 1).max().unwrap_or(0);
    for (index, title) in run.step_titles.iter().enumerate().skip(begun) {
        let dash = "-".to_owned();
        rows.push(vec![
            format!("{}/{all}", index + 1),
            text::clean(title),
            String::new(),
            dash,
            String::new(),
        ]);
    }
    table::columns(&["step", "title", "attempt.try", "state", "took"], rows, style)
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::{Evidence, Reason};

    use super::*;

    #[test]
    fn a_list_marks_what_is_not_ordinary() {
        let completed = RunState::Completed as i32;
        let failed = Outcome::Failed as i32;
        let table = [
            (Run { state: RunState::Queued as i32, position: 2, ..Run::default() }, "queued #2"),
            (
                Run { state: RunState::Running as i32, cancel_requested: true, ..Run::default() },
                "running, cancelling",
            ),
            (Run { state: completed, outcome: Outcome::Succeeded as i32, ..Run::default() }, "succeeded"),
            (
                Run { state: completed, outcome: failed, reconciled: true, ..Run::default() },
                "failed, reconciled",
            ),
            (
                Run {
                    state: completed,
                    outcome: failed,
                    reason: Reason::Lost as i32,
                    evidence: Evidence::None as i32,
                    reconciled: true,
                    ..Run::default()
                },
                "failed, unproven, reconciled",
            ),
        ];
        for (run, expected) in table {
            assert_eq!(state(&run), expected);
        }
    }
}
