//! The command line of resources: install and the verbs that change one.

use clap::{Args, Subcommand, ValueEnum};
use settled_proto::v1::{Priority, ResourceStatus};

use super::{PageArgs, RunArgs, values};

/// Install a package on a server
///
/// The resource is 'pending' as soon as this returns, and its run waits for its turn on the server.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl install firewall_rule --server web1 --name https \\
      --set port=443 --set action=allow --wait
  settlectl install scheduled_task --server web1 --name backup --set user=root \\
      --set 'expression=17 3 * * *' --set command=@backup.sh
  settlectl install my_app --server web1 --secret token=@token.txt
  pass show my_app | settlectl install my_app --server web1 --secret token=-
  settlectl install my_app --server web1 --set version=2 --dry-run
  settlectl install site --server web1 --set domains=example.com --set root=/srv/www --with-requirements")]
pub(crate) struct InstallArgs {
    /// The package: see 'settlectl package list'
    pub(crate) package: String,
    /// The server to install it on, by name or id
    #[arg(short, long, value_name = "SERVER")]
    pub(crate) server: String,
    /// The name of the resource; the package's name by default
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) values: ValueArgs,
    /// Install what the package requires and the server does not have, too, in front of it
    #[arg(long)]
    pub(crate) with_requirements: bool,
    #[command(flatten)]
    pub(crate) dry: DryArgs,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Register what is on a server already
///
/// The record is 'pending' at once. A probe has to show what the package declares as proof of its install, with these
/// values; then the record is as after an install. Otherwise it is 'failed' and tells what was found. Nothing on the
/// server is changed, and removing a record whose adoption failed touches nothing either.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl adopt nginx --server web1 --set max_body=4m --wait
  settlectl adopt scheduled_task --server web1 --name backup --set user=root \\
      --set 'expression=17 3 * * *' --set command=@backup.sh --wait")]
pub(crate) struct AdoptArgs {
    /// The package: see 'settlectl package list'
    pub(crate) package: String,
    /// The server that it is on, by name or id
    #[arg(short, long, value_name = "SERVER")]
    pub(crate) server: String,
    /// The name of the resource; the package's name by default
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) values: ValueArgs,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Whether to store anything.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DryArgs {
    /// Check and plan only: shows the steps, what is required, and the place in the lane. Nothing is stored, nothing is done
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
}

/// Values of parameters.
#[derive(Args, Clone, Debug)]
pub(crate) struct ValueArgs {
    /// A parameter. 'k=@file' reads the text from a file, 'k=@@text' is a text that begins with '@'
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) set: Vec<(String, String)>,
    /// A secret parameter: 'k=@file' reads a file, 'k=-' reads stdin, both byte by byte. Never the value itself
    // Read later, not by clap: its errors repeat what was typed, and this might be a secret.
    #[arg(long = "secret", value_name = "KEY=@FILE|KEY=-")]
    pub(crate) secret: Vec<String>,
}

/// What an operation takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct GivenArgs {
    /// A parameter of the operation, for this run alone: see 'settlectl package show'. Written as for install
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) set: Vec<(String, String)>,
}

/// Give a resource new parameters
///
/// What is not given stays as it was asked for last; without any value the same is applied again, which mends a server
/// that differs. A paused resource is awake afterwards.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl update web1/deployment/site --set version=2 --wait
  settlectl update web1/my_app/my_app --secret token=@token.txt")]
