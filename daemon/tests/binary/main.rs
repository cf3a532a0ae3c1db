//! The program `settled` itself: its exit codes, its signals, its words to systemd.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use daemon::{Daemon, Home, definition, text};
use rustix::process::{Resource, Rlimit, Signal};
use settled_proto::v1::admin_client::AdminClient;
use settled_proto::v1::backup_response::Part;
use settled_proto::v1::packages_client::PackagesClient;
use settled_proto::v1::{BackupRequest, GetStatusRequest, ListPackagesRequest};
use tonic::transport::{Channel, Endpoint};

#[test]
fn check_tells_what_can_work_and_what_cannot_and_starts_nothing() {
    let home = Home::new();
    let good = home.run("check");
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).ends_with("# The configuration can work.\n"), "{}", text(&good.stdout));

    let typo = home.run("check --log-level infos");
    assert_eq!(typo.status.code(), Some(1), "{}", text(&typo.stdout));
    assert!(text(&typo.stderr).contains("log.level = \"infos\""), "{}", text(&typo.stderr));

    home.package("typo", &definition("typo", "a").replace("script", "scirpt"));
    let bad = home.run("check");
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("typo.toml:"), "{}", text(&bad.stderr));

    std::fs::remove_file(home.path("packages/typo.toml")).unwrap();
    let key = home.path("master.key");
    home.configure(&format!("[secrets]\nkey_file = '{}'", key.display()));
    for (bytes, mode, wrong) in [
        (None, 0o600, "put the key there"),
        (Some(31), 0o600, "holds 31 bytes"),
        (Some(32), 0o644, "others may read it (mode 644)"),
    ] {
        if let Some(bytes) = bytes {
            std::fs::write(&key, vec![7; bytes]).unwrap();
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let bad = home.run("check");
        assert_eq!(bad.status.code(), Some(1), "{}", text(&bad.stdout));
        assert!(text(&bad.stderr).contains(wrong), "{}", text(&bad.stderr));
    }

    home.configure("[lane]\nlease_s = 5");
    let bad = home.run("check");
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("lane.lease_s"), "{}", text(&bad.stderr));
    assert!(!home.path(".settled").exists(), "nothing was started");
}

#[test]
fn check_tells_whether_a_backup_is_sound_and_its_key_is_here() {
    let home = Home::new();
    let daemon = home.start();
    let backup = home.path("a backup.db");
    let bytes = Client::of(&daemon).backup();
    std::fs::write(&backup, &bytes).unwrap();
    let check = || {
        let checked = home.settled("check --backup").arg(&backup).output().unwrap();
        (checked.status.code(), text(&checked.stdout), text(&checked.stderr))
    };
    let (code, said, why) = check();
    assert!(code == Some(0) && said.contains("is sound, and its master key is here"), "{said} {why}");

    std::fs::rename(home.path(".settled/key"), home.path("key")).unwrap();
    let (code, _, why) = check();
    assert!(code == Some(1) && why.contains("its secrets need the master key"), "{why}");
    std::fs::rename(home.path("key"), home.path(".settled/key")).unwrap();

    // Half of it, and one of which a part was written over.
    std::fs::write(&backup, &bytes[..bytes.len() / 2]).unwrap();
    let (code, _, why) = check();
    assert!(code == Some(1) && why.contains("a backup.db"), "{why}");
    let mut damaged = bytes;
    let middle = damaged.len() / 2;
    damaged[middle..middle + 20_000].fill(7);
    std::fs::write(&backup, damaged).unwrap();
    let (code, _, why) = check();
    assert!(code == Some(1) && why.contains("a backup.db"), "{why}");
}

#[test]
fn unit_prints_a_unit_with_the_configuration_s_own_paths_and_refuses_what_the_unit_hides() {
    let home = Home::new();
    std::fs::write(home.path("settled.toml"), "data_dir = '/srv/things'\n").unwrap();
    let refused = home.run("unit");
    assert_eq!(refused.status.code(), Some(2), "below /tmp: {}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("hides /tmp"), "{}", text(&refused.stderr));

    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_settled"));
    let printed = command.env_clear().env("SETTLED_DATA_DIR", "/srv/things").arg("unit").output().unwrap();
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains("\nReadWritePaths=/srv/things\n"), "{}", text(&printed.stdout));
    let alone = text(&printed.stdout).contains("PrivateUsers");
    assert!(
        !alone,
        "in a user namespace all callers but root would look like one: nobody could be given a role"
    );
}

