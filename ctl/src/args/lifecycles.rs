//! The command line of lifecycles and enrollments.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use settled_proto::v1::{EnrollmentStatus, ExecutionOutcome};

use super::{ChangeArgs, PageArgs, values};

/// The verbs of lifecycles.
#[derive(Debug, Subcommand)]
pub(crate) enum LifecycleCommand {
    Apply(ApplyArgs),
    Create(CreateArgs),
    /// All lifecycles
    List(PageArgs),
    /// One lifecycle: its stages, and how many enrollments stand where
    #[command(
        after_help = "Examples:\n  settlectl lifecycle show certificate-renewal\n  settlectl lifecycle show certificate-renewal --source > mine.toml"
    )]
    Show {
        /// Its code
        code: String,
        /// Print the definition itself, TOML, and nothing else
        #[arg(long)]
        source: bool,
    },
    /// Work off now what is due
    ///
    /// Of one lifecycle, or of all that are active. For a lifecycle with 'activation = "hand"' this is the only way.
    #[command(
        after_help = "Examples:\n  settlectl lifecycle run\n  settlectl lifecycle run certificate-renewal"
    )]
    Run {
        /// Its code; all, when none is given
        #[arg(default_value = "", hide_default_value = true)]
        code: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove a lifecycle that nobody goes through any more
    #[command(after_help = "Example:\n  settlectl lifecycle remove certificate-renewal")]
    Remove {
        /// Its code
        code: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove enrollments that were completed long ago, and old lines of the log
    ///
    /// As retention.enrollments_days and retention.executions_days say. The daemon does this by itself, weekly (schedules
    /// settled.clean_enrollments and settled.clean_executions).
    #[command(after_help = "Example:\n  settlectl lifecycle clean --dry-run")]
    Clean {
        /// Only tell how much would go
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// Make a lifecycle be as its file says
///
/// The same text again changes nothing. Another text is a new version: a stage that has begun is done as it began,
/// everything else goes on by the new one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl lifecycle apply certificate-renewal.toml
  settlectl lifecycle apply certificate-renewal.toml --dry-run
  settlectl lifecycle apply certificate-renewal.toml --map check=renew
  settlectl lifecycle apply trial.toml --secret billing=@/root/billing.key")]
pub(crate) struct ApplyArgs {
    /// TOML file; '-' reads stdin
    pub(crate) file: PathBuf,
    /// Whoever waits at a stage that is gone goes on at another one; may be given several times
    #[arg(long = "map", value_name = "GONE=STAGE", value_parser = values::pair)]
    pub(crate) mapping: Vec<(String, String)>,
    /// What a webhook is signed with: 'k=@file' reads a file, 'k=-' reads stdin, byte by byte. Never the value itself
    // Read later, not by clap: its errors repeat what was typed, and this might be a secret.
    #[arg(long = "secret", value_name = "NAME=@FILE|NAME=-")]
    pub(crate) secret: Vec<String>,
    /// Check it, and store nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Be asked for code, dates and stages, see the result, and apply it
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  settlectl lifecycle create --save onboarding.toml")]
pub(crate) struct CreateArgs {
    /// Write the definition to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Take a subject through a lifecycle
///
/// There is one enrollment per lifecycle and subject: asked for twice, it is the same one. --again begins anew.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl enroll server-onboarding server/web1
  settlectl enroll certificate-renewal resource/web1/site/shop
  settlectl enroll trial user/42 --payload '{\"plan\": \"pro\"}' --at 2026-03-01T08:00:00Z
  settlectl enroll trial user/42 --again --cancel")]
pub(crate) struct EnrollArgs {
    /// Code of the lifecycle
    pub(crate) lifecycle: String,
    /// TYPE/ID: server/NAME, resource/SERVER/PACKAGE/NAME, or any subject outside
    pub(crate) subject: String,
    /// What it begins with: a JSON object, or @FILE
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    pub(crate) payload: String,
    /// When its first stage is due, RFC 3339. Now by default
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) at: Option<prost_types::Timestamp>,
    /// One that is there begins anew
    #[arg(long)]
    pub(crate) again: bool,
    /// Give up what goes on for it
    #[arg(long, requires = "again")]
    pub(crate) cancel: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// The verbs of enrollments.
#[derive(Debug, Subcommand)]
pub(crate) enum EnrollmentCommand {
    List(EnrollmentListArgs),
    Show(EnrollmentShowArgs),
    /// Move on to the next stage, whatever became of this one
    #[command(after_help = "Example:\n  settlectl enrollment advance trial/user/42")]
    Advance(EnrollmentArgs),
    /// Try the stage that failed again, with all its attempts
    #[command(after_help = "Example:\n  settlectl enrollment retry trial/user/42")]
    Retry(EnrollmentArgs),
    /// Begin anew: stage, attempts and payload are forgotten
    #[command(after_help = "Example:\n  settlectl enrollment reset trial/user/42 --cancel")]
    Reset {
        #[command(flatten)]
        target: EnrollmentArgs,
        /// What it begins with: a JSON object, or @FILE
        #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
        payload: String,
        /// Give up what goes on for it
        #[arg(long)]
        cancel: bool,
    },
    /// Take an enrollment out. Its log stays
    #[command(after_help = "Example:\n  settlectl enrollment remove trial/user/42")]
    Remove {
        #[command(flatten)]
        target: EnrollmentArgs,
        /// Give up what goes on for it
        #[arg(long)]
        cancel: bool,
    },
    /// Say yes to what the stage asks
    #[command(
        after_help = "Example:\n  settlectl enrollment approve go-live/resource/web1/site/shop --note 'looks good'"
    )]
    Approve(DecideArgs),
    /// Say no to what the stage asks
    #[command(
        after_help = "Example:\n  settlectl enrollment reject go-live/resource/web1/site/shop --note 'not today'"
    )]
    Reject(DecideArgs),
}

/// Which enrollment.
#[derive(Args, Debug)]
pub(crate) struct EnrollmentArgs {
    /// Its id, or LIFECYCLE/TYPE/ID
    pub(crate) enrollment: String,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `enrollment approve` and `reject`.
#[derive(Args, Debug)]
pub(crate) struct DecideArgs {
    #[command(flatten)]
    pub(crate) target: EnrollmentArgs,
    /// Why; it is kept in the log
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) note: String,
}

/// Enrollments
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl enrollment list --lifecycle trial --status failed
  settlectl enrollment list --subject user/42
  settlectl enrollment list --due-before 2026-03-01T00:00:00Z")]
pub(crate) struct EnrollmentListArgs {
    /// Only of this lifecycle
    #[arg(long, value_name = "CODE", default_value = "", hide_default_value = true)]
    pub(crate) lifecycle: String,
    /// Only of this subject
    #[arg(long, value_name = "TYPE/ID", default_value = "", hide_default_value = true)]
    pub(crate) subject: String,
    /// Only in this status
    #[arg(long, value_enum)]
    pub(crate) status: Option<EnrollmentStatusWord>,
    /// Only pending ones that are due before this time, RFC 3339; earliest first
    #[arg(long, value_name = "TIME", value_parser = values::time, conflicts_with_all = ["subject", "status"])]
    pub(crate) due_before: Option<prost_types::Timestamp>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// One enrollment, with --log how its stages went
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl enrollment show trial/user/42 --log
  settlectl enrollment show trial/user/42 --log --stage bill --outcome failed")]
pub(crate) struct EnrollmentShowArgs {
    /// Its id, or LIFECYCLE/TYPE/ID
    pub(crate) enrollment: String,
    /// Print the log of executions instead, newest first
    #[arg(long)]
    pub(crate) log: bool,
    /// Only of this stage
    #[arg(long, requires = "log", default_value = "", hide_default_value = true)]
    pub(crate) stage: String,
    /// Only with this outcome
    #[arg(long, requires = "log", value_enum)]
    pub(crate) outcome: Option<ExecutionOutcomeWord>,
    /// Only from this time on, RFC 3339
    #[arg(long, requires = "log", value_name = "TIME", value_parser = values::time)]
    pub(crate) since: Option<prost_types::Timestamp>,
    /// Only before this time, RFC 3339
    #[arg(long, requires = "log", value_name = "TIME", value_parser = values::time)]
    pub(crate) until: Option<prost_types::Timestamp>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Statuses as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum EnrollmentStatusWord {
    Pending,
    Processing,
    Completed,
    Failed,
}

impl From<EnrollmentStatusWord> for EnrollmentStatus {
    fn from(word: EnrollmentStatusWord) -> Self {
        match word {
            EnrollmentStatusWord::Pending => Self::Pending,
            EnrollmentStatusWord::Processing => Self::Processing,
            EnrollmentStatusWord::Completed => Self::Completed,
            EnrollmentStatusWord::Failed => Self::Failed,
        }
    }
}

/// Outcomes as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExecutionOutcomeWord {
    Succeeded,
    Failed,
    /// It waited for too long, so the enrollment failed
    #[value(alias = "timed_out")]
    TimedOut,
    /// It waited for too long, so it was left out
    Skipped,
    Advanced,
    Retried,
    Reset,
}

impl From<ExecutionOutcomeWord> for ExecutionOutcome {
    fn from(word: ExecutionOutcomeWord) -> Self {
        match word {
            ExecutionOutcomeWord::Succeeded => Self::Succeeded,
            ExecutionOutcomeWord::Failed => Self::Failed,
            ExecutionOutcomeWord::TimedOut => Self::TimedOut,
            ExecutionOutcomeWord::Skipped => Self::Skipped,
            ExecutionOutcomeWord::Advanced => Self::Advanced,
            ExecutionOutcomeWord::Retried => Self::Retried,
            ExecutionOutcomeWord::Reset => Self::Reset,
        }
    }
}
