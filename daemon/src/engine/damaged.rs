//! Secrets that no master key opens any more, because their rows were damaged or moved: whose they are, and what to do. Never what they were.
//!
//! A rotation finds them: it leaves them as they are, notes that, and goes on with the others. From then on no key is kept for them.

use super::Engine;
use crate::store::{DamagedRow, Db, StoreError};

/// A secret that does not open any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Whose it is, as people name it: `web1/site/shop`.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// What to do.
    pub remedy: String,
}

impl Engine {
    /// Secrets that are known not to open any more, in order of their owners' ids, at most so many.
    pub async fn damaged_secrets(&self, db: &mut Db<'_>, limit: i64) -> Result<Vec<Damaged>, StoreError> {
        let rows = db.damaged_secrets(limit).await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let (owner, remedy) = self.owner_of(db, &row).await?;
            found.push(Damaged { owner, name: row.name, remedy });
        }
        Ok(found)
    }

    /// Whose it is, and what to do.
    async fn owner_of(&self, db: &mut Db<'_>, row: &DamagedRow) -> Result<(String, String), StoreError> {
        let DamagedRow { owner_id: id, name, .. } = row;
        if id == self.installation() {
            let remedy = "put the database back from a backup, or give servers keys of their own: settlectl server edit SERVER --identity FILE";
            return Ok(("the installation".to_owned(), remedy.to_owned()));
        }
        if let Ok(resource) = id.parse()
            && let Some(r) = db.resource(resource).await?
        {
            let path = format!("{}/{}/{}", r.server_name, r.package, r.name);
            let remedy = if row.was_replaced() {
                format!(
                    "it was replaced, and is not masked in output any more: it goes with the next update that succeeds: settlectl update {path}"
                )
            } else {
                format!("give it anew: settlectl update {path} --secret {name}=@FILE")
            };
            return Ok((path, remedy));
        }
        if let Ok(server) = id.parse()
            && let Some(server) = db.server(server).await?
        {
            let remedy = format!("give it anew: settlectl server edit {} --identity FILE", server.name);
            return Ok((server.name, remedy));
        }
        if let Ok(lifecycle) = id.parse()
            && let Some(lifecycle) = db.lifecycle(lifecycle).await?
        {
            let remedy = format!("give it anew: settlectl lifecycle apply FILE --secret {name}=@FILE");
            return Ok((lifecycle.code, remedy));
        }
        if let Some(notifier) = db.notifier(id).await? {
            let remedy = format!("settlectl notifier delete {}, and create it anew", notifier.name);
            return Ok((notifier.name, remedy));
        }
        Ok((id.clone(), "nothing: what it belonged to is gone".to_owned()))
    }
}
