//! When dpkg was interrupted on a server and a step needs it: where that is allowed it is repaired first, as a try that everyone sees, with
//! output and an end of its own. Once in an attempt: what the repair does not mend is left to people.

use super::remains::Remains;
use super::{Lane, Next};
use crate::catalog::REPAIR_TIMEOUT;
use crate::domain::run::{Repair, Run};
use crate::domain::step::{Ended, StepId};
use crate::engine::LaneError;

impl Lane {
    /// The server did not start a step, because dpkg was interrupted there.
    pub(super) async fn interrupted(
        &mut self,
        run: &Run,
        id: StepId,
        packages: &str,
    ) -> Result<Next, LaneError> {
        let what = format!("dpkg was interrupted on the server ({packages})");
        let (name, allowed) = self.server.as_ref().map_or(("", false), |s| (&s.name, s.policy.repair_dpkg));
        if !allowed {
            let why = format!(
                "{what}: run `dpkg --configure -a` there, or let settled do it (`settlectl server edit {name} --repair-dpkg`)"
            );
            return self.ended(run, id, Ended::Rejected { why }, Remains::default()).await;
        }
        if self.was_repaired(id).await? {
            let why =
                format!("{what}, and `dpkg --configure -a` has not mended it: look there what is wrong");
            return self.ended(run, id, Ended::Rejected { why }, Remains::default()).await;
        }
        let ended = Ended::Rejected { why: format!("{what}: that is repaired first") };
        let mut facts = self.facts(run, id, &ended).await?;
        facts.repair = Repair::Begins(REPAIR_TIMEOUT);
        if let Some(work) = &mut self.work {
            work.repairs(StepId { try_no: id.try_no + 1, ..id });
        }
        self.store_end(run, id, ended, false, facts).await
    }

    /// Whether a try of this step in this attempt was the repair.
    async fn was_repaired(&self, id: StepId) -> Result<bool, LaneError> {
        let tries = self.crew.engine.store().read().await?.db().steps(id.run).await?;
        Ok(tries.iter().any(|t| t.repair && (t.id.step, t.id.attempt) == (id.step, id.attempt)))
    }
}
