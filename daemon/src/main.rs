//! The command `settled`: reads the arguments, loads the configuration, and runs the daemon until it is told to stop.
//!
//! Exit codes: 0 ended as asked, or `check` found nothing; 1 something failed while it started or ran, or `check` found
//! faults; 2 the arguments or the configuration cannot work, nothing was started and starting again does not help.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use settled::app::{self, Anew};
use settled::clock::SystemClock;
use settled::config::{Config, Faults, Flag, Sources, Surroundings};
use settled::process::{Process, Signals, unit};
use settled::telemetry;

const FAILED: u8 = 1;
const CANNOT_WORK: u8 = 2;

const AFTER_HELP: &str = "\
Every setting can also come from the environment, with two underscores between levels: SETTLED_LANE__POLL_S=2.
Flags win over the environment, the environment over the file, the file over the defaults.

SIGHUP (systemctl reload settled) reads the file and the packages again, all or nothing. It can change packages.dir and what
is in it, access.*, listen.tls.*, listen.web.*, log.level, retention.*, run.queue_limit_s, run.attempts, run.drain, run.drain_grace_s, stale.*, probe.*, lane.queue_max
and lane.at_work_max. Any other change is refused by name, since it needs a restart; so is a file with a fault.
`settlectl status` tells why a reload was refused.

Exit codes: 0 ended as asked; 1 failed while starting or running, or `check` found faults;
2 the arguments or the configuration cannot work, and nothing was started.";

/// Puts things on Linux servers over SSH, and brings every run to an end that is true.
///
/// Without a command it serves until it is told to stop.
#[derive(Parser)]
#[command(name = "settled", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Checks the configuration and the packages, and starts nothing
    Check {
        /// Check this backup instead: whether it is sound, and whether the master key is here that it needs
        #[arg(long, value_name = "FILE")]
        backup: Option<PathBuf>,
    },
    /// Prints the systemd unit, with timings that match the configuration
    Unit,
}

#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "these sentences are the help text, where backticks and angle brackets are noise"
)]
struct Settings {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Keep the store, the key and the lock in this directory [data_dir]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<String>,
    /// Use this store: sqlite://PATH or postgres://... [database.url]
    #[arg(long, value_name = "URL", global = true)]
    database_url: Option<String>,
    /// Listen on this unix socket [listen.unix]
    #[arg(long, value_name = "PATH", global = true)]
    listen_unix: Option<String>,
    /// Load packages from this directory, too [packages.dir]
    #[arg(long, value_name = "DIR", global = true)]
    packages_dir: Option<String>,
    /// Log from this level on: error, warn, info, debug, trace, or a list of filters [log.level]
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<String>,
    /// Log as text, as json, or to journald [log.format]
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<String>,
}

impl Settings {
    fn sources(self) -> Result<Sources, Faults> {
        let flags = [
            ("--data-dir", "data_dir", self.data_dir),
            ("--database-url", "database.url", self.database_url),
            ("--listen-unix", "listen.unix", self.listen_unix),
            ("--packages-dir", "packages.dir", self.packages_dir),
            ("--log-level", "log.level", self.log_level),
            ("--log-format", "log.format", self.log_format),
        ];
        let said = |(name, key, value): (_, _, Option<_>)| value.map(|value| Flag { name, key, value });
        Sources::from_process(self.config, flags.into_iter().filter_map(said).collect())
    }
}

fn main() -> ExitCode {
    let Arguments { command, settings } = Arguments::parse();
    let done = match command {
        None => serve(settings),
        Some(Command::Check { backup: None }) => check(settings),
        Some(Command::Check { backup: Some(file) }) => check_backup(settings, &file),
        Some(Command::Unit) => print_unit(settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            for line in text.lines() {
                eprintln!("settled: {line}");
            }
            ExitCode::from(code)
        }
    }
}

/// What is said at the end, and the exit code that goes with it.
struct Failure {
    code: u8,
    text: String,
}

fn failed(error: impl Into<anyhow::Error>) -> Failure {
    Failure { code: FAILED, text: format!("{:#}", error.into()) }
}

fn cannot_work(error: impl Into<anyhow::Error>) -> Failure {
    Failure { code: CANNOT_WORK, text: format!("{:#}", error.into()) }
}

fn serve(settings: Settings) -> Result<(), Failure> {
    let sources = settings.sources().map_err(cannot_work)?;
    let config = load(&sources).map_err(cannot_work)?;
    let level = telemetry::init(&config.log).map_err(cannot_work)?;
    let process = Process::from_env();
    app::check(&config, &process).map_err(cannot_work)?;
    if let Some(interval) = process.watchdog {
        config.check_watchdog(interval).map_err(cannot_work)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let anew = Anew { config: Box::new(move || load(&sources)), log: Box::new(move |text| level.set(text)) };
    runtime.block_on(supervise(config, process, anew)).map_err(failed)
}

fn load(sources: &Sources) -> anyhow::Result<Config> {
    Ok(Config::load(sources, &Surroundings::from_process()?)?)
}

/// The daemon, with its signals and its watchdog beside it. A second signal drops it where it stands.
async fn supervise(config: Config, process: Process, anew: Anew) -> anyhow::Result<()> {
    let signals = Signals::install()?;
    tokio::spawn(signals.forward(process.stop.clone(), process.reload.clone()));
    tokio::spawn(process.clone().watch(Arc::new(SystemClock::new())));
    let stop = process.stop.clone();
    tokio::select! {
        ended = app::run(config, process, anew) => ended,
        () = stop.hard() => Ok(()),
    }
}

fn check(settings: Settings) -> Result<(), Failure> {
    let config = load(&settings.sources().map_err(failed)?).map_err(failed)?;
    telemetry::filter(&config.log.level).map_err(failed)?;
    app::check(&config, &Process::from_env()).map_err(failed)?;
    let shown = config.to_toml().map_err(failed)?;
    print(&format!("{shown}\n# The configuration can work.\n"))
}

fn check_backup(settings: Settings, file: &Path) -> Result<(), Failure> {
    let config = load(&settings.sources().map_err(failed)?).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let told = runtime.block_on(app::check_backup(&config, file)).map_err(failed)?;
    print(&format!("{told}\n"))
}

/// The defaults are those that the unit gives the daemon, not those of the shell that asks.
fn print_unit(settings: Settings) -> Result<(), Failure> {
    let sources = settings.sources().map_err(cannot_work)?;
    let file = sources.file.as_deref().map(std::path::absolute).transpose().map_err(failed)?;
    let config = Config::load(&sources, &Surroundings::systemd()).map_err(cannot_work)?;
    let text = unit::render(&config, file.as_deref()).map_err(|text| Failure { code: CANNOT_WORK, text })?;
    print(&text)
}

/// A reader that goes away early, such as `head`, is no fault.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}
