//! The daemon and its audit for people.

use jiff::Timestamp;
use settled_proto::v1::{AuditEntry, Daemon, Drain, GetStatusResponse, ReconcileResponse};

use super::table::{self, Style};
use super::text;

/// How the daemon is.
pub(crate) fn status(s: &GetStatusResponse, style: Style, now: Timestamp) -> String {
    let servers: Vec<String> = s.servers.iter().map(|(reach, n)| format!("{n} {reach}")).collect();
    let pairs = vec![
        ("settled", text::clean(&s.version)),
        ("Installation", text::clean(&s.installation_id)),
        ("Started", text::when(s.started_at.as_ref(), now)),
        ("Database", text::clean(&s.database)),
        ("Position", format!("{}:{}", text::clean(&s.generation), s.seq)),
        ("Runs", format!("{} running, {} queued", s.runs_running, s.runs_queued)),
        ("Lanes", s.lanes.to_string()),
        ("Servers", if servers.is_empty() { "none yet".to_owned() } else { servers.join(", ") }),
    ];
    let mut lines = vec![table::pairs(pairs, style), String::new()];
    if s.daemons.len() > 1 {
        lines.extend([daemons(&s.daemons, style, now), String::new()]);
    }
    if s.drain.is_some() {
        lines.extend([drain(s.drain.as_ref(), now), String::new()]);
    }
    if s.warnings.is_empty() {
        lines.push("All is well.".to_owned());
    } else {
        lines.extend(s.warnings.iter().map(|w| format!("Not well: {}", text::clean(w))));
    }
    lines.join("\n")
}

/// How a daemon drains, and what it waits for.
pub(crate) fn drain(drain: Option<&Drain>, now: Timestamp) -> String {
    let Some(drain) = drain else { return "settled serves: it begins what is asked for.".to_owned() };
    let stops = drain.until.is_some();
    let begun = format!(
        "settled drains since {}, ordered by {}: nothing new is begun.",
        text::when(drain.since.as_ref(), now),
        text::clean(&drain.who)
    );
    let left = match (drain.runs.is_empty(), stops) {
        (true, true) => "Nothing is left to wait for: it ends.".to_owned(),
        (true, false) => "Nothing is left to wait for: it is drained.".to_owned(),
        (false, _) => waits_for(drain, now),
    };
    let next = if stops {
        format!(
            "What is left at {} goes on on its server, and the next start takes it up.",
            text::when(drain.until.as_ref(), now)
        )
    } else {
        "It serves again after: settlectl drain --cancel, or its next start.".to_owned()
    };
    [begun, left, next].join("\n")
}

/// The runs that a drain waits for.
pub(crate) fn waits_for(drain: &Drain, now: Timestamp) -> String {
    let n = drain.runs.len();
    let mut lines = vec![format!("It waits for {n} run{}:", if n == 1 { "" } else { "s" })];
    lines.extend(drain.runs.iter().map(|run| {
        let since = text::when(run.started_at.as_ref(), now);
        let (id, operation, server) =
            (text::clean(&run.id), text::clean(&run.operation), text::clean(&run.server));
        format!("  {id}  {operation} on {server}, begun {since}: {}", text::clean(&run.summary))
    }));
    lines.join("\n")
}

/// The daemons that share the store.
fn daemons(daemons: &[Daemon], style: Style, now: Timestamp) -> String {
    let row = |d: &Daemon| {
        let who = if d.answers { " (answers)" } else { "" };
        vec![
            format!("{}{who}", text::clean(&d.id)),
            text::clean(&d.version),
            text::when(d.started_at.as_ref(), now),
            d.lanes.to_string(),
        ]
    };
    table::columns(&["daemon", "version", "started", "lanes"], daemons.iter().map(row).collect(), style)
}

/// What the reconciler found and did.
pub(crate) fn reconciled(r: &ReconcileResponse) -> String {
    let mut lines = vec![format!(
        "Looked at {} open runs: settled {}, released {} lanes whose owner is gone.",
        r.examined,
        r.settled_run_ids.len(),
        r.lanes_released
    )];
    lines.extend(r.settled_run_ids.iter().map(|id| format!("  settlectl run show {}", text::clean(id))));
    lines.join("\n")
}

/// Commands, newest first.
pub(crate) fn audit(entries: &[AuditEntry], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["when", "who", "method", "object", "detail", "result", "run"];
    if wide {
        headings.push("id");
    }
    let rows = entries.iter().map(|a| {
        let mut row = vec![
            text::when(a.at.as_ref(), now),
            text::clean(&a.principal),
            text::clean(&a.method),
            text::clean(&a.object),
            text::clean(&a.detail),
            text::clean(&a.result),
            text::clean(&a.run_id),
        ];
        if wide {
            row.push(text::clean(&a.id));
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_take_the_place_of_all_is_well() {
        let mut answer = GetStatusResponse::default();
        let shown = |a: &GetStatusResponse| status(a, Style::default(), Timestamp::UNIX_EPOCH);
        assert!(shown(&answer).ends_with("All is well."));
        answer.warnings.push("The disk is nearly full.".into());
        assert!(shown(&answer).ends_with("Not well: The disk is nearly full."));
    }
}
