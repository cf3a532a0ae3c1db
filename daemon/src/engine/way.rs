//! The way to a server: the jump hosts that it is reached through.

use super::{Engine, Refusal, targets};
use crate::domain::server::{JUMPS_MAX, Server, check_way};
use crate::store::{Lookup, StoreError, Unit};

/// The jump host `via` of the server `name`, checked: it is there, and its own way leads neither back nor too far. Answers its name;
/// empty means that the server is reached directly.
pub(super) async fn through(unit: &mut Unit<'_>, name: &str, via: &str) -> Result<Option<String>, Refusal> {
    if via.is_empty() {
        return Ok(None);
    }
    let first = match targets::find_server(unit, via).await {
        Err(Refusal::NotFound { .. }) => {
            return Err(Refusal::field(
                "via",
                format!("there is no server `{via}`: register the jump host first"),
            ));
        }
        found => found?,
    };
    let mut jumps = vec![first.name.clone()];
    jumps.extend(jumps_of(unit, &first).await?.into_iter().map(|jump| jump.name));
    let behind = unit.db().await?.hops_behind(name).await?;
    check_way(name, &jumps, usize::try_from(behind).unwrap_or(JUMPS_MAX))
        .map_err(|message| Refusal::field("via", message))?;
    Ok(Some(first.name))
}

/// The jump hosts of a server, the one next to it first.
async fn jumps_of(db: &mut impl Lookup, server: &Server) -> Result<Vec<Server>, StoreError> {
    let mut jumps: Vec<Server> = Vec::new();
    let mut next = server.via.clone();
    // One too many is enough to see that there are too many.
    while let Some(name) = next.take().filter(|_| jumps.len() <= JUMPS_MAX) {
        let missing = || StoreError::Corrupt(format!("the jump host `{name}` is missing"));
        let jump = db.server_by_name(&name).await?.ok_or_else(missing)?;
        next.clone_from(&jump.via);
        jumps.push(jump);
    }
    Ok(jumps)
}

impl Engine {
    /// The jump hosts of a server, the one next to it first.
    pub async fn jumps(&self, server: &Server) -> Result<Vec<Server>, StoreError> {
        if server.via.is_none() {
            return Ok(Vec::new());
        }
        jumps_of(&mut self.store().read().await?.db(), server).await
    }
}