#[test]
fn p13_what_cannot_work_ends_with_2_and_a_second_daemon_with_1() {
    let home = Home::new();
    assert_eq!(home.run("--no-such-flag").status.code(), Some(2));

    home.configure("[lane]\nrenew_s = 20");
    let ended = home.run("");
    assert_eq!(ended.status.code(), Some(2), "{}", text(&ended.stderr));
    assert!(
        text(&ended.stderr).starts_with("settled: lane.lease_s = 30 is too small"),
        "{}",
        text(&ended.stderr)
    );

    // What the built-in packages ask for is too much for it.
    home.configure("[run]\nqueue_limit_s = 1500");
    let ended = home.run("");
    assert_eq!(ended.status.code(), Some(2), "{}", text(&ended.stderr));
    assert!(
        text(&ended.stderr).contains("timeout = 1800s is too long for run.queue_limit_s = 1500"),
        "{}",
        text(&ended.stderr)
    );

    home.configure("");
    home.package("typo", &definition("typo", "a").replace("script", "scirpt"));
    let ended = home.run("");
    assert_eq!(ended.status.code(), Some(2), "{}", text(&ended.stderr));
    let said = text(&ended.stderr);
    assert!(said.contains("typo.toml:9: operations.install.steps[0].scirpt: "), "{said}");
    assert!(!home.path(".settled").exists(), "nothing was started");

    std::fs::remove_file(home.path("packages/typo.toml")).unwrap();
    let daemon = home.start();
    let second = home.run("");
    assert_eq!(second.status.code(), Some(1), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("another settled"), "{}", text(&second.stderr));
    drop(daemon);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the two seconds are the promise")]
fn a_term_stops_it_within_two_seconds_with_0_and_its_store_is_where_its_directory_says() {
    let home = Home::new();
    let daemon = home.start();
    assert!(
        home.path(".settled/settled.db").exists(),
        "the path of the data directory is taken as it stands"
    );
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.hears("STOPPING=1");
    let (status, log) = daemon.end();
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(2), "{took:?}\n{log}");
    assert!(log.contains("stopped; what runs on servers goes on there"), "{log}");
}

#[test]
fn p6_a_daemon_in_good_health_feeds_the_watchdog() {
    let home = Home::new();
    let daemon = home.start();
    daemon.hears("WATCHDOG=1");
    daemon.hears("WATCHDOG=1");
}

#[test]
fn metrics_are_served_on_their_own_address_and_nothing_else_is() {
    let home = Home::new();
    // An address that no other test has: all of 127.0.0.0/8 is this machine.
    let pid = std::process::id();
    let address = format!("127.{}.{}.{}:9464", pid >> 16 & 0x7f, pid >> 8 & 0xff, (pid & 0xff).max(1));
    home.configure(&format!("[listen]\nmetrics = '{address}'"));
    let daemon = home.start();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    // The reconciler looks with the first tick, which the watchdog does not wait for.
    let answer = loop {
        daemon.hears("WATCHDOG=1");
        let answer = get("/metrics");
        if answer.contains("\nsettled_reconciler_last_look_seconds ") {
            break answer;
        }
    };
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let value = |name: &str| -> f64 {
        let line = answer.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name}: {answer}")).parse().unwrap()
    };
    assert!((0.0..0.1).contains(&value("settled_runs_open")), "{answer}");
    assert!((0.0..0.1).contains(&value("settled_runs_queued")), "{answer}");
    assert!((0.0..0.1).contains(&value("settled_lanes_held")), "{answer}");
    assert!((0.0..0.1).contains(&value("settled_runs_waiting{reason=\"window\"}")), "{answer}");
    let margin = value("settled_lease_margin_seconds");
    assert!(margin > 0.0 && margin <= 20.0, "{margin}");
    assert!(value("settled_reconciler_last_look_seconds") < 60.0, "{answer}");
    assert!(get("/").starts_with("HTTP/1.1 404"));
    // Who connects and says nothing keeps nobody waiting. Each of them may stay for two seconds, so on a machine that stands still for as
    // long it is tried again.
    let answered_meanwhile = || {
        let silent: Vec<_> = (0..15).map(|_| TcpStream::connect(&address).unwrap()).collect();
        assert!(get("/metrics").starts_with("HTTP/1.1 200"));
        let stays = |mut caller: TcpStream| {
            caller.set_nonblocking(true).unwrap();
            caller.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        silent.into_iter().all(stays)
    };
    assert!((0..3).any(|_| answered_meanwhile()), "answered after those who say nothing");
}

