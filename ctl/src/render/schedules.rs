//! Schedules for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use settled_proto::v1::schedule_target::Target;
use settled_proto::v1::{
    Cause, EnrollmentTarget, Fate, MissedPolicy, Occurrence, OperationTarget, Overlap, Schedule,
};

use super::table::{self, Style};
use super::text;
use super::words::word_or_empty;

/// A list of schedules.
pub(crate) fn list(schedules: &[Schedule], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["name", "cron", "time zone", "does", "next", "last"];
    if wide {
        headings.extend(["id", "overlap", "missed", "principal", "waiting"]);
    }
    let rows = schedules.iter().map(|s| {
        let mut row = vec![
            text::clean(&s.name),
            text::clean(&s.cron),
            text::clean(&s.time_zone),
            text::short(&does(s), 60),
            next(s, now),
            last(s, now),
        ];
        if wide {
            row.push(s.id.clone());
            row.push(word_or_empty::<Overlap>(s.overlap));
            row.push(word_or_empty::<MissedPolicy>(s.missed));
            row.push(text::clean(&s.principal));
            row.push(s.waiting.to_string());
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

/// What a schedule does, in a few words.
pub(crate) fn does(s: &Schedule) -> String {
    match s.target.as_ref().and_then(|target| target.target.as_ref()) {
        Some(Target::Operation(operation)) => operated(operation),
        Some(Target::Enrollment(e)) => enrolled(e),
        Some(Target::Chore(chore)) => match chore.as_str() {
            "reconcile" => "settles what time has overtaken".to_owned(),
            "retention" => "lets go of old records".to_owned(),
            "compaction" => "lets go of old transitions".to_owned(),
            "enrollments" => "looks for enrollments that are due".to_owned(),
            "clean_enrollments" => "lets go of enrollments completed long ago".to_owned(),
            "clean_executions" => "lets go of old lines of the log of stages".to_owned(),
            "probes" => "looks at what is at rest on the servers".to_owned(),
            other => text::clean(other),
        },
        None => String::new(),
    }
}

fn operated(o: &OperationTarget) -> String {
    let what = match (o.package.as_str(), o.name.as_str()) {
        ("", _) => text::clean(&o.operation),
        (package, "") => format!("{} {}", text::clean(&o.operation), text::clean(package)),
        (package, name) => {
            format!("{} {}/{}", text::clean(&o.operation), text::clean(package), text::clean(name))
        }
    };
    let place = if !o.servers.is_empty() {
        format!("on {}", o.servers.join(", "))
    } else if !o.resources.is_empty() {
        format!("of {}", o.resources.join(", "))
    } else {
        let labels: Vec<String> = o.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("on servers with {}", labels.join(" "))
    };
    let given: Vec<String> = o.parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let given = if given.is_empty() { String::new() } else { format!(", {}", given.join(" ")) };
    text::clean(&format!("{what} {place}{given}"))
}

fn enrolled(e: &EnrollmentTarget) -> String {
    let labels: Vec<String> = e.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let whom = match (labels.is_empty(), e.package.as_str()) {
        (true, _) => e.subjects.join(", "),
        (false, "") => format!("servers with {}", labels.join(" ")),
        (false, package) => format!("{package} on servers with {}", labels.join(" ")),
    };
    let again = if e.again { ", again when completed" } else { "" };
    text::clean(&format!("enrolls {whom} in {}{again}", e.lifecycle))
}

fn next(s: &Schedule, now: Timestamp) -> String {
    match text::time(s.next_fire_at.as_ref()) {
        _ if s.paused => "paused".to_owned(),
        Some(at) => text::ago(at, now),
        None if s.built_in => "all the time".to_owned(),
        None => "never again".to_owned(),
    }
}

fn last(s: &Schedule, now: Timestamp) -> String {
    let Some(last) = &s.last else { return String::new() };
    let when = text::age(last.due.as_ref(), now);
    let why = if last.why.is_empty() { String::new() } else { format!(": {}", text::short(&last.why, 60)) };
    format!("{} {when}{why}", word_or_empty::<Fate>(last.fate))
}

/// How it stands, for a line of a watch.
pub(crate) fn state(s: &Schedule) -> String {
    let last = s.last.as_ref().map(|last| word_or_empty::<Fate>(last.fate)).unwrap_or_default();
    let paused = if s.paused { "paused" } else { "" };
    let parts: Vec<&str> = [paused, last.as_str()].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", last ")
}

/// One schedule: what it is, its next times, and what became of those that have passed.
pub(crate) fn show(
    s: &Schedule,
    times: &[prost_types::Timestamp],
    occurrences: &[Occurrence],
    style: Style,
    now: Timestamp,
) -> String {
    let span = |seconds: u32| if seconds == 0 { String::new() } else { format!("{seconds} s") };
    let missed = word_or_empty::<MissedPolicy>(s.missed);
    let within =
        if s.missed_within_s == 0 { missed } else { format!("{missed}, within {} s", s.missed_within_s) };
    let pairs = vec![
        ("Schedule", text::clean(&s.name)),
        ("Id", s.id.clone()),
        ("Cron", text::clean(&s.cron)),
        ("Time zone", text::clean(&s.time_zone)),
        ("Does", does(s)),
        ("Overlap", word_or_empty::<Overlap>(s.overlap)),
        ("Missed", within),
        ("Jitter", span(s.jitter_s)),
        ("Starts", text::when(s.starts_at.as_ref(), now)),
        ("Ends", text::when(s.ends_at.as_ref(), now)),
        ("Principal", text::clean(&s.principal)),
        ("Next", next(s, now)),
        ("Last", last(s, now)),
        ("Waiting", if s.waiting == 0 { String::new() } else { s.waiting.to_string() }),
        ("Open runs", s.open_run_ids.join(", ")),
        ("Enrolled", several("enrollment", &s.open_enrollment_ids)),
        ("Changed", if s.seq == 0 { String::new() } else { text::when(s.updated_at.as_ref(), now) }),
    ];
    let mut parts = vec![table::pairs(pairs, style)];
    if !times.is_empty() {
        let lines: Vec<String> = times.iter().filter_map(|at| wall(at, &s.time_zone, now)).collect();
        parts.push(format!("Next times\n{}", lines.join("\n")));
    }
    if !occurrences.is_empty() {
        parts.push(history(occurrences, style, now));
    }
    parts.join("\n\n")
}

/// A time to come on the wall of the schedule's zone.
fn wall(at: &prost_types::Timestamp, zone: &str, now: Timestamp) -> Option<String> {
    let at = text::time(Some(at))?;
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let shown = at.to_zoned(zone).strftime("%a %Y-%m-%d %H:%M:%S %Z");
    Some(format!("  {shown}  ({})", text::ago(at, now)))
}

fn history(occurrences: &[Occurrence], style: Style, now: Timestamp) -> String {
    let rows = occurrences.iter().map(|o| {
        let count = if o.count == 1 { String::new() } else { format!(" ({} times)", o.count) };
        vec![
            text::when(o.due.as_ref(), now),
            word_or_empty::<Cause>(o.cause),
            format!("{}{count}", word_or_empty::<Fate>(o.fate)),
            told(o),
        ]
    });
    format!(
        "History\n{}",
        table::columns(&["due", "cause", "fate", "what came of it"], rows.collect(), style)
    )
}

fn told(o: &Occurrence) -> String {
    let made = if o.enrollment_ids.is_empty() {
        several("run", &o.run_ids)
    } else {
        several("enrollment", &o.enrollment_ids)
    };
    match (made.is_empty(), o.why.is_empty()) {
        (true, _) => text::short(&o.why, 100),
        (false, true) => made,
        (false, false) => format!("{made}; {}", text::short(&o.why, 80)),
    }
}

/// Things of one kind by their ids: the only one, or how many and the first.
fn several(what: &str, ids: &[String]) -> String {
    match ids {
        [] => String::new(),
        [id] => format!("{what} {id}"),
        [first, ..] => format!("{} {what}s, the first {first}", ids.len()),
    }
}

/// What came of firing by hand.
pub(crate) fn fired(o: &Occurrence) -> String {
    let fate = Fate::try_from(o.fate).unwrap_or_default();
    let mut lines = vec![match fate {
        Fate::Fired => format!("Fired: {}.", told(o)),
        Fate::Waiting => format!("It {}.", text::clean(&o.why)),
        _ => format!("Nothing came of it ({}): {}.", word_or_empty::<Fate>(o.fate), text::clean(&o.why)),
    }];
    lines.extend(o.refused.iter().map(|r| format!("  {}: {}", text::clean(&r.target), text::clean(&r.why))));
    if let [run, ..] = &o.run_ids[..] {
        lines.push(format!("Follow it: settlectl run follow {run}"));
    }
    if let [enrollment, ..] = &o.enrollment_ids[..] {
        lines.push(format!("See how it goes: settlectl enrollment show {enrollment}"));
    }
    lines.join("\n")
}

/// Whether nothing was accepted.
pub(crate) fn came_to_nothing(o: &Occurrence) -> bool {
    !matches!(Fate::try_from(o.fate), Ok(Fate::Fired | Fate::Waiting))
}

/// What a resumed schedule does next.
pub(crate) fn resumed(s: &Schedule, now: Timestamp) -> String {
    let name = text::clean(&s.name);
    match text::time(s.next_fire_at.as_ref()) {
        Some(at) => format!("{name} is due again {}.", text::ago(at, now)),
        None => format!(
            "{name} is resumed, and nothing is due any more: see when it ends (settlectl schedule show {name})."
        ),
    }
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::{LastOccurrence, ScheduleTarget};

    use super::*;

    fn at(seconds: i64) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos: 0 }
    }

    fn schedule() -> Schedule {
        let operation = OperationTarget {
            package: "tls_certificate".into(),
            operation: "renew".into(),
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            ..OperationTarget::default()
        };
        Schedule {
            name: "renew".into(),
            cron: "30 2 * * *".into(),
            time_zone: "Europe/Berlin".into(),
            target: Some(ScheduleTarget { target: Some(Target::Operation(operation)) }),
            next_fire_at: Some(at(7_200)),
            last: Some(LastOccurrence {
                due: Some(at(0)),
                fate: Fate::Missed as i32,
                why: "no daemon was there".into(),
            }),
            ..Schedule::default()
        }
    }

    #[test]
    fn a_schedule_says_what_it_does_when_and_what_came_of_it() {
        let now = Timestamp::from_second(3_600).unwrap();
        let row = list(&[schedule()], false, Style::default(), now);
        for part in [
            "renew tls_certificate on servers with tier=web",
            "in 1 h",
            "missed 1 h ago: no daemon was there",
        ] {
            assert!(row.contains(part), "{part}: {row}");
        }
        let occurrence = Occurrence {
            due: Some(at(0)),
            count: 3,
            fate: Fate::Missed as i32,
            cause: Cause::Due as i32,
            why: "no daemon was there".into(),
            ..Occurrence::default()
        };
        let times = [at(7_200)];
        let shown = show(&schedule(), &times, &[occurrence], Style::default(), now);
        for part in ["Thu 1970-01-01 03:00:00 CET", "missed (3 times)", "due"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }

    #[test]
    fn enrolling_tells_whom_and_what_came_of_it() {
        let subjects = EnrollmentTarget {
            lifecycle: "trial".into(),
            subjects: vec!["user/42".into(), "user/43".into()],
            again: true,
            ..EnrollmentTarget::default()
        };
        let labels = EnrollmentTarget {
            lifecycle: "renewal".into(),
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            package: "site".into(),
            ..EnrollmentTarget::default()
        };
        for (target, expected) in [
            (subjects, "enrolls user/42, user/43 in trial, again when completed"),
            (labels, "enrolls site on servers with tier=web in renewal"),
        ] {
            let target = Some(ScheduleTarget { target: Some(Target::Enrollment(target)) });
            assert_eq!(does(&Schedule { target, ..schedule() }), expected);
        }
        let occurrence = Occurrence {
            fate: Fate::Fired as i32,
            why: "2 enrolled, 1 were enrolled before".into(),
            enrollment_ids: vec!["01E".into(), "02E".into()],
            ..Occurrence::default()
        };
        assert_eq!(
            fired(&occurrence),
            "Fired: 2 enrollments, the first 01E; 2 enrolled, 1 were enrolled before.\nSee how it goes: settlectl enrollment show 01E"
        );
    }

    #[test]
    fn paused_ended_and_built_in_schedules_are_told_apart() {
        let now = Timestamp::UNIX_EPOCH;
        let ended = Schedule { next_fire_at: None, ..schedule() };
        assert_eq!(next(&ended, now), "never again");
        assert_eq!(next(&Schedule { paused: true, ..ended.clone() }, now), "paused");
        assert_eq!(next(&Schedule { built_in: true, ..ended }, now), "all the time");
    }

    #[test]
    fn firing_tells_what_was_refused_and_how_to_follow_the_rest() {
        let occurrence = Occurrence {
            fate: Fate::Fired as i32,
            run_ids: vec!["01R".into()],
            refused: vec![settled_proto::v1::RefusedTarget {
                target: "web2".into(),
                why: "there is no server".into(),
            }],
            ..Occurrence::default()
        };
        assert_eq!(
            fired(&occurrence),
            "Fired: run 01R.\n  web2: there is no server\nFollow it: settlectl run follow 01R"
        );
        assert!(!came_to_nothing(&occurrence));
        assert!(came_to_nothing(&Occurrence { fate: Fate::Refused as i32, ..occurrence }));
    }
}
