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
    Rekey(RekeyArgs),
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
    Takeover(TakeoverArgs),
    Unlock(UnlockArgs),
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
  settlectl server add web3 web3.example.org --user deploy --label site=fra --label tier=front
  settlectl server add inner 10.0.0.7 --user root --host-key SHA256:... --via web1
  settlectl server add db1 192.0.2.9 --user root --host-key SHA256:... \\
      --time-zone Europe/Berlin --window 'Mon-Fri 22:00-06:00' --window 'Sat,Sun 00:00-24:00'")]
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
    /// Log in with the key that settled has made for itself: 'settlectl identity show'
    #[arg(long, conflicts_with = "identity")]
    pub(crate) installation_identity: bool,
    /// Fingerprint of the host key, as 'ssh-keygen -lf' prints it
    #[arg(long, value_name = "SHA256:...", value_parser = values::host_key)]
    pub(crate) host_key: Option<String>,
    /// The server through which this one is reached, its jump host; name or id
    #[arg(long, value_name = "SERVER")]
    pub(crate) via: Option<String>,
    /// A label; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Time zone of the server, which its windows are meant in; UTC by default
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// When work may begin there, like 'Mon-Fri 22:00-06:00'; may be given several times. Always by default
    #[arg(long = "window", value_name = "DAYS TIMES")]
    pub(crate) windows: Vec<String>,
    /// Run 'dpkg --configure -a' there when dpkg was interrupted, before a step that needs it
    #[arg(long)]
    pub(crate) repair_dpkg: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// All servers and how they are
#[derive(Args, Debug)]
pub(crate) struct ServerListArgs {
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Change how a server is reached, and what is allowed there
///
/// What is not given stays. Another way to it ends 'refused', so that waiting work goes on. Another host key is pinned by 'server rekey'.
/// Windows hold for runs that have not begun: in an emergency, --no-windows opens the server at once, and the audit keeps what they were.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(group = ArgGroup::new("change_of").required(true).multiple(true)
    .args([
        "host", "user", "identity", "agent", "installation_identity", "via", "direct", "time_zone", "windows", "no_windows", "repair_dpkg",
        "no_repair_dpkg", "labels", "unlabel",
    ]))]
#[command(after_help = "\
Examples:
  settlectl server edit web1 --host 192.0.2.8:2222 --user deploy
  settlectl server edit web1 --identity ~/.ssh/settled
  settlectl server edit inner --via web1
  settlectl server edit db1 --time-zone Europe/Berlin --window 'Mon-Fri 22:00-06:00'
  settlectl server edit db1 --no-windows
  settlectl server edit web1 --label site=berlin --unlabel trial")]
pub(crate) struct EditArgs {
    /// Name or id
    pub(crate) server: String,
    /// New host. A port belongs to it: without ':PORT' it becomes 22
    #[arg(long, value_name = "HOST[:PORT]", value_parser = values::host_port)]
    pub(crate) host: Option<HostPort>,
    /// New login user
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// New private key file without passphrase
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Forget the private key and use settled's ssh-agent
    #[arg(long, conflicts_with = "identity")]
    pub(crate) agent: bool,
    /// Log in with the key that settled has made for itself ('settlectl identity show'), and forget the private key
    #[arg(long, conflicts_with_all = ["identity", "agent"])]
    pub(crate) installation_identity: bool,
    /// The server through which this one is reached from now on; name or id
    #[arg(long, value_name = "SERVER")]
    pub(crate) via: Option<String>,
    /// Reach it without a jump host from now on
    #[arg(long, conflicts_with = "via")]
    pub(crate) direct: bool,
    /// Time zone of the server, which its windows are meant in
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// When work may begin there from now on, like 'Mon-Fri 22:00-06:00'; may be given several times, and replaces all windows
    #[arg(long = "window", value_name = "DAYS TIMES")]
    pub(crate) windows: Vec<String>,
    /// Let work begin there at all times
    #[arg(long, conflicts_with = "windows")]
    pub(crate) no_windows: bool,
    /// Run 'dpkg --configure -a' there when dpkg was interrupted, before a step that needs it
    #[arg(long)]
    pub(crate) repair_dpkg: bool,
    /// Leave an interrupted dpkg to people
    #[arg(long, conflicts_with = "repair_dpkg")]
    pub(crate) no_repair_dpkg: bool,
    /// Set a label; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Take a label off; may be given several times
    #[arg(long = "unlabel", value_name = "KEY")]
    pub(crate) unlabel: Vec<String>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Pin another host key
///
/// Compare the fingerprint with what 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' prints on the server itself. The audit keeps
/// the old and the new one. settled meets the server again before work goes on there.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  settlectl server rekey web1 --host-key SHA256:...")]
pub(crate) struct RekeyArgs {
    /// Name or id
    pub(crate) server: String,
    /// Fingerprint of the new host key, as 'ssh-keygen -lf' prints it
    #[arg(long, value_name = "SHA256:...", value_parser = values::host_key)]
    pub(crate) host_key: String,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Take a server from another installation of settled
///
/// Done with the next work on the server; from then on the other installation can do nothing there. While a step of it runs there, the
/// takeover is refused, unless --force ends that step first.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  settlectl server takeover web1")]
pub(crate) struct TakeoverArgs {
    /// Name or id
    pub(crate) server: String,
    /// Also while steps of the other installation run there: end them
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Free a server's lane from steps that are not proven to have ended
///
/// For the case that you know better: nothing starts on a server beside a step that may still run there. Look first; what still lives
/// of these steps is not ended by this, and the next work runs beside it. The reason is kept in the audit.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  settlectl server unlock web1 --reason 'its processes hang in a dead mount'"
)]
pub(crate) struct UnlockArgs {
    /// Name or id
    pub(crate) server: String,
    /// Why; kept in the audit
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
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
