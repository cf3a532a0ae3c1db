//! Finds the definition that a run or a resource refers to by digest, also when its file is gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Engine, Refusal};
use crate::catalog::{self, Definition};
use crate::store::Db;

/// Definitions by digest, as far as they were asked for.
#[derive(Default)]
pub(super) struct Definitions {
    parsed: Mutex<HashMap<String, Arc<Definition>>>,
}

impl Engine {
    /// The definition with this digest: loaded, parsed before, or from the store.
    pub(super) async fn definition(
        &self,
        db: &mut Db<'_>,
        name: &str,
        digest: &str,
    ) -> Result<Arc<Definition>, Refusal> {
        if let Some(loaded) = self.catalog().get(name).filter(|d| d.digest == digest) {
            return Ok(loaded);
        }
        let parsed = &self.inner.definitions.parsed;
        if let Some(found) = parsed.lock().unwrap_or_else(PoisonError::into_inner).get(digest) {
            return Ok(Arc::clone(found));
        }
        let text = db.package_source(digest).await?;
        let text = text.ok_or_else(|| Refusal::NotFound {
            what: "package definition",
            name: format!("{name} {digest}"),
        })?;
        let definition = catalog::parse_kept(&text).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            Refusal::Internal(format!("the definition of `{name}` that this resource was made with is not understood any more: {first}"))
        })?;
        let definition = Arc::new(definition);
        parsed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest.to_owned(), Arc::clone(&definition));
        Ok(definition)
    }
}
