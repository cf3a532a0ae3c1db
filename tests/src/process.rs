//! `settled` as a process of its own: the binary of this build, ended, stopped and continued by signals as an operator, the kernel or a
//! hypervisor would. It never outlives its test.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::guarded::{Guarded, Running};
use crate::patience::until;

/// A program of this build, beside the test's own.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test knows where it is");
    let target =
        test.parent().and_then(Path::parent).expect("tests are built below the target directory").join(name);
    assert!(target.exists(), "{} is missing: build the workspace (make test does)", target.display());
    target
}

/// Where a daemon lives: its configuration, its data, its log. One daemon after the other may run here.
pub struct Home(TempDir);

impl Home {
    /// A home with this configuration. A section that stands in `settings` must not stand there twice.
    pub fn new(settings: &[(&str, &str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("settled").tempdir().expect("a temporary directory");
        let home = Self(directory);
        let mut sections: Vec<&str> = settings.iter().map(|(section, ..)| *section).collect();
        sections.sort_unstable();
        sections.dedup();
        let mut text = format!("data_dir = '{}'\n", home.path("data").display());
        for section in sections {
            writeln!(text, "[{section}]").expect("a text takes all");
            for (_, key, value) in settings.iter().filter(|(of, ..)| *of == section) {
                writeln!(text, "{key} = {value}").expect("a text takes all");
            }
        }
        fs::write(home.path("settled.toml"), text).expect("the configuration can be written");
        home
    }

    /// A file of the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("data/settled.sock")
    }

    /// A channel to whichever daemon runs here: it connects when it is used, and again after a break.
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("unix:{}", self.socket().display()))
            .expect("the socket's path is an endpoint")
            .connect_lazy()
    }

    /// Starts a daemon, and waits for nothing.
    pub fn start(&self) -> Daemon {
        self.start_under(&[])
    }

    /// Starts a daemon that may open so many files at most, and waits for nothing.
    pub fn start_with_files(&self, most: u32) -> Daemon {
        let limited = format!("ulimit -n {most} && exec \"$@\"");
        self.start_under(&["sh", "-c", &limited, "sh"])
    }

    /// Starts a daemon as the arguments of this.
    fn start_under(&self, before: &[&str]) -> Daemon {
        let (program, config) = (program("settled"), self.path("settled.toml"));
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        let arguments = ["-i", "PATH=/usr/bin:/bin"].iter().chain(before).map(OsStr::new).chain([
            program.as_os_str(),
            OsStr::new("--config"),
            config.as_os_str(),
        ]);
        let guarded = Guarded {
            program: Path::new("/usr/bin/env"),
            arguments: arguments.collect(),
            signal: "KILL",
            identity: None,
            remove: None,
        };
        Daemon(guarded.spawn(log.into()).unwrap_or_else(|why| panic!("settled cannot be started: {why}")))
    }

    /// Waits until a daemon answers here.
    pub async fn serves(&self) {
        let channel = self.channel();
        until("the daemon serves", async || {
            let status = settled_proto::v1::GetStatusRequest {};
            settled_proto::v1::admin_client::AdminClient::new(channel.clone()).get_status(status).await.ok()
        })
        .await;
    }

    /// What the daemons logged here, its last lines.
    pub fn last_log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// A running daemon. Dropped, it is killed.
pub struct Daemon(Running);

impl Daemon {
    /// SIGKILL, and its end.
    pub fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// The memory that it holds, in KiB.
    pub fn resident_kb(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.0.pid())).expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it holds memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// The time that it has spent at work so far, on all processors together.
    pub fn worked(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.pid())).expect("the process is there");
        // The name in brackets may hold anything; after it come the state, ten numbers, and the two that are wanted.
        let (_, numbers) = stat.rsplit_once(')').expect("its name is in brackets");
        let ticks = numbers.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<_, _>>().expect("numbers");
        Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).expect("few")
    }

    /// Stands still from now on, and does not notice.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on as if nothing had been.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("settled cannot be signalled: {error}"),
        }
    }
}

/// Lets a random span pass: the moment at which something is done to a daemon is the experiment itself, and no event.
#[expect(
    clippy::disallowed_methods,
    reason = "a random moment is what is wanted, and nothing is awaited by it"
)]
pub async fn a_moment(span: Duration) {
    tokio::time::sleep(span).await;
}
