//! Keeps the loaded definitions in the store, by digest, so that what they made can always be taken off again; and puts new ones in
//! their place.

use std::sync::PoisonError;

use async_trait::async_trait;

use super::{Answer, Asked, Engine, Refusal};
use crate::catalog::{Catalog, FileProblem, differing};
use crate::store::{Command, StoreError, Unit, Wants};

struct KeepPackages(Catalog);

#[async_trait]
impl Command for KeepPackages {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        for definition in self.0.iter() {
            unit.keep_package(&definition.digest, &definition.name, &definition.text).await?;
        }
        Ok(())
    }
}

/// What a caller asks for: these definitions, or why there are none.
struct Reload {
    engine: Engine,
    asked: Asked,
    read: Result<Catalog, Vec<FileProblem>>,
}

#[async_trait]
impl Command for Reload {
    /// The definitions to use from here on; none when the request was answered before.
    type Answer = (Answer, Option<Catalog>);
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok((answer, None));
        }
        let catalog = self.read.as_ref().map_err(|problems| not_in_order(problems))?;
        let answer = Answer {
            ids: differing(&self.engine.catalog().digests(), &catalog.digests()),
            ..Answer::default()
        };
        KeepPackages(catalog.clone()).run(unit).await?;
        self.asked.keep(unit, &answer, "packages".to_owned()).await?;
        Ok((answer, Some(catalog.clone())))
    }
}

fn not_in_order(problems: &[FileProblem]) -> Refusal {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Refusal::not_now(format!(
        "the package definitions are not in order, and those loaded before stay in use; mend them and reload again: {}",
        lines.join("; ")
    ))
}

impl Engine {
    /// Stores these definitions, each by its digest. Nothing uses them yet.
    pub async fn keep_packages(&self, catalog: Catalog) -> Result<(), StoreError> {
        self.writer().commit(KeepPackages(catalog)).await
    }

    /// Puts these definitions, which are stored, in the place of the loaded ones. Answers the names of those that came, changed or went.
    pub fn use_packages(&self, catalog: Catalog) -> Vec<String> {
        let changes = differing(&self.catalog().digests(), &catalog.digests());
        *self.inner.catalog.write().unwrap_or_else(PoisonError::into_inner) = catalog;
        changes
    }

    /// The same as a command of someone. What could not be `read` refuses it, and everything stays as it was.
    pub async fn reload_packages(
        &self,
        asked: Asked,
        read: Result<Catalog, Vec<FileProblem>>,
    ) -> Result<Answer, Refusal> {
        asked.check()?;
        let engine = self.clone();
        // In a task of its own: a caller who goes away must not leave it accepted and not done.
        let reloading = tokio::spawn(async move {
            let command = Reload { engine: engine.clone(), asked, read };
            let (answer, catalog) = engine.writer().commit(command).await?;
            if let Some(catalog) = catalog {
                tracing::info!(changed = ?answer.ids, "the packages were read anew");
                engine.use_packages(catalog);
            }
            Ok(answer)
        });
        reloading.await.map_err(|error| Refusal::Internal(format!("the reload broke: {error}")))?
    }
}
