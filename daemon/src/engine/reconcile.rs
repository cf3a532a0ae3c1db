//! A person makes the reconciler look now: who asked is on record before it looks (P14).

use async_trait::async_trait;

use super::{Answer, Asked, Engine, Refusal};
use crate::store::{Command, Unit, Wants};

struct AskToReconcile {
    engine: Engine,
    asked: Asked,
}

#[async_trait]
impl Command for AskToReconcile {
    type Answer = ();
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), Refusal> {
        if self.asked.recall(unit).await?.is_some() {
            return Ok(());
        }
        let audit_id = self.engine.clock().ulid().to_string();
        self.asked.keep(unit, &Answer::default(), audit_id, "installation".to_owned()).await
    }
}

impl Engine {
    /// Accepts that someone makes the reconciler look. What the look finds is not kept: asked again under the same id, it looks again,
    /// and looking twice changes nothing.
    pub async fn accept_reconcile(&self, asked: Asked) -> Result<(), Refusal> {
        asked.check()?;
        self.writer().commit(AskToReconcile { engine: self.clone(), asked }).await
    }
}
