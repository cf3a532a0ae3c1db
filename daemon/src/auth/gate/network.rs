//! Callers from the network: known by the token or by the certificate that they show.

use async_trait::async_trait;

use super::{Gate, Standing, Unclear};
use crate::auth::{CERTIFICATE, Held, Principal, Scope, TOKEN, Token, Verb};

/// What a token is that somebody shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A good one.
    Good {
        /// Its name.
        name: String,
        /// What it gives.
        held: Held,
    },
    /// One whose time is over, by its name.
    Expired(String),
    /// One that was revoked, by its name.
    Revoked(String),
    /// One that this settled has not made, or has forgotten.
    Unknown,
}

/// What knows tokens. Nothing is remembered from one question to the next: what was revoked is worthless at once.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// What this token is now. The error says why nobody can tell.
    async fn shown(&self, token: &Token) -> Result<Shown, String>;

    /// What the bearer of the token with this name holds now; nothing when none is good.
    async fn held(&self, name: &str) -> Result<Option<Held>, String>;
}

/// Why a caller from the network is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLetIn {
    /// The time of its token is over.
    #[error("this token has expired: ask whoever gave it to you for another (settlectl token create)")]
    Expired(String),
    /// Its token was revoked.
    #[error("this token was revoked: ask whoever gave it to you for another (settlectl token create)")]
    Revoked(String),
    /// Its token is not one of this settled.
    #[error("this settled does not know this token: is it another settled's, or was it revoked long ago?")]
    Unknown,
    /// Its certificate is given nothing.
    #[error(
        "{CERTIFICATE}{0} may not use this settled: ask its operator to name {CERTIFICATE}{0} in access.viewers, access.operators or access.admins"
    )]
    Stranger(String),
    /// It has to ask again later.
    #[error("nobody can tell at the moment whose token this is: {0}")]
    Later(String),
}

impl NotLetIn {
    /// The principal that its caller would be, where that is certain.
    pub fn whose(&self) -> Option<String> {
        match self {
            Self::Expired(token) | Self::Revoked(token) => Some(format!("{TOKEN}{token}")),
            Self::Stranger(certificate) => Some(format!("{CERTIFICATE}{certificate}")),
            Self::Unknown | Self::Later(_) => None,
        }
    }
}

impl Gate {
    /// Asks this for tokens.
    #[must_use]
    pub fn with_tokens(self, tokens: std::sync::Arc<dyn Tokens>) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// The principal of whoever shows a token. `verb`: see [`Gate::admit`].
    pub async fn admit_token(&self, token: &Token, verb: Option<Verb>) -> Result<Principal, NotLetIn> {
        let tokens = self.tokens.as_ref().ok_or(NotLetIn::Unknown)?;
        match tokens.shown(token).await.map_err(NotLetIn::Later)? {
            Shown::Good { name, held } => {
                principal(format!("{TOKEN}{name}"), &held, verb).ok_or(NotLetIn::Unknown)
            }
            Shown::Expired(name) => Err(NotLetIn::Expired(name)),
            Shown::Revoked(name) => Err(NotLetIn::Revoked(name)),
            Shown::Unknown => Err(NotLetIn::Unknown),
        }
    }

    /// The principal of whoever shows a certificate of this name, which an authority vouches for.
    pub fn admit_certificate(&self, name: &str, verb: Option<Verb>) -> Result<Principal, NotLetIn> {
        let held = self.grants().of_certificate(name);
        principal(format!("{CERTIFICATE}{name}"), &held, verb)
            .ok_or_else(|| NotLetIn::Stranger(name.to_owned()))
    }

    /// What the bearer of a token may do now.
    pub(super) async fn token_standing(&self, name: &str, verb: Verb) -> Standing {
        let Some(tokens) = &self.tokens else { return Standing::MayNot };
        match tokens.held(name).await {
            Ok(held) => held.and_then(|held| held.scope(verb)).map_or(Standing::MayNot, Standing::May),
            Err(why) => Standing::Unknown(Unclear::store(format!("{TOKEN}{name}"), why)),
        }
    }

    /// What whoever shows a certificate of this name may do now.
    pub(super) fn certificate_standing(&self, name: &str, verb: Verb) -> Standing {
        self.grants().of_certificate(name).scope(verb).map_or(Standing::MayNot, Standing::May)
    }
}

fn principal(name: String, held: &Held, verb: Option<Verb>) -> Option<Principal> {
    let scope = held.scope(verb.unwrap_or(Verb::View)).unwrap_or(Scope::NOTHING);
    Some(Principal { name, role: held.role()?, scope })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::{Grants, Role};
    use crate::clock::SystemClock;

    /// Knows one token by each name, and no answer to `away`.
    struct Book;

    #[async_trait]
    impl Tokens for Book {
        async fn shown(&self, _: &Token) -> Result<Shown, String> {
            Ok(Shown::Unknown)
        }

        async fn held(&self, name: &str) -> Result<Option<Held>, String> {
            match name {
                "ci" => Ok(Some(Held::whole(Role::Operator))),
                "away" => Err("the database is not available".to_owned()),
                _ => Ok(None),
            }
        }
    }

    #[tokio::test]
    async fn p14_what_was_given_to_a_token_or_a_certificate_counts_for_as_long_as_it_is_given() {
        let mut grants = Grants::default();
        grants.certificate("spiffe://site/deploy", Role::Operator);
        let gate = Gate::new(900, grants, Arc::new(SystemClock::new())).with_tokens(Arc::new(Book));
        let table = [
            ("token:ci", Verb::Operate, Some(true)),
            ("token:ci", Verb::Administer, Some(false)),
            ("token:gone", Verb::View, Some(false)),
            ("token:away", Verb::View, None),
            ("cert:spiffe://site/deploy", Verb::Operate, Some(true)),
            ("cert:spiffe://site/deploy", Verb::Administer, Some(false)),
            ("cert:spiffe://site/other", Verb::View, Some(false)),
            ("cert:", Verb::View, Some(false)),
        ];
        for (principal, verb, expected) in table {
            let may = match gate.standing(principal, verb).await {
                Standing::May(scope) => Some(scope.is_whole()),
                Standing::MayNot => Some(false),
                Standing::Unknown(_) => None,
            };
            assert_eq!(may, expected, "{principal} {verb:?}");
        }
        gate.replace(Grants::default());
        assert_eq!(gate.standing("cert:spiffe://site/deploy", Verb::View).await, Standing::MayNot);
        assert!(matches!(gate.admit_certificate("spiffe://site/deploy", None), Err(NotLetIn::Stranger(_))));
    }
}
