//! Verbs, and the roles that go up to them.

use std::fmt;

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
    /// Its role.
    pub role: Role,
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
}
