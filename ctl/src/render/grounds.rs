//! What a verdict rests on, as a list of what is known.

use settled_proto::v1::{Evidence, Grounds, Presence, Run};

use super::table::{self, Style};
use super::text;
use super::words::{word, word_or_empty};

/// The grounds of a verdict, if there are any.
pub(crate) fn shown(run: &Run, style: Style) -> Option<String> {
    let grounds = run.grounds.as_ref()?;
    Some(table::pairs(pairs(run, grounds), style))
}

fn pairs(run: &Run, g: &Grounds) -> Vec<(&'static str, String)> {
    let probed = word::<Presence>(g.presence).map(|state| {
        let facts: Vec<_> =
            g.facts.iter().map(|(k, v)| format!(", {}={}", text::clean(k), text::clean(v))).collect();
        format!("state={state}{}", facts.concat())
    });
    vec![
        ("Evidence", format!("{}, from {}", word_or_empty::<Evidence>(run.evidence), source(g))),
        ("Step", text::clean(&g.step_id)),
        (
            "Exit record",
            g.exit_code.map(|code| format!("{code}, ended by {}", text::clean(&g.cause))).unwrap_or_default(),
        ),
        ("No record", text::clean(&g.why)),
        ("Probe", probed.unwrap_or_default()),
        ("Boot", boot(g)),
        (
            "Server's lane",
            g.lane_free.map(|free| if free { "free" } else { "locked" }).unwrap_or_default().to_owned(),
        ),
        ("Live processes", text::clean(&g.processes.join(", "))),
    ]
}

fn source(g: &Grounds) -> String {
    match g.source.as_str() {
        "server" => "the server".to_owned(),
        "probe" => "a probe".to_owned(),
        "time" => "nobody: its time had passed".to_owned(),
        "command" => "a command".to_owned(),
        "daemon" => "settled itself".to_owned(),
        other => text::clean(other),
    }
}

fn boot(g: &Grounds) -> String {
    match (text::clean(&g.boot_id_before), text::clean(&g.boot_id_now)) {
        (before, now) if before.is_empty() => now,
        (before, now) if before == now => format!("{now}, the same as when it began"),
        (before, now) => format!("{now}; when it began it was {before}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_step_shows_both_boots_the_lane_and_what_the_probe_saw() {
        let grounds = Grounds {
            source: "probe".into(),
            step_id: "R.0.1.1".into(),
            why: "reboot".into(),
            boot_id_before: "b1".into(),
            boot_id_now: "b2".into(),
            lane_free: Some(true),
            presence: Presence::Present as i32,
            facts: [("version".to_owned(), "2".to_owned())].into(),
            ..Grounds::default()
        };
        let run = Run { grounds: Some(grounds), evidence: Evidence::Probe as i32, ..Run::default() };
        let said = shown(&run, Style::default()).expect("there are grounds");
        for part in [
            "probe, from a probe",
            "reboot",
            "b2; when it began it was b1",
            "free",
            "state=present, version=2",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("Exit record") && !said.contains("Live processes"), "{said}");
    }

    #[test]
    fn an_exit_record_is_told_with_who_ended_it() {
        let grounds = Grounds {
            source: "server".into(),
            exit_code: Some(143),
            cause: "deadline".into(),
            ..Grounds::default()
        };
        let run = Run { grounds: Some(grounds), evidence: Evidence::ExitRecord as i32, ..Run::default() };
        let said = shown(&run, Style::default()).expect("there are grounds");
        assert!(
            said.contains("exit_record, from the server") && said.contains("143, ended by deadline"),
            "{said}"
        );
    }
}
