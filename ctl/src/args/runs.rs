//! The command line of runs.

use clap::{Args, Subcommand, ValueEnum};
use settled_proto::v1::{Freshness, Outcome, RunState};

use super::{PageArgs, PatienceArgs, QueueArgs, RunArgs};

/// The verbs of runs.
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    List(RunListArgs),
    /// One run: how it went, step by step
    #[command(after_help = "Example:\n  settlectl run show 01JZ3V6K8Q0000000000000000")]
    Show {
        /// Its id
        run: String,
    },
    Follow(FollowArgs),
    Cancel(CancelArgs),
    Retry(RetryArgs),
}

/// Runs, newest first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl run list --server web1 --limit 10
  settlectl run list --outcome failed
  settlectl run list --freshness likely-stale
  settlectl run list --resource web1/deployment/site")]
pub(crate) struct RunListArgs {
    /// Only of this server, by name or id
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) server: String,
    /// Only of this resource: its id, or SERVER/PACKAGE/NAME
    #[arg(long)]
    pub(crate) resource: Option<String>,
    /// Only in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateWord>,
    /// Only with this outcome
    #[arg(long, value_enum)]
    pub(crate) outcome: Option<OutcomeWord>,
    /// Only this fresh, as of now
    #[arg(long, value_enum)]
    pub(crate) freshness: Option<FreshnessWord>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Follow a run to its end: its steps and their output
///
/// The exit code tells whether it succeeded. Ctrl-C ends the following, not the run.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl run follow 01JZ3V6K8Q0000000000000000
  settlectl run follow 01JZ3V6K8Q0000000000000000 -o json | jq .output.text")]
pub(crate) struct FollowArgs {
    /// Its id
    pub(crate) run: String,
    /// Skip this many bytes of output: the 'next_offset' where an earlier stream stopped
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) offset: u64,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

/// Stop a run
///
/// A queued run is cancelled at once; a running one as soon as the server has shown that it stopped.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  settlectl run cancel 01JZ3V6K8Q0000000000000000 --wait")]
pub(crate) struct CancelArgs {
    /// Its id
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) args: RunArgs,
}

/// Run what failed again, as a new run on the same resource
///
/// For the last failed run of a failed resource; 'settlectl retry RESOURCE' does the same by the resource's name.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  settlectl run retry 01JZ3V6K8Q0000000000000000 --wait")]
pub(crate) struct RetryArgs {
    /// The id of the run that failed
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    pub(crate) args: RunArgs,
}

/// States as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StateWord {
    Queued,
    Running,
    Completed,
}

impl From<StateWord> for RunState {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Queued => Self::Queued,
            StateWord::Running => Self::Running,
            StateWord::Completed => Self::Completed,
        }
    }
}

/// Outcomes as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OutcomeWord {
    Succeeded,
    Failed,
    Cancelled,
    Blocked,
}

impl From<OutcomeWord> for Outcome {
    fn from(word: OutcomeWord) -> Self {
        match word {
            OutcomeWord::Succeeded => Self::Succeeded,
            OutcomeWord::Failed => Self::Failed,
            OutcomeWord::Cancelled => Self::Cancelled,
            OutcomeWord::Blocked => Self::Blocked,
        }
    }
}

/// Freshness as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FreshnessWord {
    /// Open, and something has happened to it lately
    Fresh,
    /// Open, and nothing has happened to it for too long; it settles by itself
    #[value(alias = "likely_stale")]
    LikelyStale,
    /// Over: the reconciler ended it
    Reconciled,
    /// Over, in the ordinary way
    Terminal,
}

impl From<FreshnessWord> for Freshness {
    fn from(word: FreshnessWord) -> Self {
        match word {
            FreshnessWord::Fresh => Self::Fresh,
            FreshnessWord::LikelyStale => Self::LikelyStale,
            FreshnessWord::Reconciled => Self::Reconciled,
            FreshnessWord::Terminal => Self::Terminal,
        }
    }
}
