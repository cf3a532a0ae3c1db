//! A person makes the reconciler look now: who asked is on record before it looks (P14), and what the look found after it.

use async_trait::async_trait;

use super::{Answer, Asked, Engine, Refusal};
use crate::domain::id::RunId;
use crate::domain::time::Timestamp;
use crate::domain::verdict::Reason;
use crate::store::lanes::DeadLane;
use crate::store::{Command, StoreError, Unit, Wants};

/// What one look of the reconciler found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Open runs.
    pub examined: u64,
    /// Runs that were settled.
    pub settled: Vec<SettledRun>,
    /// Lanes of dead daemons that were freed.
    pub released: Vec<DeadLane>,
    /// Open runs that are likely stale, newest first, [`STALE_MAX`] at most.
    pub likely_stale: Vec<StaleRun>,
    /// Nothing is settled by time before this, because this daemon has not run for long enough.
    pub grace_until: Option<Timestamp>,
}

/// What the audit calls it.
const OBJECT: &str = "installation";
/// Most runs that a report names as likely stale.
pub const STALE_MAX: i64 = 100;

/// A run that was settled by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRun {
    /// Which.
    pub id: RunId,
    /// Name of its server.
    pub server: String,
    /// Why it did not succeed.
    pub reason: Option<Reason>,
    /// By when it was to be terminal.
    pub due: Timestamp,
    /// When it was settled.
    pub at: Timestamp,
}

/// An open run that is likely stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleRun {
    /// Which.
    pub id: RunId,
    /// Name of its server.
    pub server: String,
    /// When something last happened to it.
    pub progress_at: Timestamp,
    /// By when it settles.
    pub settles_by: Option<Timestamp>,
}

impl Report {
    /// How much of each, for the audit.
    fn counts(&self) -> String {
        let grace = if self.grace_until.is_some() { "; too soon to settle by time" } else { "" };
        format!(
            "examined {}, settled {}, released {}, likely stale {}{grace}",
            self.examined,
            self.settled.len(),
            self.released.len(),
            self.likely_stale.len(),
        )
    }
}

struct AskToReconcile {
    asked: Asked,
}

#[async_trait]
impl Command for AskToReconcile {
    type Answer = bool;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, Refusal> {
        if self.asked.recall(unit).await?.is_some() {
            return Ok(false);
        }
        self.asked.keep(unit, &Answer::default(), OBJECT.to_owned()).await?;
        Ok(true)
    }
}

impl Engine {
    /// Accepts that someone makes the reconciler look. What the look finds is not kept: asked again under the same id, it looks again,
    /// and looking twice changes nothing. Answers whether this is new.
    pub async fn accept_reconcile(&self, asked: Asked) -> Result<bool, Refusal> {
        asked.check()?;
        self.writer().commit(AskToReconcile { asked }).await
    }

    /// Notes in the audit what the look has found.
    pub async fn audit_reconcile(&self, asked: Asked, report: &Report) -> Result<(), StoreError> {
        self.audit_end(asked, OBJECT, report.counts()).await
    }
}
