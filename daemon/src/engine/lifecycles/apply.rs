//! Apply: a lifecycle as its text says, from now on. The same text again changes nothing.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use super::steps;
use crate::catalog::{FieldProblem, Problem, parse_lifecycle};
use crate::clock;
use crate::domain::id::LifecycleId;
use crate::domain::lifecycle::{Flow, Lifecycle, Step, Way, stage_after, stage_now};
use crate::domain::window::ever_open;
use crate::store::lifecycles::{Standing, VersionRow};
use crate::store::rows::LifecycleRow;
use crate::store::{Command, Unit, Wants};

/// Lifecycles of an installation, at most: each look asks for all of them.
pub const LIFECYCLES_MAX: i64 = 1_000;

/// Asks for a lifecycle to be as a text says.
#[derive(Clone)]
pub struct ApplyLifecycle {
    /// The definition, TOML.
    pub source: String,
    /// From stages that are gone to those that take their place.
    pub mapping: BTreeMap<String, String>,
    /// What webhooks are signed with, by name: those that are new or change.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// It is checked like any other, and stores nothing.
    pub dry: bool,
}

struct Apply {
    engine: Engine,
    asked: Asked,
    ask: ApplyLifecycle,
    flow: Flow,
}

impl Engine {
    /// What is wrong with the text of a lifecycle.
    pub fn check_lifecycle(&self, source: &str) -> Result<Flow, Vec<Problem>> {
        let flow = parse_lifecycle(source)?;
        if clock::zone(&flow.time_zone).is_none() {
            let message = "is not a time zone that settled's machine knows: write its IANA name, like Europe/Berlin or UTC";
            return Err(vec![Problem {
                line: 0,
                field: "time_zone".to_owned(),
                message: message.to_owned(),
            }]);
        }
        let never = flow.stages.iter().find(|stage| !ever_open(&stage.windows, &stage.blackouts));
        if let Some(stage) = never {
            let message =
                format!("leave the stage `{}` no minute of the week in which it may begin", stage.name);
            return Err(vec![Problem { line: 0, field: "blackouts".to_owned(), message }]);
        }
        Ok(flow)
    }

