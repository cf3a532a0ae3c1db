//! `settlectl notifier`: what can be typed.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use settled_proto::v1::{DeliveryState, NoticeEvent};

use super::{ChangeArgs, PageArgs, values};

/// The verbs of notifiers.
#[derive(Debug, Subcommand)]
pub(crate) enum NotifierCommand {
    Create(CreateNotifierArgs),
    /// All notifiers
    List,
    /// One notifier, and what it was told lately
    Show {
        /// The notifier: its name or id
        notifier: String,
    },
    /// Have a notifier told something, and see whether it takes it
    #[command(after_help = "Example:\n  settlectl notifier test ops")]
    Test(NotifierArgs),
    /// Take a notifier away, with what it was still to be told
    Delete(NotifierArgs),
    /// What notifiers were told, newest first, and what came of it
    ///
    /// What is not taken is sent again, ever more rarely, for 24 hours; then it is dead.
    #[command(after_help = "Example:\n  settlectl notifier deliveries --notifier ops --state dead")]
    Deliveries(DeliveriesArgs),
}

/// Have somebody told of what happens: by a signed POST, or by e-mail
///
/// Each of its filters must fit. Without --event it hears of all that goes wrong. docs/notifications.md shows what is sent,
/// and how a receiver checks the signature.
#[derive(Args, Clone, Debug)]
#[command(
    group = ArgGroup::new("way").required(true).args(["url", "mail"]),
    after_help = "Examples:
  settlectl notifier create ops --url https://hooks.example.org/settled --secret-file hook.secret
  settlectl notifier create web --mail web@example.org --label tier=web --event run_failed --event server_unreachable
  settlectl notifier create tls --mail ops@example.org --package tls_certificate"
)]
pub(crate) struct CreateNotifierArgs {
    /// Its name
    pub(crate) name: String,
    /// Post to this URL: https, or http to the daemon's own host
    #[arg(long, requires = "secret_file")]
    pub(crate) url: Option<String>,
    /// What is posted is signed with what stands in this file: 16 bytes or more, without the end of its last line
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with = "mail")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Post over http to another host, too, where it can be read on its way
    #[arg(long, requires = "url", conflicts_with = "mail")]
    pub(crate) plain: bool,
    /// Write to this address; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mail: Vec<String>,
    /// Tell of this; may be given several times. All that goes wrong by default
    #[arg(long = "event", value_enum, value_name = "EVENT")]
    pub(crate) events: Vec<EventWord>,
    /// Only of servers that have this label; may be given several times, and then all must fit
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Only of this package; may be given several times. Of servers nothing is told then
    #[arg(long = "package", value_name = "PACKAGE")]
    pub(crate) packages: Vec<String>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// One notifier.
#[derive(Args, Clone, Debug)]
pub(crate) struct NotifierArgs {
    /// The notifier: its name or id
    pub(crate) notifier: String,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `notifier deliveries`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeliveriesArgs {
    /// Only what the notifier of this name is told
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) notifier: String,
    /// Only what stands there
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateWord>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// What can be told.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum EventWord {
    /// A run has done what was asked
    RunSucceeded,
    /// A run has not
    RunFailed,
    /// A run was not allowed to begin
    RunBlocked,
    /// Someone stopped a run
    RunCancelled,
    /// A run stayed queued beyond its limit
    RunNeverStarted,
    /// Nothing has happened to an open run for too long
    RunStuck,
    /// A server cannot be reached
    ServerUnreachable,
    /// A server refuses settled
    ServerRefused,
    /// A server can be worked on again
    ServerBack,
    /// A step without a proven end holds a lane
    LaneHeld,
    /// Nothing holds it any more
    LaneFreed,
    /// A resource is not as it was applied
    ResourceDrifted,
    /// It is again
    ResourceAgrees,
}

impl From<EventWord> for NoticeEvent {
    fn from(word: EventWord) -> Self {
        match word {
            EventWord::RunSucceeded => Self::RunSucceeded,
            EventWord::RunFailed => Self::RunFailed,
            EventWord::RunBlocked => Self::RunBlocked,
            EventWord::RunCancelled => Self::RunCancelled,
            EventWord::RunNeverStarted => Self::RunNeverStarted,
            EventWord::RunStuck => Self::RunStuck,
            EventWord::ServerUnreachable => Self::ServerUnreachable,
            EventWord::ServerRefused => Self::ServerRefused,
            EventWord::ServerBack => Self::ServerBack,
            EventWord::LaneHeld => Self::LaneHeld,
            EventWord::LaneFreed => Self::LaneFreed,
            EventWord::ResourceDrifted => Self::ResourceDrifted,
            EventWord::ResourceAgrees => Self::ResourceAgrees,
        }
    }
}

/// Where something that is told stands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StateWord {
    Waiting,
    Sent,
    Dead,
}

impl From<StateWord> for DeliveryState {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Waiting => Self::Waiting,
            StateWord::Sent => Self::Sent,
            StateWord::Dead => Self::Dead,
        }
    }
}
