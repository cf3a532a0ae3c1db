//! What a run needs to be driven: its plan, its probe, its secrets, the last words of a step. Only reads.

use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Engine, Outline, Refusal, drift, titles};
use crate::catalog::{Definition, Plan, PlannedStep, ProbePlan, Proof};
use crate::domain::failure::LAST_LINES_BYTES_MAX;
use crate::domain::id::ResourceId;
use crate::domain::operation::Operation;
use crate::domain::params::{Params, together};
use crate::domain::resource::Resource;
use crate::domain::run::{Run, Subject};
use crate::domain::step::StepId;
use crate::domain::verdict::Reason;
use crate::store::Db;

/// A run's plan with everything it needs. The same for every attempt, and after every restart.
pub struct Prepared {
    /// The resource.
    pub resource: ResourceId,
    /// The steps.
    pub plan: Plan,
    /// The same, for the records of their tries.
    pub outlines: Arc<[Outline]>,
    /// How to look at what is there.
    pub probe: Option<ProbePlan>,
    /// What is asked for.
    pub desired: Params,
    /// Secrets by parameter name.
    pub secrets: Vec<(String, Zeroizing<Vec<u8>>)>,
    /// Why it must not begin on its server as that is now. Only looked for before it has begun.
    pub obstacle: Option<(Reason, String)>,
    /// What its output must not show.
    pub masked: Vec<Zeroizing<Vec<u8>>>,
}

/// What a read-only run needs.
pub struct Look {
    /// The resource.
    pub resource: ResourceId,
    /// The version of its record.
    pub version: i64,
    /// The milestone that people see.
    pub title: String,
    /// Whether it tells what there is of the resource, as a probe does. An own operation that only looks tells something else.
    pub observes: bool,
    /// Whether what it writes to `SETTLED_OUTPUT` is for whoever asked: the gate of a stage.
    pub tells: bool,
    /// How to look at it.
    pub probe: ProbePlan,
    /// What should be seen, and with which parameters; `None` when nobody can say.
    pub expected: Option<(Proof, Params)>,
}

impl Engine {
    /// Prepares an exclusive run of a resource.
    pub async fn prepare_run(&self, run: &Run) -> Result<Prepared, Refusal> {
        let Subject::Resource { id, package, digest, .. } = &run.subject else {
            return Err(Refusal::Internal(format!("run {} has no resource", run.id)));
        };
        let mut reader = self.store().read().await?;
        let mut db = reader.db();
        let resource = db
            .resource(*id)
            .await?
            .ok_or_else(|| Refusal::NotFound { what: "resource", name: id.to_string() })?;
        let definition = self.definition(&mut db, package, digest).await?;
        let applied = resource.applied.as_ref().map(|a| &a.params);
        let plan = definition
            .plan(&run.operation, &resource.name, &together(&resource.desired, &run.parameters), applied)
            .map_err(|e| Refusal::Internal(e.to_string()))?;
        let outline = |step: &PlannedStep| Outline { title: step.title.clone(), kill_grace: step.kill_grace };
        let outlines = plan.steps.iter().map(outline).collect();
        let probe = definition.probe_plan(&resource.name, &resource.desired);
        let probe = probe.map(|probe| probe.of_adopted(resource.is_adopted()));
        let obstacle =
            if run.is_queued() { self.obstacle(&mut db, run, &resource, &definition).await? } else { None };
        drop(reader);
        let (mut secrets, mut masked) = (Vec::new(), Vec::new());
        if !resource.secrets.is_empty() {
            secrets = self.secrets(&id.to_string()).await?;
            masked = self.masked(*id).await?;
        }
        Ok(Prepared {
            resource: *id,
            plan,
            outlines,
            probe,
            desired: resource.desired,
            secrets,
            obstacle,
            masked,
        })
    }

