//! What the configuration gives to users, groups and certificates.

use std::collections::BTreeMap;

use super::{Held, Role, Scope, Verb};

/// The roles that the configuration gives, to users and groups by numeric id and to certificates by name. Who is given several has them all: the highest counts, and each holds on the
/// servers for which it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    users: BTreeMap<u32, Held>,
    groups: BTreeMap<u32, Held>,
    certificates: BTreeMap<String, Held>,
}

impl Grants {
    /// Gives a user a role on all servers.
    pub fn user(&mut self, uid: u32, role: Role) {
        self.user_on(uid, role, Scope::Whole);
    }

    /// Gives the members of a group a role on all servers.
    pub fn group(&mut self, gid: u32, role: Role) {
        self.group_on(gid, role, Scope::Whole);
    }

    /// Gives a user a role on some servers.
    pub fn user_on(&mut self, uid: u32, role: Role, scope: Scope) {
        self.users.entry(uid).or_default().give(role, scope);
    }

    /// Gives the members of a group a role on some servers.
    pub fn group_on(&mut self, gid: u32, role: Role, scope: Scope) {
        self.groups.entry(gid).or_default().give(role, scope);
    }

    /// Gives whoever shows a certificate of this name a role on all servers.
    pub fn certificate(&mut self, name: &str, role: Role) {
        self.certificate_on(name, role, Scope::Whole);
    }

    /// Gives whoever shows a certificate of this name a role on some servers.
    pub fn certificate_on(&mut self, name: &str, role: Role, scope: Scope) {
        self.certificates.entry(name.to_owned()).or_default().give(role, scope);
    }

    /// What is given to whoever shows a certificate of this name.
    pub(super) fn of_certificate(&self, name: &str) -> Held {
        self.certificates.get(name).cloned().unwrap_or_default()
    }

    /// What is given to a user itself.
    pub(super) fn own(&self, uid: u32) -> Held {
        self.users.get(&uid).cloned().unwrap_or_default()
    }

    /// What is given to the members of these groups.
    pub(super) fn of(&self, groups: &[u32]) -> Held {
        groups.iter().filter_map(|gid| self.groups.get(gid)).fold(Held::default(), Held::or)
    }

    /// Whether any group is given anything.
    pub(super) fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    /// Whether any group is given this.
    pub(super) fn has_groups_for(&self, verb: Verb) -> bool {
        self.groups.values().any(|held| held.scope(verb).is_some())
    }
}
