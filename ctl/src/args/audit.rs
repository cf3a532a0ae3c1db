//! The command line of `audit`.

use clap::{Args, Subcommand, ValueEnum};
use settled_proto::v1::{AuditResult, Verb};

use super::{PageArgs, values};

/// `audit`, `audit list`, `audit show`, `audit export`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: Option<AuditCommand>,
    #[command(flatten)]
    pub(crate) list: AuditListArgs,
}

/// The verbs of the audit.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// What was asked for, newest first
    List(AuditListArgs),
    /// One entry: what was changed, from what to what, its run, and what was committed with it
    Show {
        /// Its number, as the list shows it
        #[arg(value_name = "NUMBER", value_parser = values::audit_number)]
        seq: u64,
    },
    /// Everything, oldest first, as JSON: one entry a line
    #[command(after_help = "Example:\n  settlectl audit export --since 2026-11-01T00:00:00Z > audit.jsonl")]
    Export(AuditFilterArgs),
}

/// A page of what is asked for.
#[derive(Args, Clone, Debug)]
pub(crate) struct AuditListArgs {
    #[command(flatten)]
    pub(crate) filter: AuditFilterArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Which entries.
#[derive(Args, Clone, Debug)]
pub(crate) struct AuditFilterArgs {
    /// Only what this principal asked for, like unix:1000
    #[arg(long, value_name = "WHO", default_value = "", hide_default_value = true)]
    pub(crate) principal: String,
    /// Only what takes this
    #[arg(long, value_enum)]
    pub(crate) verb: Option<VerbWord>,
    /// Only this method, like Resources.Install
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) method: String,
    /// Only what was asked of this server, or of what is on it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) server: String,
    /// Only what came to this
    #[arg(long, value_enum)]
    pub(crate) result: Option<ResultWord>,
    /// Only from this time on, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) since: Option<prost_types::Timestamp>,
    /// Only before this time, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    pub(crate) until: Option<prost_types::Timestamp>,
}

/// Verbs as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum VerbWord {
    View,
    Operate,
    Administer,
}

impl From<VerbWord> for Verb {
    fn from(word: VerbWord) -> Self {
        match word {
            VerbWord::View => Self::View,
            VerbWord::Operate => Self::Operate,
            VerbWord::Administer => Self::Administer,
        }
    }
}

/// Results as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ResultWord {
    Accepted,
    Refused,
    Done,
}

impl From<ResultWord> for AuditResult {
    fn from(word: ResultWord) -> Self {
        match word {
            ResultWord::Accepted => Self::Accepted,
            ResultWord::Refused => Self::Refused,
            ResultWord::Done => Self::Done,
        }
    }
}
