//! Servers for people.

use jiff::Timestamp;
use settled_proto::v1::{ForceUnlockServerResponse, IdentityKind, LaneHeld, Reach, Server, ServerStatus};

use super::table::{self, Style};
use super::words::word_or_empty;
use super::{resources, text, verdict};

/// A list of servers.
pub(crate) fn list(servers: &[Server], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["name", "address", "status", "reach", "last seen", "last error"];
    if wide {
        headings.extend(["id", "identity", "via", "labels", "host key"]);
    }
    let rows = servers.iter().map(|s| {
        let why = match &s.last_error {
            Some(failure) => &failure.message,
            None => &s.reach_detail,
        };
        let mut row = vec![
            text::clean(&s.name),
            login(s),
            word_or_empty::<ServerStatus>(s.status),
            word_or_empty::<Reach>(s.reach),
            text::age(s.last_seen.as_ref(), now),
            if wide { text::clean(why) } else { text::short(why, 60) },
        ];
        if wide {
            row.push(s.id.clone());
            row.push(word_or_empty::<IdentityKind>(s.identity));
            row.push(text::clean(&s.via));
            row.push(labels(s));
            row.push(text::clean(&s.host_key));
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

/// `web1 is success, reach ok.`
pub(crate) fn stands(s: &Server) -> String {
    let status = word_or_empty::<ServerStatus>(s.status);
    let why =
        if s.reach_detail.is_empty() { String::new() } else { format!(": {}", text::clean(&s.reach_detail)) };
    format!("{} is {status}, reach {}{why}.", text::clean(&s.name), word_or_empty::<Reach>(s.reach))
}

/// What a force-unlock has given up.
pub(crate) fn unlocked(r: &ForceUnlockServerResponse) -> String {
    let name = r.server.as_ref().map(|s| text::clean(&s.name)).unwrap_or_default();
    let steps: Vec<String> = r.step_ids.iter().map(|id| format!("  {}", text::clean(id))).collect();
    format!(
        "The lane of {name} is free: these steps are given up, and its work goes on once the server has heard of it.\n{}",
        steps.join("\n")
    )
}

fn login(s: &Server) -> String {
    let host = text::clean(&s.host);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("{}@{host}:{}", text::clean(&s.user), s.port)
}

fn labels(s: &Server) -> String {
    let labels: Vec<String> = s.labels.iter().map(|(k, v)| text::clean(&format!("{k}={v}"))).collect();
    labels.join(" ")
}

/// One server.
pub(crate) fn show(s: &Server, style: Style, now: Timestamp) -> String {
    // A first refusal is the last error, too, which tells more of it.
    let told_below = s.last_error.as_ref().is_some_and(|failure| failure.message == s.reach_detail);
    let pairs = vec![
        ("Server", text::clean(&s.name)),
        ("Id", s.id.clone()),
        ("Address", login(s)),
        ("Via", text::clean(&s.via)),
        ("Identity", word_or_empty::<IdentityKind>(s.identity)),
        ("Host key", text::clean(&s.host_key)),
        ("Labels", labels(s)),
        ("Time zone", text::clean(&s.time_zone)),
        (
            "Windows",
            if s.windows.is_empty() { "always open".to_owned() } else { text::clean(&s.windows.join(", ")) },
        ),
        ("Repair dpkg", if s.repair_dpkg { "yes" } else { "no" }.to_owned()),
        ("Status", word_or_empty::<ServerStatus>(s.status)),
        ("Reach", word_or_empty::<Reach>(s.reach)),
        ("Why", if told_below { String::new() } else { text::clean(&s.reach_detail) }),
        ("Last seen", text::when(s.last_seen.as_ref(), now)),
        ("Created", text::when(s.created_at.as_ref(), now)),
        ("Changed", text::when(s.updated_at.as_ref(), now)),
    ];
    let mut parts = vec![table::pairs(pairs, style)];
    if let Some(held) = &s.held {
        parts.push(held_lines(s, held, now));
    }
    if !s.facts.is_empty() {
        let facts = s.facts.iter().map(|(name, value)| (name.clone(), fact(name, value))).collect();
        parts.push(format!("What it told about itself\n{}", resources::facts(&facts, style)));
    }
    if let Some(failure) = &s.last_error {
        let mut lines = vec![format!("Last error, {}", text::when(failure.at.as_ref(), now))];
        lines.extend(verdict::failure_lines(failure));
        parts.push(lines.join("\n"));
    }
    parts.join("\n\n")
}

/// What holds the lane, and what to do about it.
fn held_lines(s: &Server, held: &LaneHeld, now: Timestamp) -> String {
    let (name, step) = (text::clean(&s.name), text::clean(&held.step_id));
    let since = text::when(held.since.as_ref(), now);
    let mut lines = vec![format!("Its lane is held since {since}: step {step} is not proven to have ended.")];
    lines.extend(held.processes.iter().map(|process| format!("  process {} lives", text::clean(process))));
    lines.push(format!(
        "Next: end what lives there. If you know that nothing does: settlectl server unlock {name} --reason TEXT"
    ));
    lines.join("\n")
}

/// A fact for people: sizes in units.
fn fact(name: &str, value: &str) -> String {
    match value.parse() {
        Ok(bytes) if name.ends_with("_bytes") => text::size(bytes),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::Failure;

    use super::*;

    #[test]
    fn an_address_can_be_typed_again() {
        let mut server =
            Server { host: "2001:db8::7".into(), port: 22, user: "deploy".into(), ..Server::default() };
        assert_eq!(login(&server), "deploy@[2001:db8::7]:22");
        server.host = "web1".into();
        assert_eq!(login(&server), "deploy@web1:22");
    }

    #[test]
    fn a_held_lane_is_shown_with_its_processes_and_what_to_do() {
        let held = LaneHeld {
            step_id: "R.0.1.1".into(),
            processes: vec!["12 apt-get".into()],
            ..LaneHeld::default()
        };
        let server = Server { name: "web1".into(), held: Some(held), ..Server::default() };
        let shown = show(&server, Style::default(), Timestamp::UNIX_EPOCH);
        for part in [
            "step R.0.1.1 is not proven",
            "process 12 apt-get lives",
            "settlectl server unlock web1 --reason TEXT",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("always open"), "{shown}");
    }

    #[test]
    fn a_server_that_refuses_says_why() {
        let server = Server {
            name: "web1".into(),
            reach: Reach::Refused as i32,
            reach_detail: "the host key changed".into(),
            ..Server::default()
        };
        let now = Timestamp::UNIX_EPOCH;
        assert!(
            list(std::slice::from_ref(&server), false, Style::default(), now)
                .contains("the host key changed")
        );
        assert!(show(&server, Style::default(), now).contains("Why"));

        let why = "the host key changed ".repeat(9);
        let (reach_detail, failure) = (why.clone(), Failure { message: why.clone(), ..Failure::default() });
        let server = Server { reach_detail, last_error: Some(failure), ..server };
        let shown = show(&server, Style::default(), now);
        assert_eq!(shown.matches(why.trim()).count(), 1, "said once: {shown}");
        let rows = |wide| list(std::slice::from_ref(&server), wide, Style::default(), now);
        assert!(!rows(false).contains(why.trim()) && rows(true).contains(why.trim()), "{}", rows(true));
    }
}
