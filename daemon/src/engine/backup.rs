//! Someone takes a copy of the whole store: who did is on record before it is made (P14), and so in the copy, too.
//!
//! It has no request id: whoever asks twice takes two copies, and each is on record.

use async_trait::async_trait;

use super::{Asked, Engine, Refusal, audit};
use crate::store::{AuditResult, AuditRow, Backup, Command, StoreError, Unit};

/// What the audit calls it.
const OBJECT: &str = "store";

struct NoteBackup {
    asked: Asked,
}

#[async_trait]
impl Command for NoteBackup {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        unit.audit(AuditRow { object: OBJECT.to_owned(), ..audit::row(&self.asked, AuditResult::Accepted) });
        Ok(())
    }
}

impl Engine {
    /// A copy of everything that the store has. What is accepted before it is asked for is in it.
    pub async fn backup(&self, asked: Asked) -> Result<Backup, Refusal> {
        let place = self.store().place_for_backup().await?;
        self.writer().commit(NoteBackup { asked }).await?;
        Ok(place.fill().await?)
    }
}