/// Processor time that it has used, in hundredths of a second.
fn ticks(daemon: &Daemon<'_>) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_file_descriptors_whoever_speaks_is_still_served_and_the_processor_rests() {
    let home = Home::new();
    let daemon = home.start();
    let client = Client::of(&daemon);
    client.warnings();
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64;
    let few = Rlimit { current: Some(open + 10), maximum: Some(open + 10) };
    rustix::process::prlimit(Some(daemon.process()), Resource::Nofile, few).unwrap();

    // More than there are descriptors, again and again, and none of them says a word.
    let silent = || -> Vec<_> { (0..200).map(|_| UnixStream::connect(daemon.socket()).unwrap()).collect() };
    let mut callers = silent();
    client.warnings();
    Client::of(&daemon).warnings();
    callers.extend(silent());
    Client::of(&daemon).warnings();

    // The watchdog is fed every two seconds.
    daemon.hears("WATCHDOG=1");
    let before = ticks(&daemon);
    daemon.hears("WATCHDOG=1");
    daemon.hears("WATCHDOG=1");
    let used = ticks(&daemon) - before;
    assert!(used < 100, "{used} hundredths of a second in four seconds in which nobody asks anything");
    Client::of(&daemon).warnings();
    drop(callers);
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");
    // Once a minute: as often as that on a machine that is slow, and not once per caller.
    assert!((1..10).contains(&log.matches("file descriptors are lacking").count()), "{log}");
}

/// What the daemon says of itself over its socket.
struct Client {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

impl Client {
    fn of(daemon: &Daemon<'_>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("unix:{}", daemon.socket().display())).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self { runtime, channel }
    }

    fn packages(&self) -> BTreeSet<String> {
        let mut client = PackagesClient::new(self.channel.clone());
        let answer = self.runtime.block_on(client.list(ListPackagesRequest {})).unwrap().into_inner();
        answer.packages.into_iter().map(|p| p.name).collect()
    }

    fn warnings(&self) -> Vec<String> {
        let mut client = AdminClient::new(self.channel.clone());
        self.runtime.block_on(client.get_status(GetStatusRequest {})).unwrap().into_inner().warnings
    }

    /// The bytes of a backup.
    fn backup(&self) -> Vec<u8> {
        let mut client = AdminClient::new(self.channel.clone());
        self.runtime.block_on(async {
            let mut parts = client.backup(BackupRequest {}).await.unwrap().into_inner();
            let mut bytes = Vec::new();
            while let Some(answer) = parts.message().await.unwrap() {
                if let Some(Part::Data(data)) = answer.part {
                    bytes.extend(data);
                }
            }
            bytes
        })
    }
}

/// Sends HUP; answers what systemd hears of it.
fn reload(daemon: &Daemon<'_>) -> Vec<String> {
    daemon.signal(Signal::HUP);
    let heard = daemon.hears("READY=1");
    let fed = |message: &String| message == "WATCHDOG=1\n";
    heard.into_iter().filter(|message| !fed(message)).collect()
}

#[test]
fn a_hup_applies_everything_or_refuses_the_whole_by_name() {
    let home = Home::new();
    let daemon = home.start();
    let client = Client::of(&daemon);
    assert!(!client.packages().contains("mine"));

    home.package("mine", &definition("mine", "a"));
    home.configure("[log]\nlevel = 'debug'");
    let heard = reload(&daemon);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{heard:?}");
    assert_eq!(heard[1], "READY=1\nSTATUS=serving\n");
    assert!(client.packages().contains("mine"));
    assert_eq!(client.warnings(), [""; 0]);

    // One wrong thing, and nothing of the rest is applied.
    let refused = |what: &[&str]| {
        home.package("another", &definition("another", "a"));
        let heard = reload(&daemon);
        assert!(heard[1].contains("the last reload was refused"), "{heard:?}");
        assert!(!client.packages().contains("another"), "{what:?}");
        let warnings = client.warnings();
        for part in what {
            assert!(warnings[0].contains(part), "{part}: {warnings:?}");
        }
    };
    home.configure("[lane]\npoll_s = 2\n[ssh]\nconnect_timeout_s = 9");
    refused(&["lane.poll_s, ssh.connect_timeout_s cannot change while settled runs", "restart"]);
    home.configure("[lane]\nlease_s = 5");
    refused(&["lane.lease_s = 5 is too small"]);
    home.configure("[run]\nqueue_limit_s = 1500");
    refused(&[
        "deployment.toml:",
        ": operations.install: timeout = 1800s is too long for run.queue_limit_s = 1500",
        "Set run.queue_limit_s to 1951",
    ]);
    home.configure("[lane]\nleese_s = 5");
    refused(&["lane.leese_s", "no setting"]);
    home.configure("");
    home.package("mine", &definition("mine", "a").replace("script", "scirpt"));
    refused(&["mine.toml:9: operations.install.steps[0].scirpt"]);
    assert!(client.packages().contains("mine"), "the old definition stays");

    home.package("mine", &definition("mine", "b"));
    assert_eq!(reload(&daemon)[1], "READY=1\nSTATUS=serving\n");
    assert!(client.packages().contains("another"));
    assert_eq!(client.warnings(), [""; 0]);

    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("the reload was refused").count(), 5, "{log}");
}
