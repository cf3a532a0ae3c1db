//! Servers for people.

use jiff::Timestamp;
use settled_proto::v1::{ForceUnlockServerResponse, IdentityKind, Reach, Server, ServerStatus};

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
            text::short(why, 60),
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
    let pairs = vec![
        ("Server", text::clean(&s.name)),
        ("Id", s.id.clone()),
        ("Address", login(s)),
        ("Via", text::clean(&s.via)),
        ("Identity", word_or_empty::<IdentityKind>(s.identity)),
        ("Host key", text::clean(&s.host_key)),
        ("Labels", labels(s)),
        ("Status", word_or_empty::<ServerStatus>(s.status)),
        ("Reach", word_or_empty::<Reach>(s.reach)),
        ("Why", text::clean(&s.reach_detail)),
        ("Last seen", text::when(s.last_seen.as_ref(), now)),
        ("Created", text::when(s.created_at.as_ref(), now)),
        ("Changed", text::when(s.updated_at.as_ref(), now)),
    ];
    let mut parts = vec![table::pairs(pairs, style)];
    if !s.facts.is_empty() {
        parts.push(format!("What it told about itself\n{}", resources::facts(&s.facts, style)));
    }
    if let Some(failure) = &s.last_error {
        let mut lines = vec![format!("Last error, {}", text::when(failure.at.as_ref(), now))];
        lines.extend(verdict::failure_lines(failure));
        parts.push(lines.join("\n"));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
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
    }
}
