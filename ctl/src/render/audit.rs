//! The audit for people.

use jiff::Timestamp;
use settled_proto::v1::{AuditChange, AuditEntry, AuditResult, GetAuditResponse, Run, Verb};

use super::table::{self, Style};
use super::words::word_or_empty;
use super::{runs, text, transitions};

/// How much of the detail of a command a table has room for; `-o wide` shows all.
const DETAIL_MAX: usize = 60;

/// What was asked for, a line each.
pub(crate) fn list(entries: &[AuditEntry], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["number", "when", "who", "method", "object", "result", "detail"];
    if wide {
        headings.extend(["from", "run"]);
    }
    let rows = entries.iter().map(|a| {
        let mut row = vec![
            a.seq.to_string(),
            text::when(a.at.as_ref(), now),
            text::clean(&a.principal),
            text::clean(&a.method),
            text::clean(&a.object),
            result(a),
            if wide { text::clean(&a.detail) } else { text::short(&a.detail, DETAIL_MAX) },
        ];
        if wide {
            row.extend([text::clean(&a.peer), text::clean(&a.run_id)]);
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

fn result(entry: &AuditEntry) -> String {
    let word = word_or_empty::<AuditResult>(entry.result);
    if entry.code.is_empty() { word } else { format!("{word}: {}", text::clean(&entry.code)) }
}

/// One entry with what came of it.
pub(crate) fn show(found: &GetAuditResponse, style: Style, now: Timestamp) -> String {
    let nothing = AuditEntry::default();
    let a = found.entry.as_ref().unwrap_or(&nothing);
    let fields = [
        ("number", a.seq.to_string()),
        ("when", text::when(a.at.as_ref(), now)),
        ("who", text::clean(&a.principal)),
        ("from", text::clean(&a.peer)),
        ("method", format!("{} ({})", text::clean(&a.method), word_or_empty::<Verb>(a.verb))),
        ("object", text::clean(&a.object)),
        ("server", text::clean(&a.server)),
        ("result", result(a)),
        ("detail", text::clean(&a.detail)),
        ("run", found.run.as_ref().map_or_else(|| text::clean(&a.run_id), run)),
    ];
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let mut parts = vec![table::pairs(fields.collect(), style)];
    if !a.changes.is_empty() {
        parts.push(changes(&a.changes, style));
    }
    if !found.transitions.is_empty() {
        let lines: Vec<_> = found.transitions.iter().map(transitions::line).collect();
        parts.push(format!("Committed with it:\n{}", lines.join("\n")));
    }
    parts.join("\n\n")
}

fn run(run: &Run) -> String {
    format!("{} {}", run.id, runs::state(run))
}

fn changes(changes: &[AuditChange], style: Style) -> String {
    let told = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), text::clean);
    let rows = changes.iter().map(|c| vec![text::clean(&c.field), told(&c.old), told(&c.new)]);
    table::columns(&["field", "was", "is"], rows.collect(), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shows_what_was_changed_and_what_it_was_before() {
        let changes = vec![
            AuditChange {
                field: "web1/site/a parameters.root".into(),
                old: None,
                new: Some("/srv/a".into()),
            },
            AuditChange { field: "web1/site/a status".into(), old: Some("active".into()), new: None },
        ];
        let entry = AuditEntry {
            seq: 7,
            principal: "unix:7".into(),
            method: "Resources.Update".into(),
            verb: Verb::Operate.into(),
            result: AuditResult::Refused.into(),
            code: "NOT_FOUND".into(),
            changes,
            ..AuditEntry::default()
        };
        let found = GetAuditResponse { entry: Some(entry), ..GetAuditResponse::default() };
        let shown = show(&found, Style::default(), Timestamp::UNIX_EPOCH);
        for part in
            ["unix:7", "Resources.Update (operate)", "refused: NOT_FOUND", "parameters.root", "/srv/a"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
