//! Verbs, the roles that go up to them, and what somebody holds.

use std::collections::BTreeMap;
use std::fmt;

use super::Scope;

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

/// What somebody is to this settled. A higher role may all that a lower one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Has work done on servers.
    Operator,
    /// Changes the fleet, too.
    Admin,
}

impl Verb {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Administer => "administer",
        }
    }
}

impl Role {
    /// Whether the role goes up to the verb.
    pub const fn may(self, verb: Verb) -> bool {
        match verb {
            Verb::View => true,
            Verb::Operate => !matches!(self, Self::Viewer),
            Verb::Administer => matches!(self, Self::Admin),
        }
    }

    /// The role with this name.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|role| role.to_string() == word)
    }

    /// The lowest role that may do this.
    pub const fn that_may(verb: Verb) -> Self {
        match verb {
            Verb::View => Self::Viewer,
            Verb::Operate => Self::Operator,
            Verb::Administer => Self::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

/// Who asks, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// For records and audit: `unix:0`.
    pub name: String,
    /// The highest of its roles.
    pub role: Role,
    /// On which servers it may do what it asks for.
    pub scope: Scope,
}

/// What somebody has been given: roles, each with the servers where it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held(BTreeMap<Role, Scope>);

impl Held {
    /// A role on all servers.
    pub fn whole(role: Role) -> Self {
        Self([(role, Scope::Whole)].into())
    }

    /// Gives a role, too. What is given twice holds in both scopes.
    pub fn give(&mut self, role: Role, scope: Scope) {
        let known = self.0.remove(&role);
        self.0.insert(role, known.map_or(scope.clone(), |known| known.or(scope)));
    }

    /// Adds what somebody else holds.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (role, scope) in &other.0 {
            self.give(*role, scope.clone());
        }
        self
    }

    /// The highest role, wherever it holds; `None` for a stranger.
    pub fn role(&self) -> Option<Role> {
        self.0.keys().next_back().copied()
    }

    /// Where this may be done; `None` when nowhere.
    pub fn scope(&self, verb: Verb) -> Option<Scope> {
        let all = self.0.iter().filter(|(role, _)| role.may(verb)).map(|(_, scope)| scope.clone());
        all.reduce(Scope::or)
    }

    /// Whether this may be done everywhere.
    pub fn is_whole(&self, verb: Verb) -> bool {
        self.0.iter().any(|(role, scope)| role.may(verb) && scope.is_whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_a_role_goes_up_to_its_verb_and_no_further() {
        let verbs = [Verb::View, Verb::Operate, Verb::Administer];
        for (role, allowed) in [(Role::Viewer, 1), (Role::Operator, 2), (Role::Admin, 3)] {
            assert_eq!(verbs.iter().filter(|verb| role.may(**verb)).count(), allowed, "{role}");
            assert!(verbs.iter().take(allowed).all(|verb| role.may(*verb)), "{role}");
        }
        for verb in verbs {
            assert!(Role::that_may(verb).may(verb), "{verb:?}");
        }
    }

    #[test]
    fn p14_each_verb_has_the_scope_of_the_roles_that_go_up_to_it() {
        let web: Scope = Scope::Of(vec!["server:web1".parse().unwrap()]);
        let mut held = Held::default();
        assert_eq!((held.role(), held.scope(Verb::View)), (None, None));
        held.give(Role::Operator, web.clone());
        let scopes = |held: &Held| [Verb::View, Verb::Operate, Verb::Administer].map(|verb| held.scope(verb));
        assert_eq!(scopes(&held), [Some(web.clone()), Some(web.clone()), None]);
        let held = held.or(&Held::whole(Role::Viewer));
        assert_eq!(scopes(&held), [Some(Scope::Whole), Some(web), None]);
        assert_eq!(held.role(), Some(Role::Operator));
        assert_eq!([Verb::View, Verb::Operate].map(|verb| held.is_whole(verb)), [true, false]);
    }
}