pub(crate) struct UpdateArgs {
    /// Its id, or SERVER/PACKAGE/NAME
    pub(crate) resource: String,
    #[command(flatten)]
    pub(crate) values: ValueArgs,
    #[command(flatten)]
    pub(crate) dry: DryArgs,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Take a package off its server
///
/// The resource is 'removing' at once. Its record goes away on success; when the removal fails, the earlier
/// status comes back. An install that is still queued is cancelled. What other resources require stays.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl remove web1/scheduled_task/backup --wait
  settlectl remove web1/nginx/nginx --dry-run
  settlectl remove web1/database/shop --set purge=true")]
pub(crate) struct RemoveArgs {
    /// Its id, or SERVER/PACKAGE/NAME
    pub(crate) resource: String,
    #[command(flatten)]
    pub(crate) given: GivenArgs,
    #[command(flatten)]
    pub(crate) dry: DryArgs,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// A resource to change, and whether to wait.
#[derive(Args, Debug)]
pub(crate) struct OperateArgs {
    /// Its id, or SERVER/PACKAGE/NAME
    pub(crate) resource: String,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// How the run waits for its turn.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct QueueArgs {
    /// How long the run may stay queued, for instance 30m or 12h, at most 30 days; without it the package says, or settled's configuration (24 h)
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) queue_limit: Option<std::time::Duration>,
    /// Whether it goes before or after the other queued runs of its server; what has begun is not interrupted
    #[arg(long, value_enum, default_value_t)]
    pub(crate) priority: PriorityArg,
}

/// Before whom a run has its turn.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum PriorityArg {
    /// After everything else
    Low,
    /// Whoever came first goes first
    #[default]
    Normal,
    /// Before everything else
    High,
}

impl QueueArgs {
    /// As the contract has it: 0 means that nothing was typed.
    pub(crate) fn seconds(self) -> u32 {
        self.queue_limit.map_or(0, |time| u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX))
    }

    /// As the contract numbers it.
    pub(crate) fn priority(self) -> i32 {
        match self.priority {
            PriorityArg::Low => Priority::Low,
            PriorityArg::Normal => Priority::Normal,
            PriorityArg::High => Priority::High,
        }
        .into()
    }
}

/// A resource to look at, and whether to wait.
#[derive(Args, Debug)]
pub(crate) struct TargetArgs {
    /// Its id, or SERVER/PACKAGE/NAME
    pub(crate) resource: String,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Run an operation that the package defines itself
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl package show deployment          # which operations there are
  settlectl do web1/deployment/site rollback --wait
  settlectl do web1/deployment/site rollback --set to=r41")]
pub(crate) struct DoArgs {
    /// Its id, or SERVER/PACKAGE/NAME
    pub(crate) resource: String,
    /// The operation, for instance rollback
    pub(crate) operation: String,
    #[command(flatten)]
    pub(crate) given: GivenArgs,
    #[command(flatten)]
    pub(crate) dry: DryArgs,
    #[command(flatten)]
    pub(crate) queue: QueueArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// The verbs of resources.
#[derive(Debug, Subcommand)]
pub(crate) enum ResourceCommand {
    List(ResourceListArgs),
    /// One resource: where it stands, its parameters, its last error, what a probe saw
    #[command(after_help = "Example:\n  settlectl resource show web1/scheduled_task/backup")]
    Show {
        /// Its id, or SERVER/PACKAGE/NAME
        resource: String,
    },
}

/// What is on the servers
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl resource list --server web1
  settlectl resource list --status failed -o wide")]
pub(crate) struct ResourceListArgs {
    /// Only of this server, by name or id
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) server: String,
    /// Only of this package
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) package: String,
    /// Only in this status
    #[arg(long, value_enum)]
    pub(crate) status: Option<StatusWord>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// The eight statuses as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StatusWord {
    Pending,
    Installing,
    Active,
    Success,
    Failed,
    Updating,
    Removing,
    Paused,
}

impl From<StatusWord> for ResourceStatus {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Pending => Self::Pending,
            StatusWord::Installing => Self::Installing,
            StatusWord::Active => Self::Active,
            StatusWord::Success => Self::Success,
            StatusWord::Failed => Self::Failed,
            StatusWord::Updating => Self::Updating,
            StatusWord::Removing => Self::Removing,
            StatusWord::Paused => Self::Paused,
        }
    }
}
