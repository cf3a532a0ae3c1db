//! Finds what a request names, and whatever else a lane needs to know of a server: how to get in, which secrets a step gets.

use zeroize::Zeroizing;

use super::{Engine, Refusal};
use crate::domain::id::{ResourceId, ServerId};
use crate::domain::resource::Resource;
use crate::domain::server::Server;
use crate::secrets::SecretError;
use crate::store::{Lookup, SealedRow};

/// Name of the secret that holds a server's login key.
pub(super) const IDENTITY: &str = "identity";

/// Finds a server by name or id.
pub async fn find_server(db: &mut impl Lookup, named: &str) -> Result<Server, Refusal> {
    let by_id = match named.parse::<ServerId>() {
        Ok(id) => db.server(id).await?,
        Err(_) => None,
    };
    let found = match by_id {
        Some(server) => Some(server),
        None => db.server_by_name(named).await?,
    };
    found.ok_or_else(|| Refusal::NotFound { what: "server", name: named.to_owned() })
}

/// Finds a resource by id or SERVER/PACKAGE/NAME.
pub async fn find_resource(db: &mut impl Lookup, named: &str) -> Result<Resource, Refusal> {
    let missing = || Refusal::NotFound { what: "resource", name: named.to_owned() };
    if let Ok(id) = named.parse::<ResourceId>() {
        return db.resource(id).await?.ok_or_else(missing);
    }
    let parts: Vec<_> = named.split('/').collect();
    let [server, package, name] = parts[..] else {
        return Err(Refusal::field("resource", "must be an id or SERVER/PACKAGE/NAME"));
    };
    let server = find_server(db, server).await?;
    db.resource_by_path(server.id, package, name).await?.ok_or_else(missing)
}

impl Engine {
    /// The login key of a server; `None` when it has none of its own.
    pub async fn identity(&self, server: ServerId) -> Result<Option<Zeroizing<Vec<u8>>>, Refusal> {
        let secrets = self.secrets(&server.to_string()).await?;
        Ok(secrets.into_iter().find(|(name, _)| name == IDENTITY).map(|(_, key)| key))
    }

    /// All secrets of a resource or server, opened: (name, secret).
    pub async fn secrets(&self, owner: &str) -> Result<Vec<(String, Zeroizing<Vec<u8>>)>, Refusal> {
        let sealed = self.store().read().await?.db().secrets(owner).await?;
        let open = |row: SealedRow| {
            let name = row.name.clone();
            match self.unseal(owner, row) {
                Ok(secret) => Ok((name, secret)),
                Err(SecretError::Damaged) => Err(Refusal::Internal(format!(
                    "the secret `{name}` does not open: it is damaged, or belongs elsewhere; give it anew"
                ))),
                Err(error) => Err(error.into()),
            }
        };
        sealed.into_iter().map(open).collect()
    }

    /// What output of a resource's scripts must not show: its secrets, and those that were replaced and may still be on the server. One of
    /// these that does not open any more is left out: otherwise whoever gives it anew could not get rid of it.
    pub async fn masked(&self, resource: ResourceId) -> Result<Vec<Zeroizing<Vec<u8>>>, Refusal> {
        let owner = resource.to_string();
        let mut masked: Vec<_> = self.secrets(&owner).await?.into_iter().map(|(_, secret)| secret).collect();
        let former = self.store().read().await?.db().former_secrets(&owner).await?;
        for row in former {
            let secret = row.name.clone();
            match self.unseal(&owner, row) {
                Ok(value) => masked.push(value),
                Err(SecretError::Damaged) => tracing::warn!(
                    resource_id = owner,
                    secret,
                    "a value that was replaced does not open any more, and is not masked in output"
                ),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(masked)
    }
}
