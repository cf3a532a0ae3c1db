//! The gate: who is let in, and as what. What the configuration gives can be replaced while the daemon runs.

mod network;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::groups::{Found, Groups};
use super::members::{Members, UserDatabase};
use super::{CERTIFICATE, Grants, Held, Principal, Role, SETTLED, Scope, TOKEN, Verb};
use crate::clock::Clock;

pub use network::{NotLetIn, Shown, Tokens};

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

/// Nobody can tell at the moment what somebody may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    /// Whom it is about.
    principal: String,
    /// Who cannot tell.
    silent: Silent,
}

/// Who cannot tell what somebody may do.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Silent {
    /// The user database, which answered that it does not know the user, or did not answer.
    Users {
        /// It answered.
        unknown: bool,
    },
    /// The store, and why.
    Store(String),
}

impl Unclear {
    const fn users(principal: String, unknown: bool) -> Self {
        Self { principal, silent: Silent::Users { unknown } }
    }

    const fn store(principal: String, why: String) -> Self {
        Self { principal, silent: Silent::Store(why) }
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = match &self.silent {
            Silent::Users { unknown } => *unknown,
            Silent::Store(why) => {
                return write!(f, "nobody can tell whether {} is good still: {why}", self.principal);
            }
        };
        let why = if unknown { "does not know this user" } else { "does not answer" };
        write!(
            f,
            "the user database of the daemon's machine {why}, so nobody can tell which groups {} is in",
            self.principal
        )
    }
}

/// Why a caller cannot be admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turned {
    /// It is given nothing.
    Away(Stranger),
    /// It has to ask again later.
    Later(Unclear),
}

/// Whether somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It may, on these servers.
    May(Scope),
    /// It may not.
    MayNot,
    /// It cannot be told at the moment: it is asked again.
    Unknown(Unclear),
}

/// Who is let in. Clones share what is given.
#[derive(Clone)]
pub struct Gate {
    daemon_uid: u32,
    grants: Arc<RwLock<Grants>>,
    groups: Arc<Groups>,
    /// What knows tokens, if anybody comes with one.
    tokens: Option<Arc<dyn Tokens>>,
    /// Changes when somebody may have lost something.
    taken: watch::Sender<()>,
}

impl Gate {
    /// A gate for a daemon that runs as `daemon_uid`; groups are those of the system's user database.
    pub fn new(daemon_uid: u32, grants: Grants, clock: Arc<dyn Clock>) -> Self {
        Self::with_members(daemon_uid, grants, Arc::new(UserDatabase), clock)
    }

    /// A gate that asks `members` for groups.
    pub fn with_members(
        daemon_uid: u32,
        grants: Grants,
        members: Arc<dyn Members>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            daemon_uid,
            grants: Arc::new(RwLock::new(grants)),
            groups: Groups::new(members, clock),
            tokens: None,
            taken: watch::Sender::new(()),
        }
    }

    /// Gives these roles from here on, and no others.
    pub fn replace(&self, grants: Grants) {
        *self.grants.write().unwrap_or_else(PoisonError::into_inner) = grants;
        self.groups.forget();
        self.was_taken();
    }

    /// Something was taken from somebody: whoever reads on is asked again at once.
    pub fn was_taken(&self) {
        self.taken.send_replace(());
    }

    /// Tells from here on when something was taken from somebody.
    pub fn taken(&self) -> watch::Receiver<()> {
        self.taken.subscribe()
    }

    /// Whether it is root or the daemon's own user.
    pub const fn is_house(&self, uid: u32) -> bool {
        uid == 0 || uid == self.daemon_uid
    }

    /// Whether a user is given nothing, as far as that is known without a look-up.
    pub fn seems_strange(&self, uid: u32) -> bool {
        let grants = self.grants();
        if self.is_house(uid) || grants.own(uid).role().is_some() {
            return false;
        }
        match self.groups.last(uid) {
            _ if !grants.has_groups() => true,
            Some(Found::In(groups)) => grants.of(&groups).role().is_none(),
            Some(Found::NobodyKnows { .. }) => true,
            Some(Found::Failed) | None => false,
        }
    }

    /// The principal of a user who asks for something. `verb`: nothing but what it needs for that is looked up; without one, all that it is.
    pub async fn admit(&self, uid: u32, verb: Option<Verb>) -> Result<Principal, Turned> {
        let (name, grants) = (format!("unix:{uid}"), self.grants());
        let mut held = self.own(uid, &grants);
        if grants.has_groups() && !held.is_whole(verb.unwrap_or(Verb::Administer)) {
            match self.groups.of(uid).await {
                Found::In(groups) => held = held.or(&grants.of(&groups)),
                Found::NobodyKnows { .. } => {}
                Found::Failed => return Err(Turned::Later(Unclear::users(name, false))),
            }
        }
        let role = held.role().ok_or(Turned::Away(Stranger { uid }))?;
        let scope = held.scope(verb.unwrap_or(Verb::View)).unwrap_or(Scope::NOTHING);
        Ok(Principal { name, role, scope })
    }

    /// What somebody who was admitted once may do now. A user whom nobody knows is not taken to have lost what its groups gave it before
    /// that has been so for some minutes.
    pub async fn standing(&self, principal: &str, verb: Verb) -> Standing {
        if principal == SETTLED {
            return Standing::May(Scope::Whole);
        }
        if let Some(token) = principal.strip_prefix(TOKEN) {
            return self.token_standing(token, verb).await;
        }
        if let Some(certificate) = principal.strip_prefix(CERTIFICATE) {
            return self.certificate_standing(certificate, verb);
        }
        let Some(uid) = principal.strip_prefix("unix:").and_then(|uid| uid.parse().ok()) else {
            return Standing::MayNot;
        };
        let grants = self.grants();
        let mut held = self.own(uid, &grants);
        if grants.has_groups_for(verb) && !held.is_whole(verb) {
            let unclear = |unknown| Standing::Unknown(Unclear::users(principal.to_owned(), unknown));
            match self.groups.of(uid).await {
                Found::In(groups) => held = held.or(&grants.of(&groups)),
                Found::NobodyKnows { gone: true } => {}
                Found::NobodyKnows { gone: false } => return unclear(true),
                Found::Failed => return unclear(false),
            }
        }
        held.scope(verb).map_or(Standing::MayNot, Standing::May)
    }

    fn own(&self, uid: u32, grants: &Grants) -> Held {
        if self.is_house(uid) { Held::whole(Role::Admin) } else { grants.own(uid) }
    }

    /// A copy: nobody waits for it while the user database is asked.
    fn grants(&self) -> Grants {
        self.grants.read().unwrap_or_else(PoisonError::into_inner).clone()
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
mod tests;
