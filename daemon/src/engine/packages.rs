//! Keeps the loaded definitions in the store, by digest, so that what they made can always be taken off again.

use async_trait::async_trait;

use super::Engine;
use crate::store::{Command, StoreError, Unit};

struct KeepPackages(Engine);

#[async_trait]
impl Command for KeepPackages {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        for definition in self.0.catalog().iter() {
            unit.keep_package(&definition.digest, &definition.name, &definition.text).await?;
        }
        Ok(())
    }
}

impl Engine {
    /// Stores every loaded definition by its digest.
    pub async fn keep_packages(&self) -> Result<(), StoreError> {
        self.writer().commit(KeepPackages(self.clone())).await
    }
}
