//! The command line of servers.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::values::{self, HostPort};
use super::{ChangeArgs, PageArgs, RunArgs};

/// The verbs of servers.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    Add(AddArgs),
    List(ServerListArgs),
    /// One server: how it is reached, how it is, what it told about itself
    #[command(after_help = "Example:\n  settlectl server show web1")]
    Show {
        /// Name or id
        server: String,
    },
    Edit(EditArgs),
    /// Connect to a server and store what it tells
    ///
    /// Also ends 'refused', once the cause is mended.
    #[command(after_help = "Example:\n  settlectl server probe web1 --wait")]
    Probe(ServerTargetArgs),
    /// Let nothing new start on a server. What runs goes on to its end
    Pause {
        /// Name or id
        server: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let work start on a paused server again
    Resume {
        /// Name or id
        server: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    Remove(RemoveServerArgs),
}

/// Register a server
///
/// settled connects to it at once (a run called 'register'). The host key must be pinned: compare the fingerprint
/// with what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on the server itself. Without --host-key
/// nothing is accepted, and the error shows the fingerprint that the server offered.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  settlectl server add web1 192.0.2.7 --user deploy --host-key SHA256:... --wait
  settlectl server add web2 [2001:db8::7]:2222 --user root --host-key SHA256:... \\
      --identity ~/.ssh/settled
  settlectl server add web3 web3.example.org --user deploy --label site=fra --label tier=front")]
pub(crate) struct AddArgs {
    /// A name of your choice: a-z, 0-9, '-' and '.'
    pub(crate) name: String,
    /// Host name or address; port 22 by default
    #[arg(help = "Host name or address; port 22 by default. IPv6 in brackets: [2001:db8::7]:22")]
    #[arg(value_name = "HOST[:PORT]", value_parser = values::host_port)]
    pub(crate) host: HostPort,
    /// Login user. When it is not root, it needs sudo without password
    #[arg(short, long)]
    pub(crate) user: String,
    /// Private key file without passphrase, read here and kept sealed by settled; settled's ssh-agent by default
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Fingerprint of the host key, as 'ssh-keygen -lf' prints it
    #[arg(long, value_name = "SHA256:...", value_parser = values::host_key)]
    pub(crate) host_key: Option<String>,
    /// A label; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// All servers and how they are
#[derive(Args, Debug)]
pub(crate) struct ServerListArgs {
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Change how a server is reached
///
/// What is not given stays. Ends 'refused', so that waiting work goes on.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("change_of").required(true).multiple(true)
    .args(["host", "user", "host_key", "identity", "agent"]))]
#[command(after_help = "\
Examples:
  settlectl server edit web1 --host-key SHA256:...
  settlectl server edit web1 --host 192.0.2.8:2222 --user deploy
  settlectl server edit web1 --identity ~/.ssh/settled")]
pub(crate) struct EditArgs {
    /// Name or id
    pub(crate) server: String,
    /// New host. A port belongs to it: without ':PORT' it becomes 22
    #[arg(long, value_name = "HOST[:PORT]", value_parser = values::host_port)]
    pub(crate) host: Option<HostPort>,
    /// New login user
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// New fingerprint of the host key
    #[arg(long, value_name = "SHA256:...", value_parser = values::host_key)]
    pub(crate) host_key: Option<String>,
    /// New private key file without passphrase
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Forget the private key and use settled's ssh-agent
    #[arg(long, conflicts_with = "identity")]
    pub(crate) agent: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// A server and whether to wait.
#[derive(Args, Debug)]
pub(crate) struct ServerTargetArgs {
    /// Name or id
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Remove the record of a server
///
/// The host is not touched. Refused while resources or open runs are there, and then it names them.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  settlectl server remove web1 --forget")]
pub(crate) struct RemoveServerArgs {
    /// Name or id
    pub(crate) server: String,
    /// Drop the records of its resources too, and leave what they installed on the host
    #[arg(long)]
    pub(crate) forget: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}
