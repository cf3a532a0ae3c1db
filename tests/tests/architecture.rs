//! Holds the directions of imports and the four sentences of ARCHITECTURE.md: only the domain decides; only the engine writes; only the
//! store speaks SQL; only remote touches a server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Whom each module of the daemon may know. A module may always know its own parts.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("secrets", &[]),
    ("figures", &[]),
    ("clock", &["domain"]),
    ("config", &["auth"]),
    ("telemetry", &["config"]),
    ("process", &["clock", "config"]),
    ("catalog", &["domain"]),
    ("auth", &["domain", "clock"]),
    ("store", &["domain", "secrets", "clock", "figures"]),
    ("hub", &["store", "domain", "secrets", "clock", "figures"]),
    ("remote", &["domain", "clock", "figures"]),
    ("outside", &["clock"]),
    ("traces", &["outside", "store", "domain", "clock", "figures"]),
    ("engine", &["catalog", "auth", "hub", "store", "domain", "secrets", "clock"]),
    ("grpc", &["engine", "traces", "catalog", "auth", "hub", "store", "domain", "clock", "figures"]),
    ("dispatch", &["engine", "remote", "auth", "catalog", "store", "domain", "secrets", "clock"]),
    ("reconciler", &["engine", "store", "domain", "clock"]),
    ("lifecycles", &["engine", "outside", "store", "domain", "clock"]),
    ("scheduler", &["engine", "auth", "store", "domain", "clock"]),
];

/// The composition root knows everyone; the entry points know the root.
const ROOTS: &[&str] = &["app", "lib", "main"];

struct Source {
    module: String,
    path: PathBuf,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../daemon/src");
    let mut found = Vec::new();
    gather(&root, &root, &mut found);
    assert!(found.len() > 50, "the sources were not found below {}", root.display());
    found
}

fn gather(root: &Path, dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("the sources can be read") {
        let path = entry.expect("the sources can be read").path();
        if path.is_dir() {
            gather(root, &path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let relative = path.strip_prefix(root).expect("the sources can be read").to_owned();
            let first = relative
                .iter()
                .next()
                .expect("the sources can be read")
                .to_str()
                .expect("the sources can be read");
            let module = first.trim_end_matches(".rs").to_owned();
            let code =
                without_comments_and_tests(&fs::read_to_string(&path).expect("the sources can be read"));
            found.push(Source { module, path: relative, code });
        }
    }
}

/// Comments may speak of anyone, and tests may use anyone.
fn without_comments_and_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    code.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn modules_named(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or("");
            let first = |item: &str| item.trim().split("::").next().unwrap_or("").to_owned();
            named.extend(list.split(',').map(first).filter(|name| !name.is_empty()));
        } else {
            named.insert(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    named
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    let known: BTreeSet<_> = MAY_KNOW.iter().map(|(module, _)| *module).collect();
    for source in sources().iter().filter(|s| !ROOTS.contains(&s.module.as_str())) {
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(module, _)| *module == source.module) else {
            wrong.push(format!("{}: the module has no place in the order", source.path.display()));
            continue;
        };
        for name in modules_named(&source.code) {
            let is_module = known.contains(name.as_str()) || ROOTS.contains(&name.as_str());
            if is_module && name != source.module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {} must not know {name}", source.path.display(), source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Files outside `home` whose code has one of the words.
fn strays(home: &[&str], words: &[&str]) -> Vec<String> {
    let all = sources();
    let outside = all.iter().filter(|s| !home.contains(&s.module.as_str()));
    let has = |source: &&Source| words.iter().any(|word| source.code.contains(word));
    outside.filter(has).map(|source| source.path.display().to_string()).collect()
}

#[test]
fn only_the_domain_decides() {
    // What a run or record may become is asked of the domain by the engine, and by nobody else.
    let asked = ["Event::CancelRequested,", "consequence::for_", "at_accept("];
    assert_eq!(strays(&["domain", "engine"], &asked), Vec::<String>::new());
    // And it decides from its arguments alone.
    let impure = [
        "async ",
        "std::fs",
        "std::net",
        "std::time::SystemTime",
        "Instant",
        "tokio",
        "serde",
        "sqlx",
        "tonic",
        "rand::",
    ];
    let domain = sources().into_iter().filter(|s| s.module == "domain");
    let impure = domain
        .filter(|s| impure.iter().any(|word| s.code.contains(word)))
        .map(|s| s.path)
        .collect::<Vec<_>>();
    assert_eq!(impure, Vec::<PathBuf>::new());
}

#[test]
fn only_the_engine_writes() {
    assert_eq!(
        strays(&["store", "engine"], &["Unit<", "store::Command", "store::Writer", ".commit("]),
        Vec::<String>::new()
    );
}

#[test]
fn only_the_store_speaks_sql() {
    assert_eq!(strays(&["store"], &["sqlx", "SELECT ", "INSERT INTO", "DELETE FROM"]), Vec::<String>::new());
}

#[test]
fn only_outside_speaks_to_endpoints() {
    // Remote tunnels connections of its own, and the composition root says who is outside. The door speaks HTTP too, but to whoever comes.
    let calls = ["hyper::client", "hyper_util::client", "TlsConnector", "ClientConfig"];
    assert_eq!(strays(&["outside"], &calls), Vec::<String>::new());
}

#[test]
fn only_remote_touches_a_server() {
    assert_eq!(
        strays(&["remote", "app"], &["russh", "SshExec", "std::process::Command"]),
        Vec::<String>::new()
    );
}

#[test]
fn every_status_has_a_reason_and_every_reason_is_given() {
    let made = ["Status::with_error_details", "Status::new(", "Status::from_error(", "Status::ok("];
    let codes = [
        "cancelled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
        "unauthenticated",
    ];
    let codes = codes.map(|code| format!("Status::{code}("));
    let words: Vec<&str> = made.into_iter().chain(codes.iter().map(String::as_str)).collect();
    let home = Path::new("grpc/reason.rs");
    let others: Vec<_> = sources().into_iter().filter(|source| source.path != home).collect();
    let without: Vec<_> =
        others.iter().filter(|s| words.iter().any(|word| s.code.contains(word))).map(|s| &s.path).collect();
    assert!(
        without.is_empty(),
        "{without:?} make a status of their own: take a reason of grpc/reason.rs, or add one there"
    );
    for reason in settled::grpc::Reason::ALL {
        let name = format!("Reason::{reason:?}");
        assert!(others.iter().any(|source| source.code.contains(&name)), "{name} is given by nobody");
    }
}
