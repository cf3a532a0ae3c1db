//! Someone orders a drain, or takes it back: who did is on record before it is done (P14). What a daemon does with it stands elsewhere.

use async_trait::async_trait;

use super::{Answer, Asked, Engine, Refusal};
use crate::store::{Command, StoreError, Unit, Wants};

/// What is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOrder {
    /// Begin nothing new, and follow what runs to its end.
    Finish,
    /// Begin nothing new, and hand what runs over to other daemons.
    Detach,
    /// Serve again.
    Cancel,
}

impl DrainOrder {
    const fn word(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Detach => "detach",
            Self::Cancel => "cancel",
        }
    }
}

struct AskToDrain {
    engine: Engine,
    asked: Asked,
    order: DrainOrder,
}

#[async_trait]
impl Command for AskToDrain {
    /// Whether it is to be done now: it is not when it was done under the same request id before.
    type Answer = bool;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, Refusal> {
        if self.asked.recall(unit).await?.is_some() {
            return Ok(false);
        }
        let (now, me) = (unit.now(), self.engine.me().to_string());
        if self.order == DrainOrder::Detach
            && unit.db().await?.daemons(now).await?.iter().all(|daemon| daemon.id == me || !daemon.serves)
        {
            return Err(Refusal::not_now(
                "no other daemon that serves shares the store, so nobody would follow what runs: drain without --detach, which lets it come to its \
                 end, or stop this one (systemctl stop settled), which leaves it running for the next start",
            ));
        }
        let (answer, object) = (Answer::default(), format!("daemon {}", self.engine.me()));
        self.asked.keep_with(unit, &answer, object, self.order.word().to_owned()).await?;
        Ok(true)
    }
}

impl Engine {
    /// Accepts that someone drains this daemon, or takes that back. Answers whether that is to be done now: asked again under the same id,
    /// it is not, because somebody else may have ordered otherwise since.
    pub async fn accept_drain(&self, asked: Asked, order: DrainOrder) -> Result<bool, Refusal> {
        asked.check()?;
        self.writer().commit(AskToDrain { engine: self.clone(), asked, order }).await
    }

    /// Whether another daemon that shares the store serves.
    pub async fn others_serve(&self) -> Result<bool, StoreError> {
        let (now, me) = (self.clock().now(), self.me().to_string());
        let daemons = self.store().read().await?.db().daemons(now).await?;
        Ok(daemons.iter().any(|daemon| daemon.id != me && daemon.serves))
    }
}
