//! Other ends than success, on a real server: a cancel that stops the work, a timeout that holds there, secrets that stay secret.

use settled_proto::v1::{CancelRunRequest, Outcome, Reason, ResourceStatus};
use settled_tests::daemon;
use settled_tests::patience::until;
use settled_tests::server::{Server, appears, follow, fresh_id, install, package_dir, resource, settled};

use crate::crash::PATIENT;

/// A step that starts a child and waits; both would write if they lived on.
const STUBBORN: &str = r#"
name = "stubborn"
summary = "Never ends by itself"

[parameters.dir]
type = "path"
summary = "Where its files are"

[operations.install]
[[operations.install.steps]]
title = "Go on for ever"
timeout = "1s"
script = '''
echo $$ > "$P_DIR/pid"
: > "$P_DIR/started"
sleep 1000
'''

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

const SECRETIVE: &str = r#"
name = "secretive"
summary = "Takes a secret"

[parameters.password]
type = "secret"
summary = "The secret"

[operations.install]
[[operations.install.steps]]
title = "Use the secret"
secrets = ["password"]
script = '''
password=$(cat "$SETTLED_SECRETS/password")
echo "the password is $password"
env | sort
'''

[operations.remove]
[[operations.remove.steps]]
title = "Nothing"
script = "true"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_cancelled_run_has_stopped_on_the_server() {
    let packages = package_dir("patient", PATIENT);
    let daemon =
        daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    let dir = server.path("work");
    std::fs::create_dir(&dir).unwrap();
    server.register(&daemon, "web").await;
    let request = install("web", "patient", "one", &[("dir", &dir.display().to_string())]);
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    appears(&dir.join("started")).await;

    let cancel = CancelRunRequest { request_id: fresh_id(), run_id: run.clone() };
    let answer = daemon.runs().cancel(cancel).await.unwrap().into_inner();
    assert!(answer.cancel_requested);
    let (run, output) = follow(&daemon, &run).await;
    assert_eq!((run.outcome(), run.reason()), (Outcome::Cancelled, Reason::Cancelled), "{run:?}");

    // What was cancelled does not go on when it could.
    std::fs::write(dir.join("go"), "").unwrap();
    assert_eq!(String::from_utf8(output).unwrap(), "before\n");
    let one = resource(&daemon, "web/patient/one").await.unwrap();
    assert_eq!(one.status(), ResourceStatus::Failed);
    assert!(one.last_error.unwrap().message.contains("cancelled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_process_group_and_the_run() {
    let packages = package_dir("stubborn", STUBBORN);
    let daemon =
        daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    let dir = server.path("work");
    std::fs::create_dir(&dir).unwrap();
    server.register(&daemon, "web").await;
    let request = install("web", "stubborn", "one", &[("dir", &dir.display().to_string())]);
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    let run = settled(&daemon, &run).await;
    assert_eq!((run.outcome(), run.reason(), run.attempt), (Outcome::Failed, Reason::Timeout, 1), "{run:?}");
    let pid = std::fs::read_to_string(dir.join("pid")).unwrap();
    assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "the payload is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_secret_reaches_the_step_and_nothing_else() {
    const SECRET: &str = "correct-horse-battery";
    let packages = package_dir("secretive", SECRETIVE);
    let daemon =
        daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let mut request = install("web", "secretive", "one", &[]);
    request.secrets.insert("password".to_owned(), SECRET.as_bytes().to_vec());
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap().id;
    let (run, output) = follow(&daemon, &run).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:?}");
    let output = String::from_utf8(output).unwrap();
    assert!(output.contains("the password is *********************\n"), "{output}");
    assert!(!output.contains(SECRET));

    // What the step printed itself stays on the server, for root alone, until the store has all of it.
    let is_empty = |dir: &str| server.path(dir).read_dir().is_ok_and(|mut entries| entries.next().is_none());
    let cleared = async || (is_empty("state/steps") && is_empty("state/tmp")).then_some(());
    until("the step is cleared away", cleared).await;
    let (ended, home) = daemon.stop().await;
    ended.unwrap();
    let places = [home.path().to_owned(), server.path("state")];
    for place in places {
        for file in files_below(&place) {
            // The database takes its side files away when its last connection closes.
            let bytes = match std::fs::read(&file) {
                Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.unwrap(),
            };
            let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!found, "{} holds the secret", file.display());
        }
    }
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").map(|e| e.expect("an entry")) {
        let kind = entry.file_type().expect("its kind");
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}
