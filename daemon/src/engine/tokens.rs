//! Bearer tokens: made, revoked, and looked up when somebody shows one. A secret is made here, told once, and never stored.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{Answer, Asked, Engine, Refusal, valid};
use crate::auth::{Held, Role, SELECTORS_MAX, Scope, Selector, Shown, TOKEN, Token, Tokens};
use crate::domain::time::Timestamp;
use crate::store::tokens::TokenRow;
use crate::store::{Command, StoreError, Unit, Wants};

/// How long a token is good for at most, in days.
pub const TOKEN_DAYS_MAX: u32 = 3650;
/// How long one is good for when nobody says, in days.
const DAYS_DEFAULT: u32 = 90;
/// That a token was used is written no more often than this.
const USED_EVERY: Duration = Duration::from_secs(60);

/// What a token is to be.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What its bearer may do.
    pub role: Role,
    /// For which servers; empty: for all of them.
    pub scope: Vec<Selector>,
    /// How long it is good for, in days; 0: for as long as they usually are.
    pub days: u32,
}

struct CreateToken {
    engine: Engine,
    asked: Asked,
    token: NewToken,
    digest: String,
}

#[async_trait]
impl Command for CreateToken {
    /// The token, and whether it was made now.
    type Answer = (TokenRow, bool);
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(TokenRow, bool), Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok((of(answer)?, false));
        }
        let NewToken { name, role, scope, days } = &self.token;
        let scope: Vec<_> = scope.iter().map(ToString::to_string).collect();
        let now = unit.now();
        if let Some(live) = unit.db().await?.live_token(name).await? {
            if live.expires_at > now.0 {
                return Err(exists(&live));
            }
            // Nobody can use it any more, so its name is free.
            unit.revoke_token(&live.id).await?;
        }
        let days = if *days == 0 { DAYS_DEFAULT } else { *days };
        let row = TokenRow {
            id: self.engine.clock().ulid().to_string(),
            name: name.clone(),
            role: role.to_string(),
            scope: TokenRow::scope_text(&scope),
            principal: self.asked.principal.clone(),
            created_at: now.0,
            expires_at: (now + Duration::from_secs(u64::from(days) * 86_400)).0,
            last_used: None,
            revoked_at: None,
        };
        unit.insert_token(&row, &self.digest).await?;
        let place = if scope.is_empty() { "everywhere".to_owned() } else { scope.join(", ") };
        let detail = format!("{role}, {place}, for {days} days");
        self.keep(unit, row.clone(), detail).await?;
        Ok((row, true))
    }
}

impl CreateToken {
    async fn keep(&self, unit: &mut Unit<'_>, row: TokenRow, detail: String) -> Result<(), Refusal> {
        let object = format!("{TOKEN}{}", row.name);
        let answer = Answer { token: Some(Box::new(row)), ..Answer::default() };
        self.asked.keep_with(unit, &answer, object, detail).await
    }
}

fn exists(live: &TokenRow) -> Refusal {
    Refusal::Exists {
        what: "token",
        id: live.id.clone(),
        message: format!(
            "there is a token `{0}` already: give this one another name, or revoke that one first (settlectl token revoke {0})",
            live.name
        ),
    }
}

fn of(answer: Answer) -> Result<TokenRow, Refusal> {
    let token = answer.token.map(|row| *row);
    token.ok_or_else(|| Refusal::Internal("the answer kept for this request id has no token".to_owned()))
}

struct RevokeToken {
    asked: Asked,
    token: String,
}

#[async_trait]
impl Command for RevokeToken {
    type Answer = TokenRow;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<TokenRow, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return of(answer);
        }
        let Some(live) = unit.db().await?.live_token(&self.token).await? else {
            return Err(Refusal::NotFound { what: "token", name: self.token.clone() });
        };
        unit.revoke_token(&live.id).await?;
        let row = TokenRow { revoked_at: Some(unit.now().0), ..live };
        let object = format!("{TOKEN}{}", row.name);
        let answer = Answer { token: Some(Box::new(row.clone())), ..Answer::default() };
        self.asked.keep(unit, &answer, object).await?;
        Ok(row)
    }
}

/// Somebody came with a token.
struct UseToken(String);

#[async_trait]
impl Command for UseToken {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        unit.use_token(&self.0).await
    }
}

