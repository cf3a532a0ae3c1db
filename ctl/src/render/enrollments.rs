//! Enrollments and their log for people.

use jiff::Timestamp;
use settled_proto::v1::{EnrollResponse, Enrollment, EnrollmentStatus, Execution, ExecutionOutcome};

use super::table::{self, Style};
use super::text;
use super::words::word_or_empty;

/// How people call an enrollment.
pub(crate) fn address(e: &Enrollment) -> String {
    text::clean(&format!("{}/{}/{}", e.lifecycle, e.subject_type, e.subject_id))
}

/// A list of enrollments.
pub(crate) fn list(enrollments: &[Enrollment], style: Style, now: Timestamp) -> String {
    let row = |e: &Enrollment| {
        let status = word_or_empty::<EnrollmentStatus>(e.status);
        let due = text::age(e.executes_at.as_ref(), now);
        vec![address(e), status, text::clean(&e.stage), e.attempt.to_string(), due, text::short(&why(e), 60)]
    };
    let rows = enrollments.iter().map(row).collect();
    table::columns(
        &["enrollment", "status", "stage", "attempt", "due", "waits for, or last error"],
        rows,
        style,
    )
}

fn why(e: &Enrollment) -> String {
    if e.waits_for.is_empty() { e.last_error.clone() } else { format!("waits for {}", e.waits_for) }
}

/// One enrollment.
pub(crate) fn show(e: &Enrollment, style: Style, now: Timestamp) -> String {
    let pairs = vec![
        ("Enrollment", address(e)),
        ("Id", e.id.clone()),
        ("Status", word_or_empty::<EnrollmentStatus>(e.status)),
        ("Stage", format!("{} (version {})", text::clean(&e.stage), e.revision)),
        ("Attempt", e.attempt.to_string()),
        ("Put off", if e.deferrals == 0 { String::new() } else { format!("{} times", e.deferrals) }),
        ("Due", text::when(e.executes_at.as_ref(), now)),
        ("Waits for", text::clean(&e.waits_for)),
        ("Waits since", text::when(e.waits_since.as_ref(), now)),
        ("Run", e.run_id.clone()),
        ("Queue", text::clean(&e.queue)),
        ("Worker", text::clean(&e.worker)),
        ("Until", text::when(e.until.as_ref(), now)),
        ("Ended", text::when(e.ended_at.as_ref(), now)),
        ("Last error", text::clean(&e.last_error)),
        ("Payload", text::clean(&e.payload)),
        ("Enrolled", text::when(e.created_at.as_ref(), now)),
        ("By", text::clean(&e.principal)),
    ];
    table::pairs(pairs, style)
}

/// What an enrol has done.
pub(crate) fn enrolled(answer: &EnrollResponse, now: Timestamp) -> String {
    let Some(e) = &answer.enrollment else { return String::new() };
    let (address, stage) = (address(e), text::clean(&e.stage));
    match answer.change.as_str() {
        "unchanged" => {
            let status = word_or_empty::<EnrollmentStatus>(e.status);
            format!("{address} is enrolled already: {status}, at `{stage}`.")
        }
        "linked" => format!(
            "{address} is enrolled already, and goes on with what bears its name now: what it was about is not there any more."
        ),
        "reset" => format!("{address} begins anew at `{stage}`."),
        _ => {
            let due = text::age(e.executes_at.as_ref(), now);
            format!("{address} is enrolled: `{stage}` is due {due}.")
        }
    }
}

/// The log of executions.
pub(crate) fn log(executions: &[Execution], style: Style) -> String {
    let row = |e: &Execution| {
        let at = text::time(e.at.as_ref()).map(text::local).unwrap_or_default();
        let outcome = word_or_empty::<ExecutionOutcome>(e.outcome);
        let attempt = if e.attempt == 0 { String::new() } else { e.attempt.to_string() };
        let payload = if e.payload_before == e.payload_after {
            String::new()
        } else {
            text::short(&e.payload_after, 40)
        };
        vec![
            at,
            text::clean(&e.stage),
            attempt,
            outcome,
            text::short(&e.error, 60),
            payload,
            e.run_id.clone(),
        ]
    };
    let rows = executions.iter().map(row).collect();
    table::columns(&["at", "stage", "attempt", "outcome", "error", "payload after", "run"], rows, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enrollment_says_what_it_waits_for() {
        let enrollment = Enrollment {
            lifecycle: "trial".into(),
            subject_type: "user".into(),
            subject_id: "42".into(),
            status: EnrollmentStatus::Pending as i32,
            stage: "pay".into(),
            waits_for: "`payload.paid` to hold".into(),
            ..Enrollment::default()
        };
        let shown = show(&enrollment, Style::default(), Timestamp::UNIX_EPOCH);
        for part in ["trial/user/42", "pending", "pay (version 0)", "`payload.paid` to hold"] {
            assert!(shown.contains(part), "{shown}");
        }
        let listed = list(&[enrollment], Style::default(), Timestamp::UNIX_EPOCH);
        assert!(listed.contains("waits for `payload.paid` to hold"), "{listed}");
    }
}
