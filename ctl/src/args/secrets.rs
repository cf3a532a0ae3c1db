//! `settlectl secrets` and `settlectl identity`: what can be typed.

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
        after_help = "Example, for the key that settled has made for itself:\n  cd /var/lib/settled && head -c 32 /dev/urandom | install -m 600 -o \"$(stat -c %u .)\" /dev/stdin key.next\n  systemctl reload settled && settlectl secrets rotate\n  mv key.next key && systemctl reload settled"
    )]
    Rotate(ChangeArgs),
}

/// The verbs of the installation's identity.
#[derive(Debug, Subcommand)]
pub(crate) enum IdentityCommand {
    /// The line for authorized_keys; its fingerprint goes to stderr
    ///
    /// settled has made the key at its first start; the private half never leaves it.
    #[command(
        after_help = "Example:\n  settlectl identity show | ssh root@192.0.2.7 'cat >> ~/.ssh/authorized_keys'\n  settlectl server add web1 192.0.2.7 --user root --installation-identity --host-key SHA256:..."
    )]
    Show,
}
