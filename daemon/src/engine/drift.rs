//! Drift: what a server shows of a resource at rest, beside what was applied there last; and looks on schedule that find it.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use super::{Engine, Refusal};
use crate::auth::SETTLED;
use crate::catalog::{Definition, Proof};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::{Applied, Difference, Observed, Presence, Resource, ResourceStatus};
use crate::domain::time::Timestamp;
use crate::store::{Command, Unit};

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Whether it is there.
    pub presence: Presence,
    /// What the probe told of it.
    pub facts: BTreeMap<String, String>,
    /// Where that is not as it was applied, and the version of the record that said so; `None`: it was not compared.
    pub beside: Option<(i64, Vec<Difference>)>,
}

impl Sighting {
    /// What it means for a resource. One that has changed since it was compared is not what differs.
    pub(super) fn of(self, resource: &Resource, at: Timestamp) -> Observed {
        let compared = self.beside.filter(|(version, _)| *version == resource.version);
        let differs = compared.map(|(_, differs)| differs).unwrap_or_default();
        Observed::beside(self.presence, self.facts, differs, at)
    }
}

/// What the server is to show of a resource, with which parameters; `None` when nobody can say. What proves the operation that succeeded last
/// proves it still, unless the probe itself says what it shows; without either an active resource is at least there.
pub(super) fn expectation(definition: &Definition, resource: &Resource) -> Option<(Proof, Params)> {
    let Applied { params, digest, by, .. } = resource.at_rest()?;
    if *digest != definition.digest {
        return None;
    }
    let proof = match resource.status {
        ResourceStatus::Paused => definition.proof_of(&Operation::Pause)?,
        ResourceStatus::Active => standing_proof(definition, by).unwrap_or_else(Proof::of_presence),
        _ => standing_proof(definition, by)?,
    };
    Some((proof, params.clone()))
}

/// What still proves a resource after the operation that succeeded last.
fn standing_proof(definition: &Definition, by: &Operation) -> Option<Proof> {
    let changes = definition.operations.get(by.as_str()).is_none_or(|operation| operation.changes);
    let says_itself = definition.probe.as_ref().is_some_and(|probe| probe.shows.is_some());
    match by {
        _ if says_itself => definition.shown(),
        Operation::Adopt => definition.shown(),
        Operation::Own(_) if !changes => definition.shown(),
        _ => definition.proof_of(by),
    }
}

/// Looks at resources that have been at rest for long.
struct LookAround {
    engine: Engine,
    every: Duration,
    tick: Duration,
}

#[async_trait]
impl Command for LookAround {
    /// How many looks were queued.
    type Answer = u64;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<u64, Refusal> {
        let horizon = unit.now() - self.every;
        let at_rest = unit.db().await?.at_rest().await?;
        let due = unit.db().await?.at_rest_since(horizon, share(at_rest, self.tick, self.every)).await?;
        let mut queued = 0;
        for resource in due {
            unit.looked_at(resource.id).await?;
            queued += u64::from(self.look(unit, &resource).await?);
        }
        Ok(queued)
    }
}

impl LookAround {
    async fn look(&self, unit: &mut Unit<'_>, resource: &Resource) -> Result<bool, Refusal> {
        let engine = &self.engine;
        let definition = match engine.definition_to_look_by(unit, resource).await {
            Ok(definition) => definition,
            Err(Refusal::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(false),
        };
        let full = unit.queue_is_full(resource.server, engine.limits().queue_max).await?;
        if definition.probe.is_none() || full {
            return Ok(false);
        }
        let subject = super::probe::looking_at(resource, &definition.digest);
        let (server, name) = (resource.server, &resource.server_name);
        let mut run = engine.new_run(unit, engine.reading(subject, server, name, Operation::Probe, SETTLED));
        unit.insert_run(&mut run).await?;
        unit.call(server);
        Ok(true)
    }
}

/// How many of so many are looked at in one tick, so that all have had their turn in a round, and none all at once.
fn share(all: i64, tick: Duration, every: Duration) -> i64 {
    let (tick, every) = (tick.as_secs().max(1), every.as_secs().max(1));
    let all = u64::try_from(all).unwrap_or(0);
    i64::try_from(all.saturating_mul(tick).div_ceil(every)).unwrap_or(i64::MAX)
}

impl Engine {
    /// Queues looks at resources at rest that nobody has looked at for so long; called once in each `tick`. Answers how many.
    pub async fn look_around(&self, every: Duration, tick: Duration) -> Result<u64, Refusal> {
        self.writer().commit(LookAround { engine: self.clone(), every, tick }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_spread_over_the_round() {
        let share =
            |all, tick, every| super::share(all, Duration::from_secs(tick), Duration::from_secs(every));
        assert_eq!(share(0, 60, 3_600), 0);
        assert_eq!(share(1, 60, 3_600), 1);
        assert_eq!(share(6_000, 60, 3_600), 100);
        assert_eq!(share(10, 60, 60), 10);
    }
}
