//! The command line: what can be typed and what the help says. It reads, it does nothing.

#![expect(clippy::doc_markdown, reason = "these comments are the help that people read on a terminal")]

mod audit;
mod backup;
mod lifecycles;
mod notifiers;
mod resources;
mod runs;
mod schedules;
mod secrets;
mod servers;
mod tokens;
pub(crate) mod values;
mod watch;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::audit::{AuditArgs, AuditCommand, AuditFilterArgs, AuditListArgs};
pub(crate) use self::backup::BackupArgs;
pub(crate) use self::lifecycles::{
    ApplyArgs, CreateArgs, DecideArgs, EnrollArgs, EnrollmentCommand, EnrollmentListArgs, EnrollmentShowArgs,
    LifecycleCommand,
};
pub(crate) use self::notifiers::{CreateNotifierArgs, DeliveriesArgs, NotifierArgs, NotifierCommand};
pub(crate) use self::resources::{
    AdoptArgs, DoArgs, DryArgs, GivenArgs, InstallArgs, OperateArgs, QueueArgs, RemoveArgs, ResourceCommand,
    ResourceListArgs, TargetArgs, UpdateArgs, ValueArgs,
};
pub(crate) use self::runs::{CancelArgs, FollowArgs, RetryArgs, RunCommand, RunListArgs};
pub(crate) use self::schedules::{
    AddScheduleArgs, EditScheduleArgs, PlaceArgs, ScheduleCommand, ScheduleListArgs, ScheduleShowArgs,
    ScheduleTargetArgs, TermArgs,
};
pub(crate) use self::secrets::{IdentityCommand, SecretsCommand};
pub(crate) use self::servers::{
    AddArgs, EditArgs, RekeyArgs, RemoveServerArgs, ServerCommand, ServerListArgs, ServerTargetArgs,
    TakeoverArgs, UnlockArgs,
};
pub(crate) use self::tokens::{CreateTokenArgs, RevokeTokenArgs, TokenCommand};
pub(crate) use self::watch::WatchArgs;

const AFTER_HELP: &str = "\
Examples:
  settlectl server add web1 192.0.2.7 --user deploy --host-key SHA256:...
  settlectl install firewall_rule --server web1 --set port=443 --set action=allow --wait
  settlectl resource list
  settlectl remove web1/firewall_rule/firewall_rule --wait

See 'settlectl help COMMAND' for the examples of each command.";

const AFTER_LONG_HELP: &str = "\
Examples:
  settlectl server add web1 192.0.2.7 --user deploy --host-key SHA256:...
  settlectl install firewall_rule --server web1 --set port=443 --set action=allow --wait
  settlectl resource list
  settlectl run follow 01JZ3V6K8Q0000000000000000
  settlectl watch --snapshot -o json | jq .transition
  settlectl remove web1/firewall_rule/firewall_rule --wait

Exit codes:
  0    done; with --wait: the run succeeded
  1    failed: the run did not succeed, or settled has a fault
  2    usage: the command line is wrong, or settled found a value that does not fit
  3    unreachable: settled does not run, may not be reached, or went away and did not come back
  4    refused: not allowed, not found, already there, something is in the way, or the queue is full
  130  Ctrl-C ended the waiting. The run goes on; 'settlectl run cancel ID' would stop it

Where settled listens:
  --endpoint, else SETTLECTL_ENDPOINT, else the key 'endpoint' in ~/.config/settlectl.toml or
  /etc/settlectl.toml, else the first socket that exists of ./.settled/settled.sock and
  /run/settled/settled.sock.

On another machine (https://HOST:PORT):
  --ca FILE names the authorities to trust, --token-file FILE or --cert and --key say who you are; else
  SETTLECTL_CA, SETTLECTL_TOKEN_FILE, SETTLECTL_CERT, SETTLECTL_KEY, else the keys 'ca', 'token_file',
  'cert' and 'key' beside 'endpoint' in the same file. A token that a file names is shown to the
  endpoint of that file only.

Output:
  -o json prints one object per line with the field names of the gRPC contract: enums as lower-case
  words, times as RFC 3339, 64-bit numbers as numbers, absent values as null, bytes as base64.
  Lists are one object with the rows in an array; streams (watch, run follow) one object per event.
  Progress and errors go to stderr, results to stdout. NO_COLOR switches colours off.";

/// Puts packages on servers, takes them off again, and tells how it went.
#[derive(Debug, Parser)]
#[command(name = "settlectl", version, after_help = AFTER_HELP, after_long_help = AFTER_LONG_HELP)]
#[command(max_term_width = 100, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Reads what was typed.
    pub(crate) fn typed(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        nothing_is_empty(&mut command, &matches)?;
        Self::from_arg_matches(&matches)
    }
}

