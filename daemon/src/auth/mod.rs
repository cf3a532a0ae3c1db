//! Who may do what. A caller is known by the socket it came through; every method declares the verb that it needs.
//!
//! For now there is one way in, the unix socket, and one role behind it: root, the daemon's own user and the listed users are
//! admins, everybody else is refused. Nothing here knows gRPC or the store.

use std::fmt;

/// The principal of what settled does by itself. No caller can have this name.
pub const SETTLED: &str = "settled";

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Look at things.
    View,
    /// Change what is on servers.
    Operate,
    /// Change the fleet itself.
    Administer,
}

/// Who asks, and up to which verb it may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// For records and audit: `unix:0`.
    pub name: String,
    /// The highest verb that it may use.
    pub may: Verb,
}

/// Why a caller is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// Its user id.
    pub uid: u32,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "user {} may not use this settled: ask its operator to add the id to listen.admins, or use root",
            self.uid
        )
    }
}

/// Who is let in through the unix socket.
#[derive(Debug, Clone)]
pub struct Gate {
    daemon_uid: u32,
    admins: Vec<u32>,
}

impl Gate {
    /// A gate for a daemon that runs as `daemon_uid`.
    pub const fn new(daemon_uid: u32, admins: Vec<u32>) -> Self {
        Self { daemon_uid, admins }
    }

    /// The principal of a user who has connected.
    pub fn admit(&self, uid: u32) -> Result<Principal, Stranger> {
        if uid == 0 || uid == self.daemon_uid || self.admins.contains(&uid) {
            return Ok(Principal { name: format!("unix:{uid}"), may: Verb::Administer });
        }
        Err(Stranger { uid })
    }

    /// Whether a principal that was admitted once would be admitted now.
    pub fn still_admits(&self, principal: &str) -> bool {
        if principal == SETTLED {
            return true;
        }
        let uid = principal.strip_prefix("unix:").and_then(|uid| uid.parse().ok());
        uid.is_some_and(|uid| self.admit(uid).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_a_principal_is_admitted_as_long_as_its_user_is() {
        let (before, after) = (Gate::new(900, vec![1000]), Gate::new(900, vec![]));
        for (name, then, now) in [
            ("unix:1000", true, false),
            ("unix:0", true, true),
            (SETTLED, true, true),
            ("unix:x", false, false),
        ] {
            assert_eq!((before.still_admits(name), after.still_admits(name)), (then, now), "{name}");
        }
    }

    #[test]
    fn p14_root_the_daemon_and_listed_users_are_admitted_and_nobody_else() {
        let gate = Gate::new(900, vec![1000]);
        for (uid, admitted) in [(0, true), (900, true), (1000, true), (1001, false), (u32::MAX, false)] {
            assert_eq!(gate.admit(uid).is_ok(), admitted, "uid {uid}");
        }
    }
}
