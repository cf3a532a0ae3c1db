//! Bearer tokens, without their secrets.

use settled_proto::v1;

use super::{time, words};
use crate::auth::Role;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::tokens::TokenRow;

/// A token.
pub(in crate::grpc) fn token(row: &TokenRow) -> Result<v1::Token, StoreError> {
    Ok(v1::Token {
        id: row.id.clone(),
        name: row.name.clone(),
        role: Role::parse(&row.role).map_or(v1::Role::Unspecified, words::role).into(),
        scope: row.scope()?,
        principal: row.principal.clone(),
        created_at: Some(time(Timestamp(row.created_at))),
        expires_at: Some(time(Timestamp(row.expires_at))),
        last_used: row.last_used.map(|at| time(Timestamp(at))),
        revoked_at: row.revoked_at.map(|at| time(Timestamp(at))),
    })
}
