//! Takes a server from another installation when an operator has asked for it. What that one has started there is never run beside: it is
//! waited for, or ended first.

use super::Lane;
use crate::domain::step::StepId;
use crate::engine::{LaneError, Takeover};
use crate::remote::{Claimed, RemoteError, Report, StepStatus, Target};

/// Why a claim did not come about.
pub(super) enum Halt {
    /// The server did not answer as asked.
    Remote(RemoteError),
    /// The lane cannot go on.
    Lane(LaneError),
}

impl From<RemoteError> for Halt {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl<E: Into<LaneError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Lane(error.into())
    }
}

impl Lane {
    /// Claims the epoch on the server, also from another installation.
    pub(super) async fn take_over(&self, target: &Target, how: Takeover) -> Result<Claimed, Halt> {
        if how == Takeover::Asked
            && let Some((id, report)) = self.strangers(&self.crew.remote.list(target).await?).await?.first()
        {
            return Err(RemoteError::Refused(still_runs(target, *id, report)).into());
        }
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        // From here on the other can start nothing; it may have until now.
        let found = self.crew.acting()?.take_over(target, self.crew.installation, epoch).await?;
        let living = self.strangers(&found.steps).await?.iter().map(|(id, _)| *id).collect();
        tracing::warn!(server = self.name(), "a server was taken over, as an operator has asked");
        self.crew.engine.taken_over(self.hold, how, living).await?;
        Ok(found)
    }

    /// Steps that live on the server and that this store does not know.
    async fn strangers<'a>(&self, there: &'a [(StepId, Report)]) -> Result<Vec<&'a (StepId, Report)>, Halt> {
        let mut found = Vec::new();
        for step in there {
            let (id, report) = step;
            let over =
                matches!(report.status, StepStatus::Ended(_) | StepStatus::Reaped | StepStatus::Absent);
            if !over && self.crew.engine.store().read().await?.db().step(*id).await?.is_none() {
                found.push(step);
            }
        }
        Ok(found)
    }
}

fn still_runs(target: &Target, id: StepId, report: &Report) -> String {
    let name = &target.name;
    let processes = match &report.processes[..] {
        [] => String::new(),
        some => format!(" (processes {})", some.join(", ")),
    };
    format!(
        "step {id} of the installation that has {name} runs there{processes}: when it has ended, run `settlectl server probe {name}`; \
         or `settlectl server takeover {name} --force`, which ends it first"
    )
}
