//! Commands on lifecycles and enrollments, and what moves enrollments on.
//!
//! What a stage does is accepted by the commands that everyone uses, in the same transaction that says so of the enrollment: there is no
//! moment between the two at which a daemon could die.

mod act;
mod apply;
mod change;
mod clean;
mod enroll;
mod gate;
mod on_schedule;
mod over;
mod overdue;
mod payload;
mod remove;
mod run;
mod scripts;
mod step;
mod webhook;
mod work;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

pub use apply::{ApplyLifecycle, LIFECYCLES_MAX};
pub use change::Change;
pub use clean::Cleaning;
pub use enroll::Enroll;
pub use webhook::Call;
pub use work::{Done, Taker, Task};

use super::{Engine, Refusal};
use crate::catalog::parse_lifecycle;
use crate::domain::enrollment::{Enrollment, Next, Rules};
use crate::domain::id::{EnrollmentId, LifecycleId};
use crate::domain::lifecycle::{Flow, Lifecycle, Stage, Step, Way, stage_after, stage_now};
use crate::store::lifecycles::VersionRow;
use crate::store::{Db, Unit};

/// One version of a lifecycle, as read.
pub(super) struct Version {
    flow: Flow,
    mapping: BTreeMap<String, String>,
}

/// Versions that were read: they never change, once they are stored for good.
#[derive(Default)]
pub(super) struct Flows {
    read: Mutex<HashMap<(LifecycleId, u32), Arc<Version>>>,
    /// Versions of which that is not known: who reads them in the same transaction may see what is never committed.
    unsure: Mutex<HashSet<(LifecycleId, u32)>>,
}

impl Flows {
    fn get(&self, of: (LifecycleId, u32)) -> Option<Arc<Version>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).get(&of).map(Arc::clone)
    }

    fn keep(&self, of: (LifecycleId, u32), version: &Arc<Version>) {
        if self.unsure.lock().unwrap_or_else(PoisonError::into_inner).contains(&of) {
            return;
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= VERSIONS_MAX {
            read.clear();
        }
        read.insert(of, Arc::clone(version));
    }

    /// The version is about to be written.
    fn begins(&self, of: (LifecycleId, u32)) {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).insert(of);
    }

    /// The version is stored for good.
    fn stands(&self, of: (LifecycleId, u32)) {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner).remove(&of);
    }
}

/// Versions that are kept in memory, at most.
const VERSIONS_MAX: usize = 4_096;

/// A stage of a version.
pub(super) struct AtStage {
    version: Arc<Version>,
    name: String,
}

impl AtStage {
    fn stage(&self) -> Result<&Stage, Refusal> {
        let missing = || Refusal::Internal(format!("there is no stage `{}`", self.name));
        self.version.flow.stage(&self.name).ok_or_else(missing)
    }

    fn rules(&self) -> Result<Rules, Refusal> {
        let stage = self.stage()?;
        Ok(Rules { attempts: stage.attempts, backoff: stage.backoff })
    }
}

