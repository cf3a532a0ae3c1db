//! What a package's probe tells after a change that has not shown by itself how it ended: proof of a lost step, and what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::stepping::Work;
use super::{Lane, Next, failures};
use crate::catalog::read_probe;
use crate::domain::grounds::{Probed, Seen};
use crate::domain::operation::Operation;
use crate::domain::resource::Presence;
use crate::domain::run::{Event, Proof, Run, StepFacts};
use crate::domain::step::{Ended, StepId};
use crate::engine::{Advance, LaneError, StepEnd};
use crate::remote::{ProbeSpec, RemoteError};
use crate::secrets::Mask;

impl Lane {
    /// A try left no exit record: the package's probe is asked for proof (P7). `proven`: the server has shown that it ended.
    pub(super) async fn judge_lost(
        &mut self,
        run: &Run,
        id: StepId,
        why: String,
        seen: Seen,
        proven: bool,
    ) -> Result<Next, LaneError> {
        match self.proof().await {
            Ok((proof, probe)) => {
                let seen = Seen { probe, ..seen };
                self.conclude_lost(run, id, why, (proof, seen), proven).await
            }
            Err(error) => Box::pin(self.trouble(error)).await,
        }
    }

    pub(super) async fn conclude_lost(
        &mut self,
        run: &Run,
        id: StepId,
        why: String,
        (proof, seen): (Proof, Seen),
        proven: bool,
    ) -> Result<Next, LaneError> {
        // What may live on can still do what does not hold yet.
        let proof = if proof == Proof::Nothing && !proven { Proof::None } else { proof };
        let seen = Seen { why: why.clone(), ..seen };
        let ended = Ended::Lost { why };
        let facts = StepFacts { seen, ..self.facts(run, id, &ended).await? };
        let outlines = self.work.as_ref().map_or_else(|| Arc::from([]), Work::outlines);
        let end = Some(StepEnd { proven, ..failures::end_of(id, &ended, false) });
        let event = Event::Judged(proof, facts);
        let after =
            self.crew.engine.advance(self.hold, Advance { run: run.id, event, end, outlines }).await?;
        self.after(run, after, id).await
    }

    /// What the package's probe proves, and what it saw of what the proof names.
    async fn proof(&self) -> Result<(Proof, Option<Probed>), RemoteError> {
        let (Some(work), Ok(target)) = (&self.work, self.target()) else { return Ok((Proof::None, None)) };
        let (Some(proof), Some(probe)) = (&work.prepared.plan.proof, &work.prepared.probe) else {
            return Ok((Proof::None, None));
        };
        let spec = ProbeSpec { script: probe.script.clone(), env: probe.env.clone(), timeout: probe.timeout };
        let answer = self.crew.remote.probe(&target, &spec).await?;
        if answer.exit_code != 0 {
            return Ok((Proof::None, None));
        }
        let reading = read_probe(&answer.output);
        let nothing = reading.presence == Some(Presence::Absent) && work.run.operation == Operation::Install;
        let proven = match proof.holds(&reading, &work.prepared.desired) {
            true => Proof::Success,
            false if nothing => Proof::Nothing,
            false => Proof::None,
        };
        let mut mask = Mask::new(work.prepared.masked.iter().cloned());
        let shown = read_probe(&mask.pass(&answer.output, true));
        let facts = shown.facts.into_iter().filter(|(name, _)| proof.facts.contains_key(name)).collect();
        Ok((proven, reading.presence.map(|presence| Probed { presence, facts })))
    }

    /// Looks at what is there after a change that did not succeed. What cannot be looked at now is later.
    pub(super) async fn observe(&self) -> Result<(), LaneError> {
        let (Some(work), Ok(target)) = (&self.work, self.target()) else { return Ok(()) };
        let Some(probe) = &work.prepared.probe else { return Ok(()) };
        let spec = ProbeSpec { script: probe.script.clone(), env: probe.env.clone(), timeout: probe.timeout };
        match self.crew.remote.probe(&target, &spec).await {
            Ok(answer) => {
                let mut mask = Mask::new(work.prepared.masked.iter().cloned());
                let reading = read_probe(&mask.pass(&answer.output, true));
                let known = reading.presence.filter(|_| answer.exit_code == 0);
                self.crew
                    .engine
                    .observe(
                        self.hold,
                        work.prepared.resource,
                        known.unwrap_or(Presence::Unknown),
                        reading.facts,
                    )
                    .await
            }
            Err(error) => {
                tracing::debug!(run = %work.run.id, server = %work.run.server_name, %error, "the server could not be looked at after a failure");
                let (engine, resource) = (&self.crew.engine, work.prepared.resource);
                engine.observe(self.hold, resource, Presence::Unknown, BTreeMap::new()).await?;
                engine.look_later(self.hold, work.run.id).await
            }
        }
    }
}