    async fn obstacle(
        &self,
        db: &mut Db<'_>,
        run: &Run,
        resource: &Resource,
        definition: &Definition,
    ) -> Result<Option<(Reason, String)>, Refusal> {
        let server = db.server(resource.server).await?;
        let misfit = server.and_then(|server| definition.misfit(&run.operation, &server.facts));
        if let Some(misfit) = misfit {
            return Ok(Some((Reason::Unsupported, misfit)));
        }
        let unmet = self.unmet(db, run, resource, definition).await?;
        Ok(unmet.map(|unmet| (Reason::Requirement, unmet)))
    }

    /// Timeout of a step of a run.
    pub async fn step_timeout(&self, run: &Run, step: StepId) -> Result<Duration, Refusal> {
        let prepared = self.prepare_run(run).await?;
        let step = prepared.plan.steps.get(step.step as usize);
        Ok(step.ok_or_else(|| Refusal::Internal(format!("run {} has no such step", run.id)))?.timeout)
    }

    /// How to look at the resource of a read-only run.
    pub async fn prepare_look(&self, run: &Run) -> Result<Look, Refusal> {
        let Subject::Resource { id, package, digest, .. } = &run.subject else {
            return Err(Refusal::Internal(format!("run {} has no resource", run.id)));
        };
        let mut reader = self.store().read().await?;
        let mut db = reader.db();
        let resource = db
            .resource(*id)
            .await?
            .ok_or_else(|| Refusal::NotFound { what: "resource", name: id.to_string() })?;
        let definition = self.definition(&mut db, package, digest).await?;
        let params = resource.applied.as_ref().map_or(&resource.desired, |a| &a.params);
        if let Operation::Own(_) = run.operation {
            return own_look(run, &resource, &definition, params);
        }
        let adopted = run.operation == Operation::Adopt || resource.is_adopted();
        let probe = definition.probe_plan(&resource.name, params).map(|probe| probe.of_adopted(adopted));
        let probe = probe.ok_or_else(|| {
            Refusal::Internal(format!("the package `{package}` does not say how to probe it"))
        })?;
        let expected = match run.operation {
            Operation::Adopt => definition.shown().map(|proof| (proof, resource.desired.clone())),
            Operation::Probe => drift::expectation(&definition, &resource),
            _ => None,
        };
        let (version, title) = (resource.version, titles::OF_A_PROBE.to_owned());
        let tells = !run.parameters.is_empty();
        let probe = probe.asked_with(&run.parameters);
        Ok(Look { resource: *id, version, title, observes: true, tells, probe, expected })
    }

    /// The last lines that a step wrote, as far as they are stored.
    pub async fn last_lines(&self, step: StepId) -> Result<String, Refusal> {
        let mut reader = self.store().read().await?;
        let mut db = reader.db();
        let Some(record) = db.step(step).await? else { return Ok(String::new()) };
        let from = record.output_bytes.saturating_sub(LAST_LINES_BYTES_MAX as u64);
        let Some((pos, mut bytes)) = db.output_at(step, from).await? else { return Ok(String::new()) };
        let next = u64::try_from(pos).unwrap_or(0) + bytes.len() as u64;
        for (_, more) in db.output(step, next, i64::MAX).await? {
            bytes.extend(more);
        }
        let tail = bytes.len().saturating_sub(LAST_LINES_BYTES_MAX);
        Ok(String::from_utf8_lossy(&bytes[tail..]).trim_end().replace('\0', "\u{fffd}"))
    }
}

/// The one step of an own operation that only looks.
fn own_look(
    run: &Run,
    resource: &Resource,
    definition: &Definition,
    params: &Params,
) -> Result<Look, Refusal> {
    let applied = resource.applied.as_ref().map(|applied| &applied.params);
    let plan = definition
        .plan(&run.operation, &resource.name, &together(params, &run.parameters), applied)
        .map_err(|e| Refusal::Internal(e.to_string()))?;
    let step = plan.steps.into_iter().next();
    let PlannedStep { title, script, env, timeout, .. } =
        step.ok_or_else(|| Refusal::Internal(format!("run {} has no step", run.id)))?;
    let probe = ProbePlan { script, env, timeout };
    Ok(Look {
        resource: resource.id,
        version: resource.version,
        title,
        observes: false,
        tells: false,
        probe,
        expected: None,
    })
}