/// An empty value was hardly meant, such as that of a variable that is not set; what is to be left out is not typed. A token of the first
/// page is empty in loops.
fn nothing_is_empty(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_empty = |arg: &clap::Arg| {
        let id = arg.get_id().as_str();
        let typed = matches.ids().any(|other| other.as_str() == id)
            && matches.value_source(id) == Some(ValueSource::CommandLine);
        let mut raw = matches.try_get_raw(id).ok().flatten().filter(|_| typed && id != "page_token");
        raw.as_mut().is_some_and(|values| values.any(OsStr::is_empty))
    };
    let empty = command.get_arguments().find(|arg| is_empty(arg)).map(ToString::to_string);
    if let Some(arg) = empty {
        let line = format!("{arg} is empty: give it a value, or leave it out");
        return Err(command.error(ErrorKind::InvalidValue, line));
    }
    match matches.subcommand() {
        Some((name, inner)) => {
            command.find_subcommand_mut(name).map_or(Ok(()), |command| nothing_is_empty(command, inner))
        }
        None => Ok(()),
    }
}

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Where settled listens: unix:/path/to/settled.sock, or https://HOST:PORT on another machine [env: SETTLECTL_ENDPOINT]
    // Not read by clap, whose usage would show it as required whenever the variable is set.
    #[arg(long, global = true, value_name = "ENDPOINT", help_heading = "Global options")]
    pub(crate) endpoint: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    /// How to print: for people, or for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    #[arg(help_heading = "Global options")]
    pub(crate) output: Format,
}

/// How to print results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// One JSON object per line
    Json,
    /// YAML documents
    Yaml,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Install(InstallArgs),
    Update(UpdateArgs),
    Remove(RemoveArgs),
    /// Pause a resource, if its package can
    ///
    /// A paused scheduled task stays registered and does not fire.
    #[command(after_help = "Example:\n  settlectl pause web1/scheduled_task/backup --wait")]
    Pause(OperateArgs),
    /// End the pause of a resource
    #[command(after_help = "Example:\n  settlectl resume web1/scheduled_task/backup --wait")]
    Resume(OperateArgs),
    /// Run the failed operation of a failed resource again
    ///
    /// A new run on the same record, with the parameters that were asked for last.
    #[command(after_help = "Example:\n  settlectl retry web1/deployment/site --wait")]
    Retry(OperateArgs),
    /// Look at the server what is really there
    ///
    /// The answer is stored as 'observed' and changes nothing on the server. It does not wait for its turn.
    #[command(after_help = "Example:\n  settlectl probe web1/firewall_rule/https --wait")]
    Probe(TargetArgs),
    Adopt(AdoptArgs),
    Do(DoArgs),
    /// Register servers and see how they are
    #[command(subcommand, arg_required_else_help = true)]
    Server(ServerCommand),
    /// See which packages there are, check one's own, reload them
    #[command(subcommand, arg_required_else_help = true)]
    Package(PackageCommand),
    /// See what is on the servers
    #[command(subcommand, arg_required_else_help = true)]
    Resource(ResourceCommand),
    /// See, follow, cancel and retry runs
    #[command(subcommand, arg_required_else_help = true)]
    Run(RunCommand),
    /// Have things done again and again, and see what became of it
    #[command(subcommand, arg_required_else_help = true)]
    Schedule(Box<ScheduleCommand>),
    /// Define work in stages, and see how it goes
    #[command(subcommand, arg_required_else_help = true)]
    Lifecycle(LifecycleCommand),
    Enroll(EnrollArgs),
    /// See who goes through lifecycles, and move them on
    #[command(subcommand, arg_required_else_help = true)]
    Enrollment(EnrollmentCommand),
    Watch(WatchArgs),
    /// How the daemon is, and what to do if it is not well
    #[command(after_help = "Example:\n  settlectl status --check || echo 'see: settlectl status'")]
    Status {
        /// End with 1 when something is not well, for scripts and monitors
        #[arg(long)]
        check: bool,
    },
    /// Who you are to settled, and what you may do
    #[command(
        after_help = "Roles: a viewer looks, an operator has work done on servers, too, an admin changes the fleet, too.\nThey are given in [access] of the daemon's configuration."
    )]
    Whoami,
    /// Let others come over TCP: make tokens, see them, revoke them
    #[command(subcommand, arg_required_else_help = true)]
    Token(TokenCommand),
    /// Have people and programs told of what happens
    #[command(subcommand, arg_required_else_help = true)]
    Notifier(Box<NotifierCommand>),
    /// The key by which settled logs in to servers that are added with --installation-identity
    #[command(subcommand, arg_required_else_help = true)]
    Identity(IdentityCommand),
    /// The master key that secrets are sealed with
    #[command(subcommand, arg_required_else_help = true)]
    Secrets(SecretsCommand),
    /// Begin nothing new on this daemon, and let what runs come to its end
    ///
    /// The daemon takes no server and starts no run. What runs is followed to its end; 'settlectl status' tells what is
    /// left of it. Commands are accepted and wait in their queues. With several daemons on one PostgreSQL the others serve
    /// them. It lasts until --cancel or the daemon's next start.
    #[command(
        after_help = "Examples:\n  settlectl drain --wait && systemctl restart settled\n  settlectl drain --cancel"
    )]
    Drain(DrainArgs),
    /// Look now for runs past their time and settle them
    ///
    /// The daemon does this by itself all the time. Doing it twice changes nothing.
    Reconcile(ChangeArgs),
    Backup(BackupArgs),
    /// Who asked for what: the accepted commands, newest first
    #[command(
        after_help = "Examples:\n  settlectl audit list --server web1 --result refused\n  settlectl audit show 4711"
    )]
    Audit(AuditArgs),
    /// Print the completions for a shell
    #[command(after_help = "\
