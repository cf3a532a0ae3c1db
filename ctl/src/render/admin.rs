//! The daemon for people.

use jiff::Timestamp;
use settled_proto::v1::{
    Daemon, Drain, GetStatusResponse, Reason, ReconcileResponse, Role, SettledRun, StaleRun, WhoAmIResponse,
};

use super::table::{self, Style};
use super::text;
use super::words::word_or_empty;

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

/// Who asks.
pub(crate) fn whoami(answer: &WhoAmIResponse) -> String {
    let who = format!("{} ({})", text::clean(&answer.principal), word_or_empty::<Role>(answer.role));
    let servers: Vec<_> = answer.servers.iter().map(|selector| text::clean(selector)).collect();
    if servers.is_empty() { who } else { format!("{who} on {}", servers.join(", ")) }
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
        let drains = if d.serves { "" } else { " (drains)" };
        vec![
            format!("{}{who}", text::clean(&d.id)),
            text::clean(&d.version),
            text::when(d.started_at.as_ref(), now),
            format!("{}{drains}", d.lanes),
        ]
    };
    table::columns(&["daemon", "version", "started", "lanes"], daemons.iter().map(row).collect(), style)
}

/// What the reconciler found and did.
pub(crate) fn reconciled(r: &ReconcileResponse, now: Timestamp) -> String {
    let mut lines = vec![format!("Looked at {}.", many(r.examined, "open run"))];
    if !r.settled.is_empty() {
        let settled = many(r.settled.len() as u64, "run");
        lines.push(format!("Settled {settled} whose time had passed:"));
        lines.extend(r.settled.iter().map(settled_line));
    }
    if !r.released.is_empty() {
        let released = many(r.released.len() as u64, "lane");
        lines.push(format!("Released {released} whose owner is gone; whoever is free takes them up:"));
        lines.extend(
            r.released.iter().map(|lane| {
                format!("  {}, of daemon {}", text::clean(&lane.server), text::clean(&lane.owner))
            }),
        );
    }
    if !r.likely_stale.is_empty() {
        let stale = many(r.likely_stale.len() as u64, "open run");
        lines.push(format!("Likely stale: {stale}. Nothing needs to be done, they settle by themselves:"));
        lines.extend(r.likely_stale.iter().map(|run| stale_line(run, now)));
    }
    if let Some(until) = text::time(r.grace_until.as_ref()) {
        lines.push(format!(
            "Nothing is settled by time before {}: this daemon has just started, slept or lost its lease, and asks the servers first.",
            text::local(until)
        ));
    }
    if r.settled.is_empty() && r.released.is_empty() {
        lines.push("There was nothing to do.".to_owned());
    }
    lines.join("\n")
}

fn settled_line(run: &SettledRun) -> String {
    let late = match (text::time(run.settles_by.as_ref()), text::time(run.settled_at.as_ref())) {
        (Some(due), Some(at)) => format!(", {} after its time", text::span(due, at)),
        _ => String::new(),
    };
    let reason = word_or_empty::<Reason>(run.reason);
    let (id, server) = (text::clean(&run.run_id), text::clean(&run.server));
    format!("  {id} on {server}: {reason}{late} (settlectl run show {id})")
}

fn stale_line(run: &StaleRun, now: Timestamp) -> String {
    let (id, server) = (text::clean(&run.run_id), text::clean(&run.server));
    let (heard, by) = (text::age(run.progress_at.as_ref(), now), text::age(run.settles_by.as_ref(), now));
    format!("  {id} on {server}: something last happened to it {heard}; it settles {by} at the latest")
}

/// `1 lane`, `2 lanes`.
fn many(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::ReleasedLane;

    use super::*;

    #[test]
    fn warnings_take_the_place_of_all_is_well() {
        let mut answer = GetStatusResponse::default();
        let shown = |a: &GetStatusResponse| status(a, Style::default(), Timestamp::UNIX_EPOCH);
        assert!(shown(&answer).ends_with("All is well."));
        answer.warnings.push("The disk is nearly full.".into());
        assert!(shown(&answer).ends_with("Not well: The disk is nearly full."));
    }

    #[test]
    fn p6_a_report_names_what_was_settled_how_late_and_whose_lanes_are_free() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let report = ReconcileResponse {
            examined: 3,
            settled: vec![SettledRun {
                run_id: "01A".into(),
                server: "web1".into(),
                reason: Reason::Lost as i32,
                settles_by: at(100),
                settled_at: at(112),
            }],
            released: vec![ReleasedLane { server: "web2".into(), owner: "01D".into() }],
            likely_stale: vec![StaleRun {
                run_id: "01B".into(),
                server: "web3".into(),
                progress_at: at(0),
                settles_by: at(720),
            }],
            grace_until: None,
        };
        assert_eq!(
            reconciled(&report, Timestamp::from_second(120).unwrap()).lines().collect::<Vec<_>>(),
            [
                "Looked at 3 open runs.",
                "Settled 1 run whose time had passed:",
                "  01A on web1: lost, 12 s after its time (settlectl run show 01A)",
                "Released 1 lane whose owner is gone; whoever is free takes them up:",
                "  web2, of daemon 01D",
                "Likely stale: 1 open run. Nothing needs to be done, they settle by themselves:",
                "  01B on web3: something last happened to it 2 min ago; it settles in 10 min at the latest",
            ]
        );
        let idle = ReconcileResponse { grace_until: at(130), ..ReconcileResponse::default() };
        let said = reconciled(&idle, Timestamp::UNIX_EPOCH);
        assert!(said.starts_with("Looked at 0 open runs.\nNothing is settled by time before "), "{said}");
        assert!(said.ends_with("There was nothing to do."), "{said}");
    }
}
