//! Servers: how they are, and whether they can be worked on.

use std::collections::BTreeMap;

use super::failure::Failure;
use super::id::ServerId;
use super::step::StepId;
use super::time::Timestamp;
use super::window::Window;

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
        /// With the key that the installation has made for itself, sealed in the store.
        Installation = "installation",
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

/// What its operators allow settled to do on a server, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its time zone, by IANA name: its windows are meant in it.
    pub time_zone: String,
    /// When exclusive runs may begin; without any, always.
    pub windows: Vec<Window>,
    /// A dpkg that was interrupted is repaired before a step that needs it.
    pub repair_dpkg: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { time_zone: "UTC".to_owned(), windows: Vec::new(), repair_dpkg: false }
    }
}

/// What has kept a server's lane from everyone else for so long that someone should look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Since when.
    pub since: Timestamp,
    /// The step that is not proven to have ended.
    pub step: StepId,
    /// Processes of it that live, as its server names them; empty when it could not be asked.
    pub processes: Vec<String>,
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
    /// What is allowed there, and when.
    pub policy: Policy,
    /// Status of registering and probing.
    pub status: ServerStatus,
    /// Whether it can be worked on.
    pub reach: Reach,
    /// Why `reach` is what it is.
    pub reach_detail: String,
    /// What holds its lane for longer than it should.
    pub held: Option<Held>,
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
