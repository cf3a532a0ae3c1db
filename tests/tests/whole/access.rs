//! Other users of the machine: what they are to settled, as they see it with `settlectl`, and what becomes of work whose principal has
//! lost its role meanwhile.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use settled_proto::v1::{Outcome, PauseServerRequest, Reason, ResumeServerRequest};
use settled_tests::daemon::{self, TestDaemon};
use settled_tests::patience::until;
use settled_tests::server::{Server, fresh_id, settled};
use tempfile::TempDir;
use tokio::process::Command;

use crate::cli::settlectl;

/// The group of the socket: whoever is not in it does not even come to the door.
const SOCKET: u32 = 41_000;
const OPERATOR: u32 = 41_001;
const ADMIN: u32 = 41_002;
const STRANGER: u32 = 41_003;
/// Sees one server.
const CONFINED: u32 = 41_004;
/// The system user `daemon`, whom the user database has in the group of the same number.
const VIEWER: u32 = 1;

/// What the configuration says at first, and when the operator has become a viewer.
const ROLES: &str = "[access]\nviewers = ['unix-group:1']\noperators = ['unix:41001']\nadmins = ['unix:41002']\n\
     [[access.scoped]]\nwho = 'unix:41004'\nrole = 'viewer'\nservers = ['server:web']\n";

const DEMOTED: &str = "[access]\nviewers = ['unix:41001']\n";

/// A daemon on a socket that others reach, and a `settlectl` that they may run.
struct House {
    daemon: TestDaemon,
    file: PathBuf,
    settlectl: PathBuf,
    _dir: TempDir,
}

impl House {
    async fn open() -> Self {
        let dir = open_dir();
        let program = dir.path().join("settlectl");
        std::fs::copy(settlectl(), &program).unwrap();
        let home = open_dir();
        let file = home.path().join("settled.toml");
        std::fs::write(&file, ROLES).unwrap();
        // The data directory is closed to all others.
        let socket = dir.path().join("settled.sock");
        let options = daemon::Options::default()
            .set("LISTEN__UNIX", &socket.display().to_string())
            .set("LISTEN__UNIX_GROUP", &SOCKET.to_string());
        Self { daemon: options.start_in(home).await, file, settlectl: program, _dir: dir }
    }

    /// How `settlectl` ends for a user, and what it says.
    async fn says(&self, uid: u32, arguments: &[&str]) -> (i32, String) {
        let endpoint = format!("unix:{}", self.daemon.socket().display());
        let mut command = Command::new(&self.settlectl);
        command.uid(uid).gid(SOCKET).env_clear().current_dir("/");
        let output = command.args(["--endpoint", &endpoint]).args(arguments).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap().trim().to_owned())
    }
}

fn open_dir() -> TempDir {
    let dir = tempfile::Builder::new().prefix("settled").tempdir().unwrap();
    open_to_all(dir.path());
    dir
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "needs root, to be other users")]
async fn p14_other_users_are_what_the_configuration_makes_them_and_are_told_so() {
    let house = House::open().await;
    let roles = [
        (0, "unix:0 (admin)"),
        (VIEWER, "unix:1 (viewer)"),
        (OPERATOR, "unix:41001 (operator)"),
        (ADMIN, "unix:41002 (admin)"),
        (CONFINED, "unix:41004 (viewer) on server:web"),
    ];
    for (uid, words) in roles {
        assert_eq!(house.says(uid, &["whoami"]).await, (0, words.to_owned()));
        assert_eq!(house.says(uid, &["status"]).await.0, 0, "{words} may look");
    }
    let retry: &[&str] = &["retry", "web/thing/a"];
    let reconcile: &[&str] = &["reconcile"];
    for (uid, command, lacks) in
        [(VIEWER, retry, "operator"), (VIEWER, reconcile, "admin"), (OPERATOR, reconcile, "admin")]
    {
        let (exit, words) = house.says(uid, command).await;
        assert_eq!(exit, 4, "{command:?} as {uid}: {words}");
        for part in [&format!("unix:{uid}"), &format!("the role {lacks}"), "[access]"] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
    assert_eq!(house.says(ADMIN, reconcile).await.0, 0);
    let (exit, words) = house.says(OPERATOR, retry).await;
    assert!(exit == 4 && words.contains("web"), "let through, and not found: {words}");
    let (exit, words) = house.says(STRANGER, &["whoami"]).await;
    assert_eq!(exit, 4, "{words}");
    assert!(words.contains("name unix:41003 in access.viewers"), "{words}");

    // All of that is on record, by whom and why.
    let (exit, words) = house.says(ADMIN, &["-o", "json", "audit", "list", "--result", "refused"]).await;
    assert_eq!(exit, 0, "{words}");
    let audit: serde_json::Value = serde_json::from_str(&words).unwrap();
    let told = |entry: &serde_json::Value| {
        ["principal", "method", "code"].map(|field| entry[field].as_str().unwrap().to_owned())
    };
    let told: Vec<_> = audit["entries"].as_array().unwrap().iter().rev().map(told).collect();
    let expected = [
        ["unix:1", "Resources.Retry", "PERMISSION_DENIED"],
        ["unix:1", "Admin.Reconcile", "PERMISSION_DENIED"],
        ["unix:41001", "Admin.Reconcile", "PERMISSION_DENIED"],
        ["unix:41001", "Resources.Retry", "NOT_FOUND"],
        ["unix:41003", "Admin.WhoAmI", "PERMISSION_DENIED"],
    ];
    assert_eq!(told, expected.map(|row| row.map(ToOwned::to_owned)));
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "needs root, to be other users")]
async fn p14_work_of_who_lost_the_role_meanwhile_is_blocked_when_its_turn_comes() {
    let house = House::open().await;
    let daemon = &house.daemon;
    let server = Server::start();
    server.register(daemon, "web").await;
    let pause = PauseServerRequest { request_id: fresh_id(), server: "web".to_owned() };
    daemon.servers().pause(pause).await.unwrap();
    let witness = server.path("witness");
    let command = format!("command=touch {}", witness.display());
    let install = "-o json install scheduled_task --server web --name a --set";
    let install: Vec<_> = install.split(' ').chain(["expression=5 4 * * *", "--set", &command]).collect();
    let (exit, words) = house.says(OPERATOR, &install).await;
    assert_eq!(exit, 0, "{words}");
    let answer: serde_json::Value = serde_json::from_str(&words).unwrap();
    let run = answer["run"]["id"].as_str().unwrap().to_owned();
    assert_eq!(answer["run"]["principal"], "unix:41001");

    std::fs::write(&house.file, DEMOTED).unwrap();
    daemon.reload();
    let viewer = "unix:41001 (viewer)";
    until("the reload", async || (house.says(OPERATOR, &["whoami"]).await.1 == viewer).then_some(())).await;
    let resume = ResumeServerRequest { request_id: fresh_id(), server: "web".to_owned() };
    daemon.servers().resume(resume).await.unwrap();
    let run = settled(daemon, &run).await;
    assert_eq!((run.outcome(), run.reason()), (Outcome::Blocked, Reason::Forbidden), "{run:#?}");
    assert!(run.steps.is_empty() && !witness.exists(), "{run:#?}");
}
