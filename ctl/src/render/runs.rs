//! Runs for people.

use jiff::Timestamp;
use settled_proto::v1::{Freshness, Outcome, Priority, Run, RunDiagnostics, RunState, StepState};

use super::resources::facts;
use super::story::wait_line;
use super::table::{self, Style};
use super::words::{word, word_or_empty};
use super::{grounds, text, verdict};

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
        let state = if run.cancel_requested { format!("{state}, cancelling") } else { state };
        let likely_stale = run.freshness == Freshness::LikelyStale as i32;
        return if likely_stale { format!("{state}, likely stale") } else { state };
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
        ("Likely stale", text::when(run.stale_at.as_ref(), now)),
        ("Settles by", text::when(run.settles_by.as_ref(), now)),
    ];
    let mut parts = vec![table::pairs(pairs, style)];
    if !run.steps.is_empty() || !run.step_titles.is_empty() {
        parts.push(steps(run, style, now));
    }
    if !run.parameters.is_empty() {
        parts.push(format!("Given for this run\n{}", facts(&run.parameters, style)));
    }
    if !run.outputs.is_empty() {
        parts.push(format!("Outputs of its steps\n{}", facts(&run.outputs, style)));
    }
    if completed {
        parts.push(verdict::verdict(run).join("\n"));
        parts.extend(grounds::shown(run, style));
        parts.extend(late(run, now));
    } else if let Some(diagnostics) = &run.diagnostics {
        parts.push(table::pairs(looked_after(diagnostics, now), style));
    }
    if !completed && !run.summary.is_empty() {
        parts.push(text::clean(&run.summary));
    }
    parts.join("\n\n")
}

/// Who looks after an open run, apart from the sentence on how it is.
fn looked_after(d: &RunDiagnostics, now: Timestamp) -> Vec<(&'static str, String)> {
    let owner = match (d.owner.is_empty(), d.owner_alive) {
        (true, _) => "nobody".to_owned(),
        (false, true) => format!("daemon {}", text::clean(&d.owner)),
        (false, false) => format!("daemon {}, whose lease has passed", text::clean(&d.owner)),
    };
    vec![
        ("Last progress", text::when(d.progress_at.as_ref(), now)),
        ("Likely stale after", format!("{} s without any", d.stale_after_s)),
        ("Lane", format!("{owner}, epoch {}", d.lane_epoch)),
        ("Lease until", text::when(d.owner_lease_until.as_ref(), now)),
        ("Unresolved", d.unresolved_step_ids.join(", ")),
    ]
}

/// What servers showed after the run was settled.
fn late(run: &Run, now: Timestamp) -> Option<String> {
    let told = run.steps.iter().filter_map(|step| {
        let late = step.late.as_ref()?;
        let when = text::when(late.at.as_ref(), now);
        Some(format!("Step {}, told {when}: {}.", step.index + 1, text::clean(&late.text)))
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| {
        let head = "Known since it was settled; the outcome stays:";
        [vec![head.to_owned()], told].concat().join("\n  ")
    })
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
    use settled_proto::v1::{Evidence, LateEvidence, Reason, Step};

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
            (
                Run {
                    state: RunState::Running as i32,
                    freshness: Freshness::LikelyStale as i32,
                    ..Run::default()
                },
                "running, likely stale",
            ),
            (Run { state: completed, outcome: Outcome::Succeeded as i32, ..Run::default() }, "succeeded"),
            (Run { state: completed, outcome: failed, ..Run::default() }, "failed"),
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

    #[test]
    fn p7_what_a_server_showed_late_stands_below_the_verdict() {
        let late = LateEvidence { text: "its server has the exit record".into(), ..LateEvidence::default() };
        let lost = Run {
            state: RunState::Completed as i32,
            outcome: Outcome::Failed as i32,
            reason: Reason::Lost as i32,
            evidence: Evidence::None as i32,
            steps: vec![Step { index: 1, late: Some(late), ..Step::default() }],
            ..Run::default()
        };
        let shown = show(&lost, Style::default(), Timestamp::UNIX_EPOCH);
        let (verdict, after) = shown.split_once("Known since it was settled; the outcome stays:").unwrap();
        assert!(verdict.contains("nobody can prove how it ended"), "{shown}");
        assert!(after.contains("Step 2") && after.contains("its server has the exit record"), "{shown}");
    }

    #[test]
    fn an_open_run_tells_who_looks_after_it_apart_from_the_sentence() {
        let diagnostics = RunDiagnostics {
            stale_after_s: 300,
            owner: "01D".into(),
            owner_alive: false,
            lane_epoch: 4,
            unresolved_step_ids: vec!["01R.0.1.1".into()],
            ..RunDiagnostics::default()
        };
        let run = Run {
            state: RunState::Running as i32,
            summary: "Running step 1, attempt 1 of 3.".into(),
            diagnostics: Some(diagnostics),
            ..Run::default()
        };
        let shown = show(&run, Style::default(), Timestamp::UNIX_EPOCH);
        assert!(shown.ends_with("\n\nRunning step 1, attempt 1 of 3."), "{shown}");
        for part in ["300 s without any", "daemon 01D, whose lease has passed, epoch 4", "01R.0.1.1"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