Examples:
  settlectl completions bash > /etc/bash_completion.d/settlectl
  settlectl completions zsh > ~/.zfunc/_settlectl")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Whom to trust, and who one is, on another machine.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct CredentialArgs {
    /// With https: the authorities to trust (PEM), instead of this machine's
    #[arg(long, global = true, env = "SETTLECTL_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// With https: the certificate to show (PEM)
    #[arg(long, global = true, env = "SETTLECTL_CERT", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// With https: the key of that certificate (PEM)
    #[arg(long, global = true, env = "SETTLECTL_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// With https: the file that holds the token to show. The token itself is never typed
    #[arg(long, global = true, env = "SETTLECTL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

impl From<CredentialArgs> for crate::connect::Credentials {
    fn from(args: CredentialArgs) -> Self {
        let CredentialArgs { ca, cert, key, token_file } = args;
        Self { ca, cert, key, token_file }
    }
}

/// The verbs of packages.
#[derive(Debug, Subcommand)]
pub(crate) enum PackageCommand {
    /// All packages that the daemon has loaded
    List,
    /// One package: its parameters, its operations and their steps
    #[command(
        after_help = "Examples:\n  settlectl package show firewall_rule\n  settlectl package show deployment --source > mine.toml"
    )]
    Show {
        /// The package
        package: String,
        /// Print the definition itself, TOML, and nothing else
        #[arg(long)]
        source: bool,
    },
    /// Have the daemon read its package files anew
    ///
    /// All or nothing: with a fault in any file, what is loaded stays. Runs that were accepted before are not changed.
    #[command(after_help = "Example:\n  settlectl package reload")]
    Reload(ChangeArgs),
    /// Print the JSON Schema of packages, for editors
    #[command(
        after_help = "Example:\n  settlectl package schema > package.schema.json\n\nThen write on top of a package:\n  #:schema ./package.schema.json"
    )]
    Schema,
    /// Check definitions without storing them
    ///
    /// Prints 'FILE:LINE: FIELD: what is wrong' for each problem, and ends with 1 if there is any. What a definition
    /// requires is looked for in the other files, and in what the daemon has loaded.
    #[command(after_help = "Example:\n  settlectl package check packages.d/my_app.toml")]
    Check {
        /// TOML files; '-' reads stdin
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// `drain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DrainArgs {
    /// Hand over at once what runs: other daemons follow it. Refused when there is no other daemon
    #[arg(long, conflicts_with = "cancel")]
    pub(crate) detach: bool,
    /// Serve again
    #[arg(long)]
    pub(crate) cancel: bool,
    /// Wait until nothing is left. Ctrl-C ends the waiting, not the drain
    #[arg(short, long, conflicts_with = "cancel")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Which part of a long list.
#[derive(Args, Clone, Debug)]
pub(crate) struct PageArgs {
    /// At most so many rows
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// Go on after an earlier list: its 'next_page_token'
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    pub(crate) page_token: String,
}

/// What every change takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct ChangeArgs {
    /// Makes the command repeatable: the same id with the same content is done once. A fresh one by default
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
}

/// What every change that makes a run takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Whether and how to wait for the run.
#[derive(Args, Clone, Debug)]
pub(crate) struct WaitArgs {
    /// Follow the run to its end; the exit code tells whether it succeeded. Ctrl-C ends the waiting, not the run
    #[arg(short, long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

/// How long to bear with an absent daemon.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct PatienceArgs {
    /// While following: how long the daemon may be away before this gives up, for instance 90s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::duration)]
    pub(crate) patience: std::time::Duration,
}

impl ChangeArgs {
    /// The given id or a fresh one.
    pub(crate) fn id(&self) -> String {
        self.request_id.clone().unwrap_or_else(crate::clock::request_id)
    }
}

#[cfg(test)]
mod tests;