impl Engine {
    /// Makes a token. Its secret is answered only when it was made now: asked again under the same id, nobody knows it any more.
    pub async fn create_token(
        &self,
        asked: Asked,
        token: NewToken,
    ) -> Result<(TokenRow, Option<Token>), Refusal> {
        asked.check()?;
        let mut problems = valid::Problems::default();
        problems.check("name", valid::resource_name(&token.name));
        if token.days > TOKEN_DAYS_MAX {
            problems.add("days", format!("must be 1 to {TOKEN_DAYS_MAX}; left out, it is {DAYS_DEFAULT}"));
        }
        if token.scope.len() > SELECTORS_MAX {
            problems.add("scope", format!("must be at most {SELECTORS_MAX}"));
        }
        if token.role == Role::Admin && !token.scope.is_empty() {
            problems.add("scope", "cannot be given to an admin, who changes what concerns all servers: leave it out, or give the role operator");
        }
        problems.into_result()?;
        let secret = Token::new(&self.random_bits());
        let command = CreateToken { engine: self.clone(), asked, token, digest: secret.digest() };
        let (row, is_new) = self.writer().commit(command).await?;
        Ok((row, is_new.then_some(secret)))
    }

    /// Revokes a token, by its name or id.
    pub async fn revoke_token(&self, asked: Asked, token: String) -> Result<TokenRow, Refusal> {
        asked.check()?;
        self.writer().commit(RevokeToken { asked, token }).await
    }

    async fn token_by_digest(&self, digest: &str) -> Result<Option<TokenRow>, StoreError> {
        self.store().read().await?.db().token_by_digest(digest).await
    }

    async fn live_token(&self, name: &str) -> Result<Option<TokenRow>, StoreError> {
        self.store().read().await?.db().live_token(name).await
    }

    /// Notes when a token was used, to the minute, and keeps nobody waiting for that.
    fn note_use(&self, row: &TokenRow, now: Timestamp) {
        if row.last_used.is_some_and(|last| now.since(Timestamp(last)) < USED_EVERY) {
            return;
        }
        let (engine, id) = (self.clone(), row.id.clone());
        if !self.inner.uses.begin(&id) {
            return;
        }
        tokio::spawn(async move {
            if let Err(error) = engine.writer().commit(UseToken(id.clone())).await {
                tracing::debug!(%error, "it could not be noted that a token was used; the next use is");
            }
            engine.inner.uses.end(&id);
        });
    }
}

#[async_trait]
impl Tokens for Engine {
    async fn shown(&self, token: &Token) -> Result<Shown, String> {
        let found = self.token_by_digest(&token.digest()).await.map_err(|error| error.to_string())?;
        let now = self.clock().now();
        Ok(match found {
            None => Shown::Unknown,
            Some(row) if row.revoked_at.is_some() => Shown::Revoked(row.name),
            Some(row) if row.expires_at <= now.0 => Shown::Expired(row.name),
            Some(row) => {
                self.note_use(&row, now);
                Shown::Good { held: held(&row)?, name: row.name }
            }
        })
    }

    async fn held(&self, name: &str) -> Result<Option<Held>, String> {
        let found = self.live_token(name).await.map_err(|error| error.to_string())?;
        let now = self.clock().now().0;
        found.filter(|row| row.name == name && row.expires_at > now).map(|row| held(&row)).transpose()
    }
}

/// What a token gives.
fn held(row: &TokenRow) -> Result<Held, String> {
    let broken = || format!("the record of the token {} cannot be read", row.name);
    let role = Role::parse(&row.role).ok_or_else(broken)?;
    let selectors = row.scope().map_err(|_| broken())?;
    let selectors =
        selectors.iter().map(|text| text.parse().map_err(|_| broken())).collect::<Result<Vec<_>, _>>()?;
    let mut held = Held::default();
    held.give(role, if selectors.is_empty() { Scope::Whole } else { Scope::Of(selectors) });
    Ok(held)
}

/// The tokens whose use is being noted, so that a hundred requests at once are noted once.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashSet<String>>);

impl Uses {
    fn ids(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, id: &str) -> bool {
        self.ids().insert(id.to_owned())
    }

    fn end(&self, id: &str) {
        self.ids().remove(id);
    }
}