    /// Makes a lifecycle be as its text says. The answer names in `ids` whether it was `created`, `changed` or `unchanged`.
    pub async fn apply_lifecycle(&self, asked: Asked, ask: ApplyLifecycle) -> Result<Answer, Refusal> {
        if !ask.dry {
            asked.check()?;
        }
        let problem = |p: Problem| FieldProblem { field: "source".to_owned(), message: format!("line {p}") };
        let flow = self
            .check_lifecycle(&ask.source)
            .map_err(|problems| Refusal::Invalid(problems.into_iter().map(problem).collect()))?;
        let dry = ask.dry;
        let answer = self.writer().commit(Apply { engine: self.clone(), asked, ask, flow }).await?;
        if let Some(row) = answer.lifecycle.as_ref().filter(|_| !dry) {
            let lifecycle = Lifecycle::try_from((**row).clone())?;
            self.inner.flows.stands((lifecycle.id, lifecycle.revision));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Command for Apply {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if !self.ask.dry
            && let Some(answer) = self.asked.recall(unit).await?
        {
            return Ok(answer);
        }
        match unit.db().await?.lifecycle_by_code(&self.flow.code).await? {
            None => self.create(unit).await,
            Some(lifecycle) => self.change(unit, lifecycle).await,
        }
    }
}

impl Apply {
    async fn create(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if unit.db().await?.lifecycle_count().await? >= LIFECYCLES_MAX {
            let message =
                format!("there are {LIFECYCLES_MAX} lifecycles already: remove one that is not needed");
            return Err(Refusal::Full(message));
        }
        self.check_mapping(None)?;
        let (flow, now) = (&self.flow, unit.now());
        let lifecycle = Lifecycle {
            id: LifecycleId(self.engine.clock().ulid()),
            code: flow.code.clone(),
            name: flow.name.clone(),
            active: flow.active,
            starts_at: flow.starts_at,
            ends_at: flow.ends_at,
            activation: flow.activation,
            revision: 1,
            run_at: None,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        if !self.ask.dry {
            unit.insert_lifecycle(&lifecycle).await?;
        }
        self.keep_secrets(unit, &lifecycle).await?;
        self.store(unit, &lifecycle, "created").await
    }

    async fn change(&self, unit: &mut Unit<'_>, mut lifecycle: Lifecycle) -> Result<Answer, Refusal> {
        let newest = self.engine.version(unit.db().await?, lifecycle.id, lifecycle.revision).await?;
        if newest.flow.source == self.flow.source {
            self.keep_secrets(unit, &lifecycle).await?;
            return self.answer(unit, &lifecycle, "unchanged").await;
        }
        self.check_mapping(Some(&newest.flow))?;
        self.check_standing(unit, &lifecycle).await?;
        let flow = &self.flow;
        lifecycle.name.clone_from(&flow.name);
        lifecycle.active = flow.active;
        (lifecycle.starts_at, lifecycle.ends_at) = (flow.starts_at, flow.ends_at);
        lifecycle.activation = flow.activation;
        lifecycle.revision += 1;
        if !self.ask.dry {
            unit.update_lifecycle(&mut lifecycle).await?;
        }
        self.keep_secrets(unit, &lifecycle).await?;
        self.store(unit, &lifecycle, "changed").await
    }

    async fn keep_secrets(&self, unit: &mut Unit<'_>, lifecycle: &Lifecycle) -> Result<(), Refusal> {
        let ApplyLifecycle { secrets, dry, .. } = &self.ask;
        self.engine.keep_webhook_secrets(unit, lifecycle.id, &self.flow, secrets, *dry).await
    }

    async fn store(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        word: &'static str,
    ) -> Result<Answer, Refusal> {
        if !self.ask.dry {
            let version = VersionRow { source: self.flow.source.clone(), mapping: self.ask.mapping.clone() };
            let (id, revision) = (lifecycle.id, lifecycle.revision);
            self.engine.inner.flows.begins((id, revision));
            unit.insert_lifecycle_version(id, revision, &version, &self.asked.principal).await?;
        }
        self.answer(unit, lifecycle, word).await
    }

    async fn answer(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        word: &'static str,
    ) -> Result<Answer, Refusal> {
        let answer = Answer {
            lifecycle: Some(Box::new(LifecycleRow::from(lifecycle))),
            ids: vec![word.to_owned()],
            ..Answer::default()
        };
        if !self.ask.dry {
            let object = lifecycle.code.clone();
            let detail = format!("{word}; version {}", lifecycle.revision);
            self.asked.keep_with(unit, &answer, object, detail).await?;
        }
        Ok(answer)
    }

    /// A mapping leads from a stage that is gone to one that is there.
    fn check_mapping(&self, newest: Option<&Flow>) -> Result<(), Refusal> {
        for (from, to) in &self.ask.mapping {
            let wrong = |why: &str| Refusal::field("mapping", format!("`{from}={to}`: {why}"));
            if self.flow.stage(from).is_some() {
                return Err(wrong("the first is still a stage, so nobody has to leave it"));
            }
            if self.flow.stage(to).is_none() {
                return Err(wrong("the second is no stage of the new version"));
            }
            if newest.is_none() {
                return Err(wrong("the lifecycle is new, so nobody waits anywhere"));
            }
        }
        Ok(())
    }

    /// Refuses a version in which somebody would have nowhere to go, and says how many.
    async fn check_standing(&self, unit: &mut Unit<'_>, lifecycle: &Lifecycle) -> Result<(), Refusal> {
        let mut lost: BTreeMap<String, i64> = BTreeMap::new();
        let db = unit.db().await?;
        for standing in db.standing(lifecycle.id).await? {
            let Standing { revision, stage, begun, waits, count } = standing;
            let revision = u32::try_from(revision).unwrap_or(lifecycle.revision);
            let own = self.engine.version(db, lifecycle.id, revision).await?;
            let later = self.engine.versions_after(db, lifecycle, revision).await?;
            let mut steps = steps(&later);
            steps.push(Step { flow: &self.flow, mapping: &self.ask.mapping });
            let after = begun.then(|| stage_after(&stage, &own.flow, &steps));
            let now = (!begun || waits).then(|| stage_now(&stage, &steps));
            let gone = |way| if let Way::Gone(stage) = way { Some(stage) } else { None };
            if let Some(gone) = [now, after].into_iter().flatten().find_map(gone) {
                *lost.entry(gone).or_default() += count;
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        let each: Vec<_> = lost.iter().map(|(stage, count)| format!("{count} at `{stage}`")).collect();
        let first = lost.keys().next().cloned().unwrap_or_default();
        Err(Refusal::not_now(format!(
            "enrollments wait for stages that the new version does not have: {}; say where they go on (--map {first}=STAGE), or keep \
             the stages until nobody waits there",
            each.join(", ")
        )))
    }
}
