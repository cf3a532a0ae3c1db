//! `settlectl secrets`: what can be typed.

use clap::Subcommand;

use super::ChangeArgs;

/// The verbs of sealed secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Go over to the master key that lies beside the one in use
    ///
    /// Put the new key beside the old one, in a file of the same name with .next behind it, on every daemon, and have it read
    /// (systemctl reload settled). Secrets stay readable all the while. Cut off in the midst of it, nothing is lost: type it again.
    #[command(
        after_help = "Example, for the key that settled has made for itself:\n  cd /var/lib/settled && head -c 32 /dev/urandom | install -m 600 -o \"$(stat -c %u key)\" /dev/stdin key.next\n  systemctl reload settled && settlectl secrets rotate\n  mv key.next key && systemctl reload settled"
    )]
    Rotate(ChangeArgs),
}
