//! `settlectl token`: what can be typed.

use clap::{Args, Subcommand, ValueEnum};
use settled_proto::v1::Role;

use super::{ChangeArgs, PageArgs};

/// The verbs of tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print its secret, once
    ///
    /// The secret alone goes to standard output. settled keeps only a digest of it: whoever loses it revokes the token and
    /// makes another. Callers over TCP show it (SETTLECTL_TOKEN_FILE); through the unix socket it is of no use.
    #[command(
        after_help = "Example:\n  (umask 077; settlectl token create ci --role operator --days 30 > ci.token)"
    )]
    Create(CreateTokenArgs),
    /// All tokens, newest first: whose, what for, until when, last used
    List(PageArgs),
    /// Make a token worthless, at once
    ///
    /// Requests with it are refused from then on, and queued runs that were asked for with it end 'blocked'. What has begun
    /// goes on to its end.
    #[command(after_help = "Example:\n  settlectl token revoke ci")]
    Revoke(RevokeTokenArgs),
}

/// `token create`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CreateTokenArgs {
    /// Its name; runs and the audit have it as token:NAME
    pub(crate) name: String,
    /// What its bearer may do
    #[arg(long)]
    pub(crate) role: RoleArg,
    /// For which servers: server:NAME or label:KEY=VALUE; may be given several times. Everywhere by default
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<String>,
    /// How long it is good for
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) days: u32,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// `token revoke`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RevokeTokenArgs {
    /// The token: its name or id
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// A role, as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    /// Looks
    Viewer,
    /// Has work done on servers, too
    Operator,
    /// Changes the fleet, too
    Admin,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Viewer => Self::Viewer,
            RoleArg::Operator => Self::Operator,
            RoleArg::Admin => Self::Admin,
        }
    }
}
