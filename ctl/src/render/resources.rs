//! Resources for people.

use std::collections::BTreeMap;

use jiff::Timestamp;
use settled_proto::v1::{Failure, Observed, Presence, Resource, ResourceStatus};

use super::table::{self, Style};
use super::words::word_or_empty;
use super::{text, verdict};

/// The last words of what failed say more in a narrow column than the exit code does.
fn in_its_own_words(failure: &Failure) -> &str {
    failure.last_lines.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(&failure.message)
}

/// A list of resources.
pub(crate) fn list(resources: &[Resource], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["server", "package", "name", "status", "observed", "last error", "changed"];
    if wide {
        headings.extend(["id", "run", "observed at", "created"]);
    }
    let rows = resources.iter().map(|r| {
        let seen = r.observed.as_ref();
        let mut row = vec![
            text::clean(&r.server),
            text::clean(&r.package),
            text::clean(&r.name),
            word_or_empty::<ResourceStatus>(r.status),
            seen.map(presence).unwrap_or_default(),
            r.last_error.as_ref().map(|f| text::short(in_its_own_words(f), 60)).unwrap_or_default(),
            text::age(r.updated_at.as_ref(), now),
        ];
        if wide {
            row.push(r.id.clone());
            row.push(r.open_run_id.clone());
            row.push(seen.map(|o| text::age(o.at.as_ref(), now)).unwrap_or_default());
            row.push(text::when(r.created_at.as_ref(), now));
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

fn presence(observed: &Observed) -> String {
    word_or_empty::<Presence>(observed.presence)
}

/// How a resource can be typed again.
pub(crate) fn address(r: &Resource) -> String {
    text::address(&r.server, &r.package, &r.name)
}

/// `web1/site/a is failed; the last probe saw it absent (3 s ago).`
pub(crate) fn stands(r: &Resource, now: Timestamp) -> String {
    let status = word_or_empty::<ResourceStatus>(r.status);
    let seen = match &r.observed {
        Some(observed) if observed.presence != 0 => {
            let facts: Vec<String> =
                observed.facts.iter().map(|(k, v)| text::clean(&format!("{k}={v}"))).collect();
            let facts = if facts.is_empty() { String::new() } else { format!(", {}", facts.join(", ")) };
            let age = text::age(observed.at.as_ref(), now);
            let differs = match observed.differs.len() {
                0 => "",
                _ => "; it differs from what was applied: see 'settlectl resource show'",
            };
            format!("; the last probe saw it {}{facts} ({age}){differs}", presence(observed))
        }
        _ => String::new(),
    };
    format!("{} is {status}{seen}.", address(r))
}

/// One resource with its parameters, its last error and what a probe saw.
pub(crate) fn show(r: &Resource, style: Style, now: Timestamp) -> String {
    let pairs = vec![
        ("Resource", address(r)),
        ("Id", r.id.clone()),
        ("Status", word_or_empty::<ResourceStatus>(r.status)),
        ("Observed", r.observed.as_ref().map(presence).unwrap_or_default()),
        ("Observed at", text::when(r.observed.as_ref().and_then(|o| o.at.as_ref()), now)),
        ("Open run", r.open_run_id.clone()),
        ("Created", text::when(r.created_at.as_ref(), now)),
        ("Changed", text::when(r.updated_at.as_ref(), now)),
    ];
    let mut parts = vec![table::pairs(pairs, style)];
    let values = parameters(r, style);
    if !values.is_empty() {
        parts.push(values);
    }
    if !r.outputs.is_empty() {
        parts.push(format!("Outputs\n{}", facts(&r.outputs, style)));
    }
    if let Some(observed) = r.observed.as_ref().filter(|o| !o.facts.is_empty()) {
        parts.push(format!("Facts of the last probe\n{}", facts(&observed.facts, style)));
    }
    parts.extend(r.observed.as_ref().and_then(|observed| differs(r, observed, style)));
    if let Some(failure) = &r.last_error {
        let at = text::when(failure.at.as_ref(), now);
        let mut lines = vec![format!("Last error, {at}, run {}", failure.run_id)];
        lines.extend(verdict::failure_lines(failure));
        if r.status == ResourceStatus::Failed as i32 {
            lines.push(format!("Next: settlectl retry {} --wait    (once the cause is mended)", address(r)));
        }
        parts.push(lines.join("\n"));
    }
    parts.join("\n\n")
}

/// Where the server is not as it was applied, and how that is mended.
fn differs(r: &Resource, observed: &Observed, style: Style) -> Option<String> {
    if observed.differs.is_empty() {
        return None;
    }
    let shown = |value: &str| if value.is_empty() { "-".to_owned() } else { text::short(value, 60) };
    let rows =
        observed.differs.iter().map(|d| vec![text::clean(&d.fact), shown(&d.expected), shown(&d.found)]);
    let table = table::columns(&["fact", "applied", "found"], rows.collect(), style);
    let next = format!("Next: settlectl update {} --wait    (applies the same values again)", address(r));
    Some(format!("The server differs from what was applied\n{table}\n{next}"))
}

/// What was asked for beside what was applied, where they differ.
fn parameters(r: &Resource, style: Style) -> String {
    let names: std::collections::BTreeSet<&String> = r.desired.keys().chain(r.applied.keys()).collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for name in names {
        let value =
            |map: &BTreeMap<String, String>| map.get(name).map(|v| text::short(v, 60)).unwrap_or_default();
        let applied = match (r.applied_known, r.applied.is_empty()) {
            (true, _) => value(&r.applied),
            (false, true) => String::new(),
            (false, false) => format!("{} ?", value(&r.applied)),
        };
        rows.push(vec![text::clean(name), value(&r.desired), applied]);
    }
    for name in &r.secrets {
        rows.push(vec![text::clean(name), "(secret)".to_owned(), String::new()]);
    }
    if rows.is_empty() {
        return String::new();
    }
    let mut text = table::columns(&["parameter", "asked for", "applied"], rows, style);
    if !r.applied_known && !r.applied.is_empty() {
        text.push_str("\n? = a change is unsettled: nobody knows whether this still holds");
    }
    text
}

/// Facts by name.
pub(crate) fn facts(facts: &BTreeMap<String, String>, style: Style) -> String {
    let pairs = facts.iter().map(|(k, v)| (k.as_str(), text::clean(v))).collect();
    table::pairs(pairs, style)
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::Difference;

    use super::*;

    fn resource() -> Resource {
        Resource {
            server: "web1".into(),
            package: "site".into(),
            name: "a".into(),
            status: ResourceStatus::Failed as i32,
            desired: [("port".to_owned(), "443".to_owned())].into(),
            applied: [("port".to_owned(), "80".to_owned())].into(),
            last_error: Some(Failure { message: "No space.\nMore".into(), ..Failure::default() }),
            observed: Some(Observed { presence: Presence::Drifted as i32, ..Observed::default() }),
            secrets: vec!["token".into()],
            ..Resource::default()
        }
    }

    #[test]
    fn a_list_shows_status_beside_what_was_seen_and_the_last_error() {
        let text = list(&[resource()], false, Style::default(), Timestamp::UNIX_EPOCH);
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["web1", "site", "a", "failed", "drifted", "No", "space."]);
    }

    #[test]
    fn a_list_shows_the_last_words_of_what_failed() {
        let mut failed = resource();
        let last_lines = "reading menu\nmenu.txt is missing\n\n".into();
        failed.last_error =
            Some(Failure { message: "ended with 1".into(), last_lines, ..Failure::default() });
        let text = list(&[failed], false, Style::default(), Timestamp::UNIX_EPOCH);
        assert!(text.contains("menu.txt is missing") && !text.contains("ended with"), "{text}");
    }

    #[test]
    fn status_and_what_was_seen_stand_in_one_sentence() {
        let now = Timestamp::UNIX_EPOCH;
        let mut resource = resource();
        let at = Some(prost_types::Timestamp { seconds: -3, nanos: 0 });
        resource.observed = Some(Observed {
            presence: Presence::Absent as i32,
            facts: [("version".to_owned(), "2".to_owned())].into(),
            at,
            ..Observed::default()
        });
        let sentence = "web1/site/a is failed; the last probe saw it absent, version=2 (3 s ago).";
        assert_eq!(stands(&resource, now), sentence);
        resource.observed = None;
        assert_eq!(stands(&resource, now), "web1/site/a is failed.");
    }

    #[test]
    fn what_differs_stands_with_what_was_applied_and_the_way_to_mend_it() {
        let difference = |fact: &str, expected: &str, found: &str| Difference {
            fact: fact.into(),
            expected: expected.into(),
            found: found.into(),
        };
        let mut drifted = resource();
        let differs = vec![difference("version", "7", "8"), difference("user", "", "root")];
        drifted.observed =
            Some(Observed { presence: Presence::Drifted as i32, differs, ..Observed::default() });
        let shown = show(&drifted, Style::default(), Timestamp::UNIX_EPOCH);
        for part in ["version  7", "settlectl update web1/site/a --wait    (applies the same values again)"] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(stands(&drifted, Timestamp::UNIX_EPOCH).contains("it differs from what was applied"));
        assert!(!show(&resource(), Style::default(), Timestamp::UNIX_EPOCH).contains("differs"));
    }

    #[test]
    fn unknown_parameters_are_marked() {
        let shown = |r: &Resource| show(r, Style::default(), Timestamp::UNIX_EPOCH);
        let unsettled = shown(&resource());
        assert!(unsettled.contains("80 ?") && unsettled.contains("nobody knows"), "{unsettled}");
        assert!(unsettled.contains("settlectl retry web1/site/a"), "{unsettled}");
        assert!(unsettled.contains("(secret)"), "{unsettled}");
        let settled = shown(&Resource { applied_known: true, ..resource() });
        assert!(!settled.contains('?'), "{settled}");
    }
}
