//! Servers: how they are, and whether they can be worked on.

use std::collections::BTreeMap;

use super::failure::Failure;
use super::id::ServerId;
use super::time::Timestamp;

text_enum! {
    /// Status of the work of registering and probing a server.
    ServerStatus {
        /// Nobody has connected to it yet.
        Pending = "pending",
        /// It is being registered or probed.
        Updating = "updating",
        /// The last probe succeeded.
        Success = "success",
        /// The last probe failed.
        Failed = "failed",
    }
}

text_enum! {
    /// Whether a server can be worked on.
    Reach {
        /// It can.
        Ok = "ok",
        /// Someone paused it.
        Paused = "paused",
        /// It cannot be reached; it is tried again.
        Unreachable = "unreachable",
        /// It refuses, until someone edits it.
        Refused = "refused",
    }
}

text_enum! {
    /// How settled logs in.
    IdentityKind {
        /// With a private key of the server's own, sealed in the store.
        Key = "key",
        /// With the ssh-agent of the daemon.
        Agent = "agent",
    }
}

/// Jump hosts on the way to a server, at most.
pub const JUMPS_MAX: usize = 3;

/// Whether a server can be reached through these jump hosts, the one next to it first. `behind`: the hops of the longest way that leads
/// through the server itself.
pub fn check_way(server: &str, jumps: &[String], behind: usize) -> Result<(), String> {
    if jumps.iter().any(|jump| jump == server) {
        return Err(format!("leads in a circle: {server} is reached through {}", jumps.join(", then ")));
    }
    if jumps.len() + behind > JUMPS_MAX {
        let all = jumps.len() + behind;
        return Err(format!("makes a way of {all} jump hosts in a row: at most {JUMPS_MAX} are allowed"));
    }
    Ok(())
}

/// A Linux host reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Never changes.
    pub id: ServerId,
    /// Unique.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port of sshd.
    pub port: u16,
    /// Login user.
    pub user: String,
    /// Pinned host key, `SHA256:...`; empty when none was given yet.
    pub host_key: String,
    /// How settled logs in.
    pub identity: IdentityKind,
    /// Name of the server through which it is reached; `None`: directly. Names never change.
    pub via: Option<String>,
    /// Labels for people and filters.
    pub labels: BTreeMap<String, String>,
    /// Status of registering and probing.
    pub status: ServerStatus,
    /// Whether it can be worked on.
    pub reach: Reach,
    /// Why `reach` is what it is.
    pub reach_detail: String,
    /// When it last answered.
    pub last_seen: Option<Timestamp>,
    /// Last error of registering or probing, until the next success.
    pub last_error: Option<Failure>,
    /// What the server told about itself; unique among servers by `machine_id`.
    pub facts: BTreeMap<String, String>,
    /// When the record was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Rises with every change; the store's guard.
    pub version: i64,
    /// Sequence number of its last transition.
    pub seq: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_short_and_leads_nowhere_twice() {
        let check = |jumps: &[&str], behind: usize| {
            let jumps: Vec<_> = jumps.iter().map(|&jump| jump.to_owned()).collect();
            check_way("web1", &jumps, behind).err().unwrap_or_default()
        };
        assert_eq!(check(&["a", "b", "c"], 0), "");
        assert_eq!(check(&["a"], 2), "");
        assert!(check(&["a", "b", "c", "d"], 0).contains("4 jump hosts"));
        assert!(check(&["a", "b"], 2).contains("4 jump hosts"));
        assert_eq!(check(&["a", "web1"], 0), "leads in a circle: web1 is reached through a, then web1");
    }
}
