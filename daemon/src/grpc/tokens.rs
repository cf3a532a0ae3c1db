//! The part of the service `Admin` that is about bearer tokens.

use settled_proto::v1;

use super::pages::Page;
use super::{Api, check, convert};
use crate::auth::{BadSelector, Selector, Token};
use crate::engine::{Asked, NewToken, Refusal};

impl Api {
    pub(super) async fn token_made(
        &self,
        asked: Asked,
        m: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenResponse, Refusal> {
        let role = convert::role_of(check::word("role", m.role)?)
            .ok_or_else(|| Refusal::field("role", "is missing: viewer, operator or admin"))?;
        let scope = scope(&m.scope)?;
        let new = NewToken { name: m.name, role, scope, days: m.days };
        let (row, secret) = self.engine().create_token(asked, new).await?;
        let secret = secret.map(|secret| secret.expose().to_owned()).unwrap_or_default();
        Ok(v1::CreateTokenResponse { token: Some(convert::token(&row)?), secret })
    }

    pub(super) async fn tokens(&self, m: v1::ListTokensRequest) -> Result<v1::ListTokensResponse, Refusal> {
        let list = v1::ListTokensRequest::default();
        let page = Page::new(self.engine(), "Admin.ListTokens", &list, m.page_size, &m.page_token)?;
        let rows = self.engine().store().read().await?.db().tokens(&page.after, page.limit()).await?;
        let rows = rows.iter().map(convert::token).collect::<Result<_, _>>()?;
        let (tokens, next_page_token) = page.cut(rows, |token: &v1::Token| &token.id);
        Ok(v1::ListTokensResponse { tokens, next_page_token })
    }

    pub(super) async fn token_revoked(
        &self,
        asked: Asked,
        m: v1::RevokeTokenRequest,
    ) -> Result<v1::RevokeTokenResponse, Refusal> {
        if Token::read(&m.token).is_ok() {
            let message =
                "is a token itself, which nobody should see: name it, as `settlectl token list` does";
            return Err(Refusal::field("token", message));
        }
        check::name("token", &m.token)?;
        let row = self.engine().revoke_token(asked, m.token).await?;
        self.parts.gate.was_taken();
        Ok(v1::RevokeTokenResponse { token: Some(convert::token(&row)?) })
    }
}

/// For which servers a token is.
fn scope(words: &[String]) -> Result<Vec<Selector>, Refusal> {
    let read =
        |word: &String| word.parse().map_err(|bad: BadSelector| Refusal::field("scope", bad.to_string()));
    words.iter().map(read).collect()
}
