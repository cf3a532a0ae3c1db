//! Lifecycles for people.

use settled_proto::v1::{
    Activation, ApplyLifecycleResponse, CleanLifecyclesResponse, Lifecycle, LifecycleProblem,
    RunLifecycleResponse,
};

use super::table::{self, Style};
use super::text;
use super::words::word_or_empty;

/// A list of lifecycles.
pub(crate) fn list(lifecycles: &[Lifecycle], style: Style) -> String {
    let row = |l: &Lifecycle| {
        vec![text::clean(&l.code), state(l), l.revision.to_string(), l.stages.join(" "), text::clean(&l.name)]
    };
    let rows = lifecycles.iter().map(row).collect();
    table::columns(&["code", "state", "version", "stages", "name"], rows, style)
}

fn state(l: &Lifecycle) -> String {
    let active = if l.active { "active" } else { "inactive" };
    let by_hand = if l.activation == Activation::Hand as i32 { ", by hand" } else { "" };
    format!("{active}{by_hand}")
}

/// One lifecycle.
pub(crate) fn show(l: &Lifecycle, style: Style) -> String {
    let at = |at| text::time(at).map(text::local).unwrap_or_default();
    let counts: Vec<_> = l.enrollments.iter().map(|(status, n)| format!("{n} {status}")).collect();
    let pairs = vec![
        ("Lifecycle", text::clean(&l.code)),
        ("Name", text::clean(&l.name)),
        ("State", state(l)),
        ("Activation", word_or_empty::<Activation>(l.activation)),
        ("Begins", at(l.starts_at.as_ref())),
        ("Ends", at(l.ends_at.as_ref())),
        ("Version", l.revision.to_string()),
        ("Stages", l.stages.join(", ")),
        ("Enrollments", counts.join(", ")),
    ];
    table::pairs(pairs, style)
}

/// What an apply has done.
pub(crate) fn applied(answer: &ApplyLifecycleResponse, dry: bool) -> String {
    let (code, version) =
        answer.lifecycle.as_ref().map_or((String::new(), 0), |l| (text::clean(&l.code), l.revision));
    if dry {
        return format!("A dry run, nothing was stored. {code}: {}, version {version}.", answer.change);
    }
    match answer.change.as_str() {
        "unchanged" => format!("{code} says already what the file says: version {version}."),
        change => format!("{code} is {change}: version {version}."),
    }
}

/// What is worked off.
pub(crate) fn ran(answer: &RunLifecycleResponse) -> String {
    if answer.codes.is_empty() {
        return "No lifecycle is active.".to_owned();
    }
    let codes: Vec<_> = answer.codes.iter().map(|code| text::clean(code)).collect();
    format!("What is due now is worked off: {}.", codes.join(", "))
}

/// What a clean-up has done, or would do.
pub(crate) fn cleaned(answer: &CleanLifecyclesResponse, dry: bool) -> String {
    let verb = if dry { "would be removed" } else { "were removed" };
    format!("{} completed enrollments and {} lines of the log {verb}.", answer.enrollments, answer.executions)
}

/// One thing that is wrong, in the form that editors understand.
pub(crate) fn problem(file: &str, p: &LifecycleProblem) -> String {
    let place = if p.line > 0 { format!("{file}:{}", p.line) } else { file.to_owned() };
    let field = if p.field.is_empty() { String::new() } else { format!("{}: ", text::clean(&p.field)) };
    format!("{place}: {field}{}", text::clean(&p.message))
}
