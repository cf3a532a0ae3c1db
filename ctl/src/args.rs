//! The command line: what can be typed and what the help says. It reads, it does nothing.

#![expect(clippy::doc_markdown, reason = "these comments are the help that people read on a terminal")]

mod audit;
mod lifecycles;
mod resources;
mod runs;
mod schedules;
mod secrets;
mod servers;
mod tokens;
pub(crate) mod values;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::audit::{AuditArgs, AuditCommand, AuditFilterArgs, AuditListArgs};
pub(crate) use self::lifecycles::{
    ApplyArgs, CreateArgs, DecideArgs, EnrollArgs, EnrollmentCommand, EnrollmentListArgs, EnrollmentShowArgs,
    LifecycleCommand,
};
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

/// What every command takes.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Where settled listens: unix:/path/to/settled.sock, or https://HOST:PORT on another machine
    #[arg(
        long,
        global = true,
        env = "SETTLECTL_ENDPOINT",
        value_name = "ENDPOINT",
        help_heading = "Global options"
    )]
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
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_people_type_is_understood() {
        let table = [
            ("install site --server web1 --set a=b --set c=@f --secret t=@x --dry-run", true),
            ("install site --server web1 --dry-run --wait", false),
            ("install site", false),
            ("adopt nginx --server web1 --set a=b --secret c=@f --wait", true),
            ("adopt nginx --server web1 --dry-run", false),
            ("install site --server web1 --with-requirements --wait", true),
            ("update web1/site/site --set a=b --dry-run", true),
            ("remove web1/site/site --dry-run", true),
            ("remove web1/database/shop --set purge=true --wait", true),
            ("do web1/deployment/site rollback --set to=r41", true),
            ("package check a.toml b.toml", true),
            ("package check", false),
            ("remove web1/site/site --dry-run --wait", false),
            ("do web1/site/site rollback --dry-run", true),
            ("pause web1/site/site --dry-run", false),
            ("update web1/site/site --set a=b --wait -o json", true),
            ("do web1/site/site rollback --wait", true),
            ("remove web1/site/site --queue-limit 30m", true),
            ("probe web1/site/site --queue-limit 30m", false),
            ("run retry 01JZ3V6K8Q0000000000000000 --wait --queue-limit 2h", true),
            ("server add web1 [2001:db8::1]:2222 --user deploy --label site=fra", true),
            ("server add web1 2001:db8::1 --user deploy", false),
            ("server edit web1", false),
            ("server edit web1 --via gate", true),
            ("server edit web1 --via gate --direct", false),
            ("server edit web1 --no-windows", true),
            ("server edit web1 --window daily --window weekly --time-zone UTC", true),
            ("server edit web1 --window daily --no-windows", false),
            ("server edit web1 --repair-dpkg --no-repair-dpkg", false),
            ("server rekey web1", false),
            ("server takeover web1 --force", true),
            ("server unlock web1", false),
            ("server unlock web1 --reason hangs", true),
            ("server edit web1 --agent --identity key", false),
            ("resource list --status active", true),
            ("resource list --status gone", false),
            ("run list --state queued --outcome failed --limit 5", true),
            ("run list --limit 0", false),
            ("watch --since 01GEN:42 --kind run --kind step", true),
            ("watch --server a --server b --label x=y --resource a/b/c --package b", true),
            ("watch --since 42", false),
            ("watch --since 01GEN:42 --snapshot", false),
            ("package reload --request-id x", true),
            ("reconcile --request-id x", true),
            ("drain", true),
            ("lifecycle apply a.toml --map old=new --dry-run", true),
            ("lifecycle apply", false),
            ("lifecycle run", true),
            ("lifecycle run trial --request-id x", true),
            ("lifecycle clean --dry-run", true),
            ("enroll trial user/42 --payload {} --at 2026-03-01T00:00:00Z", true),
            ("enroll trial user/42 --at soon", false),
            ("enroll trial user/42 --cancel", false),
            ("enroll trial user/42 --again --cancel", true),
            ("enrollment list --lifecycle trial --subject user/42 --status failed", true),
            ("enrollment list --due-before 2026-03-01T00:00:00Z --status failed", false),
            ("enrollment show trial/user/42 --log --stage a --outcome timed-out", true),
            ("enrollment show trial/user/42 --stage a", false),
            ("enrollment reset trial/user/42 --cancel", true),
            ("enrollment approve trial/user/42 --note fine", true),
            ("drain --detach --wait", true),
            ("drain --cancel", true),
            ("drain --cancel --detach", false),
            ("drain --cancel --wait", false),
            ("schedule add a @daily --do renew --package p --label tier=web --overlap queue", true),
            ("schedule add a @daily --do restart --resource web1/p/n --missed all --missed-within 2h", true),
            ("schedule add a @daily --do renew --package p", false),
            ("schedule add a @daily --server web1", false),
            ("schedule add a @daily --do renew --enroll c --server web1", false),
            ("schedule add a @daily --enroll c", false),
            ("schedule add a @daily --enroll c --subject user/1 --subject user/2 --again", true),
            ("schedule add a @daily --enroll c --label tier=web --package site --payload {}", true),
            ("schedule add a @daily --enroll c --subject user/1 --label tier=web", false),
            ("schedule edit a --enroll c --subject user/1", true),
            ("schedule add a @daily --do renew --package p --server web1 --label a=b", false),
            ("schedule add a @daily --do renew --package p --server web1 --starts soon", false),
            (
                "schedule add a @daily --do renew --package p --server web1 --starts 2026-12-01T08:00:00Z",
                true,
            ),
            ("schedule edit a", false),
            ("schedule edit a --cron @hourly --no-end", true),
            ("schedule edit a --overlap cancel_earlier", true),
            ("schedule edit a --ends 2026-12-01T08:00:00Z --no-end", false),
            ("schedule list --paused", true),
            ("schedule show a --history 3", true),
            ("schedule fire a --request-id x", true),
            ("--token st_secret status", false),
            ("completions zsh", true),
            ("frobnicate", false),
        ];
        understands(&table);
    }

    #[test]
    fn what_people_ask_of_the_audit_and_of_tokens_is_understood() {
        understands(&[
            ("token create ci --role operator --days 30", true),
            ("token create ci --role operator --scope label:tier=web --scope server:db1", true),
            ("token create ci", false),
            ("token create ci --role root", false),
            ("token list --limit 3", true),
            ("token revoke ci --request-id x", true),
            ("token revoke", false),
            ("--endpoint https://a:1 --ca ca.pem --token-file t status", true),
            ("status --endpoint https://a:1 --cert c --key k", true),
            ("status -o yaml", true),
            ("audit", true),
            ("audit list --limit 3", true),
            ("audit --limit 3", true),
            ("audit list --principal unix:7 --verb operate --result refused", true),
            ("audit list --since yesterday", false),
            ("audit show 12", true),
            ("audit show x", false),
            ("audit export --server web1", true),
        ]);
    }

    fn understands(table: &[(&str, bool)]) {
        for (line, good) in table {
            let words = std::iter::once("settlectl").chain(line.split(' '));
            let parsed = Cli::try_parse_from(words);
            assert_eq!(parsed.is_ok(), *good, "{line}: {:?}", parsed.err().map(|e| e.to_string()));
        }
    }

    /// The words of a line of shell that knows no quotes but single ones.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn the_commands_of_the_readme_and_of_the_demo_s_last_words_can_be_typed_as_they_stand() {
        let texts = [include_str!("../../README.md"), include_str!("../../tests/demo/run.sh")];
        for text in texts {
            let commands: Vec<_> =
                text.lines().map(str::trim).filter(|l| l.starts_with("settlectl ")).collect();
            assert!(commands.len() > 2, "{commands:?}");
            for command in commands {
                let line = command.replace("SHA256:...", &format!("SHA256:{}", "x".repeat(43)));
                let parsed = Cli::try_parse_from(words(&line)).unwrap_or_else(|e| panic!("{command}: {e}"));
                if let Command::Install(install) = parsed.command {
                    install.values.parameters().unwrap_or_else(|e| panic!("{command}: {:?}", e.lines));
                }
            }
        }
    }
}
