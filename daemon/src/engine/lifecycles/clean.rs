//! Cleans up: enrollments that were completed long ago, and old lines of the log, in small batches.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use crate::domain::time::Timestamp;
use crate::store::{Command, StoreError, Unit, Wants};

/// Until when each is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleaning {
    /// Completed enrollments.
    pub enrollments: Timestamp,
    /// Lines of the log.
    pub executions: Timestamp,
}

/// Records of each kind that go in one transaction.
const BATCH: i64 = 500;

struct Clean(Cleaning);

#[async_trait]
impl Command for Clean {
    type Answer = (u64, u64);
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(u64, u64), StoreError> {
        let enrollments = unit.expire_enrollments(self.0.enrollments, BATCH).await?;
        let executions = unit.expire_executions(self.0.executions, BATCH).await?;
        Ok((enrollments, executions))
    }
}

/// Someone asked for it: that is on record before anything goes.
struct AskToClean {
    asked: Asked,
}

#[async_trait]
impl Command for AskToClean {
    type Answer = ();
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), Refusal> {
        if self.asked.recall(unit).await?.is_some() {
            return Ok(());
        }
        self.asked.keep(unit, &Answer::default(), "enrollments and their log".to_owned()).await
    }
}

impl Engine {
    /// The same because someone asked for it. Asked again under the same id, it cleans again: what is gone is gone.
    pub async fn accept_cleaning(&self, asked: Asked, cleaning: Cleaning) -> Result<(u64, u64), Refusal> {
        asked.check()?;
        self.writer().commit(AskToClean { asked }).await?;
        Ok(self.clean_lifecycles(cleaning).await?)
    }

    /// Removes what is older, batch after batch; answers how many enrollments and lines went.
    pub async fn clean_lifecycles(&self, cleaning: Cleaning) -> Result<(u64, u64), StoreError> {
        let (mut enrollments, mut executions) = (0, 0);
        loop {
            let gone = self.clean_some(cleaning).await?;
            enrollments += gone.0;
            executions += gone.1;
            if gone == (0, 0) {
                return Ok((enrollments, executions));
            }
        }
    }

    /// One batch of it.
    pub async fn clean_some(&self, cleaning: Cleaning) -> Result<(u64, u64), StoreError> {
        self.writer().commit(Clean(cleaning)).await
    }

    /// How much that would be.
    pub async fn plan_cleaning(&self, cleaning: Cleaning) -> Result<(u64, u64), StoreError> {
        let mut reader = self.store().read().await?;
        let found = reader.db().expired_enrollments(cleaning.enrollments, cleaning.executions).await?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok((count(found.0), count(found.1)))
    }
}
