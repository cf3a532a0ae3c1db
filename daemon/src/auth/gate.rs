//! The gate: who is let in through the unix socket, and as what. What the configuration gives can be replaced while the daemon runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::members::{Members, UserDatabase};
use super::{Principal, Role, SETTLED, Verb};

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
            "user {0} may not use this settled: ask its operator to name unix:{0} in access.viewers, access.operators or access.admins, \
             or use root",
            self.uid
        )
    }
}

/// The roles that the configuration gives, by numeric id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    users: BTreeMap<u32, Role>,
    groups: BTreeMap<u32, Role>,
}

impl Grants {
    /// Gives a user a role. Who is given several has the highest.
    pub fn user(&mut self, uid: u32, role: Role) {
        raise(&mut self.users, uid, role);
    }

    /// Gives the members of a group a role. Who is given several has the highest.
    pub fn group(&mut self, gid: u32, role: Role) {
        raise(&mut self.groups, gid, role);
    }

    /// The highest role of a user. Its groups are looked up only where a group is given anything.
    fn role(&self, uid: u32, members: &dyn Members) -> Option<Role> {
        let own = self.users.get(&uid).copied();
        if self.groups.is_empty() {
            return own;
        }
        let groups = members.groups_of(uid);
        groups.iter().filter_map(|gid| self.groups.get(gid).copied()).chain(own).max()
    }
}

fn raise(roles: &mut BTreeMap<u32, Role>, id: u32, role: Role) {
    let known = roles.entry(id).or_insert(role);
    *known = role.max(*known);
}

/// Who is let in through the unix socket. Clones share what is given.
#[derive(Clone)]
pub struct Gate {
    daemon_uid: u32,
    grants: Arc<RwLock<Grants>>,
    members: Arc<dyn Members>,
}

impl Gate {
    /// A gate for a daemon that runs as `daemon_uid`; groups are those of the system's user database.
    pub fn new(daemon_uid: u32, grants: Grants) -> Self {
        Self::with_members(daemon_uid, grants, Arc::new(UserDatabase))
    }

    /// A gate that asks `members` for groups.
    pub fn with_members(daemon_uid: u32, grants: Grants, members: Arc<dyn Members>) -> Self {
        Self { daemon_uid, grants: Arc::new(RwLock::new(grants)), members }
    }

    /// Gives these roles from here on, and no others.
    pub fn replace(&self, grants: Grants) {
        *self.grants.write().unwrap_or_else(PoisonError::into_inner) = grants;
    }

    /// The principal of a user who has connected.
    pub fn admit(&self, uid: u32) -> Result<Principal, Stranger> {
        let role = self.role(uid).ok_or(Stranger { uid })?;
        Ok(Principal { name: format!("unix:{uid}"), role })
    }

    /// Whether a principal that was admitted once might do this now.
    pub fn still_allows(&self, principal: &str, verb: Verb) -> bool {
        if principal == SETTLED {
            return true;
        }
        let uid = principal.strip_prefix("unix:").and_then(|uid| uid.parse().ok());
        uid.and_then(|uid| self.role(uid)).is_some_and(|role| role.may(verb))
    }

    fn role(&self, uid: u32) -> Option<Role> {
        if uid == 0 || uid == self.daemon_uid {
            return Some(Role::Admin);
        }
        // Not held while the user database is asked, which may take its time.
        let grants = self.grants.read().unwrap_or_else(PoisonError::into_inner).clone();
        grants.role(uid, &*self.members)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("daemon_uid", &self.daemon_uid)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users 1000 and 1001 are in group 50.
    struct Fifty;

    impl Members for Fifty {
        fn groups_of(&self, uid: u32) -> Vec<u32> {
            if (1000..1002).contains(&uid) { vec![uid, 50] } else { vec![uid] }
        }
    }

    fn gate(users: &[(u32, Role)], groups: &[(u32, Role)]) -> Gate {
        Gate::with_members(900, grants(users, groups), Arc::new(Fifty))
    }

    fn grants(users: &[(u32, Role)], groups: &[(u32, Role)]) -> Grants {
        let mut grants = Grants::default();
        for &(uid, role) in users {
            grants.user(uid, role);
        }
        for &(gid, role) in groups {
            grants.group(gid, role);
        }
        grants
    }

    #[test]
    fn p14_root_and_the_daemon_are_admins_others_what_they_are_given_and_nobody_else_gets_in() {
        let users = [(1000, Role::Viewer), (1002, Role::Operator), (1002, Role::Viewer), (0, Role::Viewer)];
        let gate = gate(&users, &[(50, Role::Operator), (70, Role::Admin)]);
        let table = [
            (0, Some(Role::Admin)),
            (900, Some(Role::Admin)),
            // The higher of its own and its group's.
            (1000, Some(Role::Operator)),
            (1001, Some(Role::Operator)),
            (1002, Some(Role::Operator)),
            (1003, None),
            (60, None),
            // A member of its own group, as most users are.
            (70, Some(Role::Admin)),
            (u32::MAX, None),
        ];
        for (uid, role) in table {
            assert_eq!(gate.admit(uid).ok().map(|principal| principal.role), role, "uid {uid}");
        }
    }

    #[test]
    fn p14_what_is_taken_away_counts_at_once_for_everybody_who_asks_again() {
        let gate = gate(&[(1002, Role::Admin)], &[(50, Role::Operator)]);
        let asked_elsewhere = gate.clone();
        let allowed = |principal: &str| {
            [Verb::View, Verb::Operate, Verb::Administer]
                .map(|verb| asked_elsewhere.still_allows(principal, verb))
        };
        assert_eq!(allowed("unix:1002"), [true, true, true]);
        assert_eq!(allowed("unix:1000"), [true, true, false]);
        gate.replace(grants(&[(1002, Role::Viewer)], &[]));
        assert_eq!(allowed("unix:1002"), [true, false, false]);
        assert_eq!(allowed("unix:1000"), [false; 3]);
        for (principal, still) in [("unix:0", true), (SETTLED, true), ("unix:x", false), ("", false)] {
            assert_eq!(allowed(principal), [still; 3], "{principal}");
        }
    }
}
