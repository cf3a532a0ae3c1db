//! The command line of `watch`.

use clap::{Args, ValueEnum};
use settled_proto::v1::{Kind, Position};

use super::{PatienceArgs, values};

/// Follow every change as it is committed
///
/// Begins now, unless told otherwise. Each line carries its position; with --since nothing between two watches is
/// missed. Ends with Ctrl-C, and then tells where to go on.
///
/// Shows what concerns any of the --server, --resource and --run that are given, or a server with all --label; --package
/// and --kind narrow that. A server that gets the labels is shown with all that is on it, one that loses them goes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl watch --server web1
  settlectl watch --server web1 --server web2 --label site=oslo --label tier=web
  settlectl watch --snapshot --kind resource
  settlectl watch --since 01JZ3V6K8Q0000000000000000:4711 -o json")]
pub(crate) struct WatchArgs {
    /// Begin after this position
    #[arg(long, value_name = "GENERATION:SEQ", value_parser = values::position, conflicts_with = "snapshot")]
    pub(crate) since: Option<Position>,
    /// First everything as it stands, then each change, without a gap
    #[arg(long)]
    pub(crate) snapshot: bool,
    /// What is on this server, by name or id; may be given several times
    #[arg(long = "server", value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
    /// What is on servers with this label; may be given several times, and then all must fit
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// This resource and its runs: its id, or SERVER/PACKAGE/NAME; may be given several times
    #[arg(long = "resource", value_name = "RESOURCE")]
    pub(crate) resources: Vec<String>,
    /// This run and its steps; may be given several times
    #[arg(long = "run", value_name = "RUN")]
    pub(crate) runs: Vec<String>,
    /// Only resources of this package, and their runs
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) package: String,
    /// Only of this kind; may be given several times
    #[arg(long = "kind", value_enum)]
    pub(crate) kinds: Vec<KindWord>,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

/// Kinds as words.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KindWord {
    Server,
    Resource,
    Run,
    Step,
    Schedule,
    Enrollment,
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Server => Self::Server,
            KindWord::Resource => Self::Resource,
            KindWord::Run => Self::Run,
            KindWord::Step => Self::Step,
            KindWord::Schedule => Self::Schedule,
            KindWord::Enrollment => Self::Enrollment,
        }
    }
}
