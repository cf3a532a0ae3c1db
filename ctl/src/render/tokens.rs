//! Tokens for people.

use jiff::Timestamp;
use settled_proto::v1::{Role, Token};

use super::table::{self, Style};
use super::text;
use super::words::word_or_empty;
use crate::errors::{Error, Exit};

/// What is to be known of a new token, beside its secret.
pub(crate) fn created(token: &Token, now: Timestamp) -> String {
    format!(
        "This is the secret of the token {}, shown once: settled keeps only a digest of it. {}, {}, until {}.",
        text::clean(&token.name),
        word_or_empty::<Role>(token.role),
        scope(token),
        text::when(token.expires_at.as_ref(), now),
    )
}

/// The token is there, and nobody knows its secret any more.
pub(crate) fn secret_is_lost(token: &Token) -> Error {
    let name = text::clean(&token.name);
    let lines = vec![
        format!(
            "The token {name} was made by this request before, and its secret was told then: it is told only once."
        ),
        format!("If nobody has it, revoke the token and make it anew: settlectl token revoke {name}"),
    ];
    Error { exit: Exit::Failed, lines }
}

/// A token that is worthless now.
pub(crate) fn revoked(token: &Token) -> String {
    format!("The token {} is revoked: nobody gets in with it any more.", text::clean(&token.name))
}

/// Tokens, newest first.
pub(crate) fn list(tokens: &[Token], wide: bool, style: Style, now: Timestamp) -> String {
    let mut headings = vec!["name", "role", "scope", "state", "expires", "last used", "made by"];
    if wide {
        headings.extend(["made", "id"]);
    }
    let rows = tokens.iter().map(|t| {
        let mut row = vec![
            text::clean(&t.name),
            word_or_empty::<Role>(t.role),
            scope(t),
            state(t, now).to_owned(),
            text::when(t.expires_at.as_ref(), now),
            t.last_used.as_ref().map_or_else(|| "never".to_owned(), |at| text::when(Some(at), now)),
            text::clean(&t.principal),
        ];
        if wide {
            row.extend([text::when(t.created_at.as_ref(), now), text::clean(&t.id)]);
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

fn scope(token: &Token) -> String {
    if token.scope.is_empty() { "everywhere".to_owned() } else { text::clean(&token.scope.join(", ")) }
}

fn state(token: &Token, now: Timestamp) -> &'static str {
    let is_past = |at: Option<&prost_types::Timestamp>| text::time(at).is_some_and(|at| at <= now);
    match (token.revoked_at.is_some(), is_past(token.expires_at.as_ref())) {
        (true, _) => "revoked",
        (false, true) => "expired",
        (false, false) => "good",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_or_is_revoked() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let now = Timestamp::from_second(100).unwrap();
        let table = [(at(101), None, "good"), (at(100), None, "expired"), (at(101), at(50), "revoked")];
        for (expires_at, revoked_at, expected) in table {
            assert_eq!(state(&Token { expires_at, revoked_at, ..Token::default() }, now), expected);
        }
    }
}