impl Engine {
    /// A version of a lifecycle.
    async fn version(
        &self,
        db: &mut Db<'_>,
        id: LifecycleId,
        revision: u32,
    ) -> Result<Arc<Version>, Refusal> {
        if let Some(found) = self.inner.flows.get((id, revision)) {
            return Ok(found);
        }
        let row = db.lifecycle_version(id, revision).await?;
        let missing = || Refusal::Internal(format!("version {revision} of lifecycle {id} is not kept"));
        let VersionRow { source, mapping } = row.ok_or_else(missing)?;
        let flow = parse_lifecycle(&source).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            Refusal::Internal(format!(
                "version {revision} of lifecycle {id} is not understood any more: {first}"
            ))
        })?;
        let version = Arc::new(Version { flow, mapping });
        self.inner.flows.keep((id, revision), &version);
        Ok(version)
    }

    /// The versions of a lifecycle after one of them, oldest first.
    async fn versions_after(
        &self,
        db: &mut Db<'_>,
        lifecycle: &Lifecycle,
        revision: u32,
    ) -> Result<Vec<Arc<Version>>, Refusal> {
        let mut versions = Vec::new();
        for later in revision + 1..=lifecycle.revision {
            versions.push(self.version(db, lifecycle.id, later).await?);
        }
        Ok(versions)
    }

    /// The stage of an enrollment: that of its own version when it has begun, and else of the newest, which is noted in it.
    async fn at_stage(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: &mut Enrollment,
    ) -> Result<AtStage, Refusal> {
        let db = unit.db().await?;
        if !enrollment.has_begun() && enrollment.revision < lifecycle.revision {
            let later = self.versions_after(db, lifecycle, enrollment.revision).await?;
            if let Way::Stage(stage) = stage_now(&enrollment.stage, &steps(&later)) {
                enrollment.stage = stage;
                enrollment.revision = lifecycle.revision;
            }
        }
        let version = self.version(db, lifecycle.id, enrollment.revision).await?;
        Ok(AtStage { version, name: enrollment.stage.clone() })
    }

    /// What comes after the stage of an enrollment, by the newest version.
    async fn next(
        &self,
        unit: &mut Unit<'_>,
        lifecycle: &Lifecycle,
        enrollment: &Enrollment,
    ) -> Result<Next, Refusal> {
        let db = unit.db().await?;
        let own = self.version(db, lifecycle.id, enrollment.revision).await?;
        let later = self.versions_after(db, lifecycle, enrollment.revision).await?;
        match stage_after(&enrollment.stage, &own.flow, &steps(&later)) {
            Way::Stage(stage) => Ok(Next::Stage { stage, revision: lifecycle.revision }),
            Way::Done => Ok(Next::Done),
            // An apply that would lead here is refused.
            Way::Gone(stage) => Err(Refusal::Internal(format!(
                "enrollment {} should go on at the stage `{stage}`, which is gone",
                enrollment.id
            ))),
        }
    }

    /// Finds a lifecycle by code.
    pub async fn lifecycle(&self, db: &mut Db<'_>, code: &str) -> Result<Lifecycle, Refusal> {
        let found = db.lifecycle_by_code(code).await?;
        found.ok_or_else(|| Refusal::NotFound { what: "lifecycle", name: code.to_owned() })
    }

    /// The text of the newest version of a lifecycle, and the names of its stages.
    pub async fn lifecycle_text(
        &self,
        db: &mut Db<'_>,
        lifecycle: &Lifecycle,
    ) -> Result<(String, Vec<String>), Refusal> {
        let version = self.version(db, lifecycle.id, lifecycle.revision).await?;
        let stages = version.flow.stages.iter().map(|stage| stage.name.clone()).collect();
        Ok((version.flow.source.clone(), stages))
    }

    /// Finds an enrollment by id or LIFECYCLE/TYPE/ID.
    pub async fn find_enrollment(&self, db: &mut Db<'_>, named: &str) -> Result<Enrollment, Refusal> {
        let missing = || Refusal::NotFound { what: "enrollment", name: named.to_owned() };
        if let Ok(id) = named.parse::<EnrollmentId>() {
            return db.enrollment(id).await?.ok_or_else(missing);
        }
        let (code, subject) = named
            .split_once('/')
            .filter(|(_, subject)| subject.contains('/'))
            .ok_or_else(|| Refusal::field("enrollment", "must be an id or LIFECYCLE/TYPE/ID"))?;
        let lifecycle = self.lifecycle(db, code).await?;
        let version = self.version(db, lifecycle.id, lifecycle.revision).await?;
        let subject = version.flow.subjects.take(subject);
        let (kind, id) = subject.map_err(|bad| Refusal::field("enrollment", bad.to_string()))?;
        db.enrollment_of(lifecycle.id, &kind, &id).await?.ok_or_else(missing)
    }
}

/// Versions as the domain takes them.
fn steps(versions: &[Arc<Version>]) -> Vec<Step<'_>> {
    versions.iter().map(|version| Step { flow: &version.flow, mapping: &version.mapping }).collect()
}
