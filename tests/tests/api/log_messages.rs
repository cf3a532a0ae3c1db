//! The log as it is documented: docs/logs.md has every message of the daemon with its level and its fields, and none that there is not; and fields
//! mean the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const DOCUMENT: &str = include_str!("../../../docs/logs.md");

/// Fields of every line of an attempt (`engine/log.rs`).
const OF_AN_ATTEMPT: [&str; 7] =
    ["run", "server", "operation", "principal", "resource", "package", "attempt"];

/// A place where something is logged.
#[derive(Debug)]
struct Site {
    file: String,
    level: String,
    message: String,
    /// With what they are set to, as written.
    fields: BTreeMap<String, String>,
}

type Listed = BTreeMap<(String, String), BTreeSet<String>>;

fn sites() -> Vec<Site> {
    let mut found = Vec::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/src"), &mut found);
    assert!(found.len() > 80, "the sources were not found");
    found
}

fn gather(dir: &Path, found: &mut Vec<Site>) {
    for entry in fs::read_dir(dir).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            gather(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("the sources can be read");
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let is_comment = |line: &&str| line.trim_start().starts_with("//");
            let code = code.lines().filter(|line| !is_comment(line)).collect::<Vec<_>>().join("\n");
            for level in ["trace", "debug", "info", "warn", "error"] {
                for opening in [format!("tracing::{level}!("), format!("line!({level}, ")] {
                    for (at, _) in code.match_indices(&opening) {
                        let parts = parts(&code[at + opening.len()..]);
                        let of_attempt = opening.starts_with("line!");
                        found.push(site(&path.display().to_string(), level, &parts, of_attempt));
                    }
                }
            }
        }
    }
}

/// What stands between the commas up to the end of a macro's call.
fn parts(code: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut quoted) = (Vec::new(), String::new(), 0, false);
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                part.push(c);
                part.extend(chars.next());
                continue;
            }
            '"' => quoted = !quoted,
            ')' if !quoted && depth == 0 => break,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn site(file: &str, level: &str, parts: &[String], of_attempt: bool) -> Site {
    let (message, before) = parts.split_last().expect("a line says something");
    assert!(
        message.starts_with('"') && message.ends_with('"'),
        "{file}: {message}: the words of a line are fixed"
    );
    let message = message.trim_matches('"').split("\\\n").map(str::trim_start).collect::<String>();
    assert!(!message.contains(['{', '|']), "{file}: {message}: what varies stands in fields");
    let mut fields = BTreeMap::new();
    if of_attempt {
        fields.extend(OF_AN_ATTEMPT.map(|field| (field.to_owned(), "run.server_name".to_owned())));
        if before.iter().any(|part| part == "[error,]") {
            fields.insert("error".to_owned(), "error".to_owned());
        }
    } else {
        let field = |part: &String| match part.split_once('=') {
            Some((field, value)) => (field.trim().to_owned(), value.trim().to_owned()),
            None => (part.trim_start_matches(['%', '?']).to_owned(), part.clone()),
        };
        fields.extend(before.iter().map(field));
    }
    Site { file: file.to_owned(), level: level.to_owned(), message, fields }
}

fn listed() -> Listed {
    let levels = ["error", "warn", "info", "debug", "trace"];
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let rows = DOCUMENT.lines().map(cells).filter(|cells| levels.contains(&cells[0]));
    let mut listed = Listed::new();
    for cells in rows {
        let [level, message, fields, means, _] = cells[..] else { panic!("{cells:?}") };
        assert!(!means.is_empty(), "{message} means nothing");
        let fields =
            fields.split(", ").map(|field| field.trim_matches('`').to_owned()).filter(|f| !f.is_empty());
        let before = listed.insert((level.to_owned(), message.to_owned()), fields.collect());
        assert!(before.is_none(), "{message} is listed twice");
    }
    listed
}

#[test]
fn every_message_of_the_log_is_listed_with_its_level_and_its_fields_and_none_that_is_not_there() {
    let mut logged = Listed::new();
    for site in sites() {
        let fields = logged.entry((site.level, site.message)).or_default();
        fields.extend(site.fields.into_keys());
    }
    let listed = listed();
    for (line, fields) in &logged {
        assert_eq!(
            listed.get(line),
            Some(fields),
            "docs/logs.md does not tell of this as it is logged: {line:?}"
        );
    }
    let dead: Vec<_> = listed.keys().filter(|line| !logged.contains_key(*line)).collect();
    assert!(dead.is_empty(), "docs/logs.md tells of what is not logged: {dead:?}");
}

#[test]
fn a_line_about_a_run_names_its_server_and_a_server_is_its_name_everywhere() {
    for Site { file, message, fields, .. } in sites() {
        if fields.contains_key("run") || fields.contains_key("step") {
            assert!(
                fields.contains_key("server") && fields.contains_key("run"),
                "{file}: {message}: {fields:?}"
            );
        }
        if let Some(server) = fields.get("server") {
            assert!(server.contains("name"), "{file}: {message}: `server = {server}` is no name");
        }
    }
}

#[test]
fn a_line_is_read_whole() {
    let code = "run = %id.run, error = f(a, \"b)\"), more,\n  \"it is \\\n   said\"); other()";
    let site = site("a file", "warn", &parts(code), false);
    assert_eq!(site.message, "it is said");
    assert_eq!(site.fields.into_keys().collect::<Vec<_>>(), ["error", "more", "run"]);
}

/// Where `settlectl status` gets its warnings from.
const WARNINGS: [&str; 7] = [
    include_str!("../../../daemon/src/app/health.rs"),
    include_str!("../../../daemon/src/app/keys.rs"),
    include_str!("../../../daemon/src/app/steward.rs"),
    include_str!("../../../daemon/src/app/tls.rs"),
    include_str!("../../../daemon/src/grpc/admin.rs"),
    include_str!("../../../daemon/src/grpc/convert/daemon.rs"),
    include_str!("../../../daemon/src/process/hearts.rs"),
];

#[test]
fn every_warning_that_the_status_document_names_is_one_of_the_daemon_s() {
    let text = include_str!("../../../docs/status.md");
    let code = without_values(&WARNINGS.concat());
    let rows: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).collect();
    assert!(rows.len() >= 14, "{rows:?}");
    for (warning, _) in rows {
        let begins = without_names(warning);
        assert!(code.contains(&format!("\"{begins}")), "no warning begins with `{warning}`");
    }
}

/// The sources with `{}` for each value that is written into a text.
fn without_values(code: &str) -> String {
    let mut parts = code.split('{');
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (value, rest) = part.split_once('}').unwrap_or(("", part));
        let is_value = value.chars().all(|c| c.is_alphanumeric() || "_.:?".contains(c));
        made.push_str(if is_value { "{}" } else { "{" });
        made.push_str(if is_value { rest } else { part });
    }
    made
}

/// The words of a warning with `{}` for each that is all in capitals.
fn without_names(warning: &str) -> String {
    let is_name = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase());
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', '.']);
        if is_name(bare) { word.replacen(bare, "{}", 1) } else { word.to_owned() }
    };
    warning.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
