//! The row of a transition: what changed, how, and the full new object.

use std::collections::BTreeMap;

use super::{
    EnrollmentRow, ResourceRow, RunRow, ScheduleRow, ServerRow, StepRecord, StepRow, from_json, to_json, word,
};
use crate::domain::enrollment::Enrollment;
use crate::domain::resource::Resource;
use crate::domain::run::Run;
use crate::domain::schedule::Schedule;
use crate::domain::server::Server;
use crate::domain::text_enum::text_enum;
use crate::store::StoreError;

text_enum! {
    /// Kinds of objects that change.
    Kind {
        /// A server.
        Server = "server",
        /// A resource.
        Resource = "resource",
        /// A run.
        Run = "run",
        /// A step of a run.
        Step = "step",
        /// A schedule.
        Schedule = "schedule",
        /// An enrollment.
        Enrollment = "enrollment",
    }
}

text_enum! {
    /// What happened to an object.
    Change {
        /// It was made.
        Created = "created",
        /// It changed.
        Updated = "updated",
        /// It is gone.
        Gone = "gone",
    }
}

/// A transition as stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct TransitionRow {
    pub seq: i64,
    pub at: i64,
    pub kind: String,
    pub change: String,
    pub object_id: String,
    pub server_id: String,
    pub resource_id: Option<String>,
    pub run_id: Option<String>,
    pub old_labels: Option<String>,
    pub object: String,
}

/// An object that changes, as it is after the change.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "short-lived, moved once")]
pub enum Object {
    /// A server.
    Server(Server),
    /// A resource.
    Resource(Resource),
    /// A run, as its row: with the deadline by which it settles.
    Run(Run, RunRow),
    /// A step.
    Step(StepRecord),
    /// A schedule.
    Schedule(Schedule),
    /// An enrollment.
    Enrollment(Enrollment),
}

impl Object {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Server(_) => Kind::Server,
            Self::Resource(_) => Kind::Resource,
            Self::Run(..) => Kind::Run,
            Self::Step(_) => Kind::Step,
            Self::Schedule(_) => Kind::Schedule,
            Self::Enrollment(_) => Kind::Enrollment,
        }
    }

    /// Its id.
    pub fn id(&self) -> String {
        match self {
            Self::Server(s) => s.id.to_string(),
            Self::Resource(r) => r.id.to_string(),
            Self::Run(_, row) => row.id.clone(),
            Self::Step(s) => s.id.to_string(),
            Self::Schedule(s) => s.id.to_string(),
            Self::Enrollment(e) => e.id.to_string(),
        }
    }

    /// Number of its last change.
    pub const fn seq(&self) -> i64 {
        match self {
            Self::Server(s) => s.seq,
            Self::Resource(r) => r.seq,
            Self::Run(_, row) => row.seq,
            Self::Step(s) => s.seq,
            Self::Schedule(s) => s.seq,
            Self::Enrollment(e) => e.seq,
        }
    }
}

impl TransitionRow {
    /// How the object changed.
    pub fn change(&self) -> Result<Change, StoreError> {
        word("change", &self.change, Change::parse)
    }

    /// The object.
    pub fn object(&self) -> Result<Object, StoreError> {
        Ok(match word("kind", &self.kind, Kind::parse)? {
            Kind::Server => Object::Server(from_json::<ServerRow>("server", &self.object)?.try_into()?),
            Kind::Resource => {
                Object::Resource(from_json::<ResourceRow>("resource", &self.object)?.try_into()?)
            }
            Kind::Run => {
                let row: RunRow = from_json("run", &self.object)?;
                Object::Run(row.clone().try_into()?, row)
            }
            Kind::Step => Object::Step(from_json::<StepRow>("step", &self.object)?.try_into()?),
            Kind::Schedule => {
                Object::Schedule(from_json::<ScheduleRow>("schedule", &self.object)?.try_into()?)
            }
            Kind::Enrollment => {
                Object::Enrollment(from_json::<EnrollmentRow>("enrollment", &self.object)?.try_into()?)
            }
        })
    }

    /// The package of the object, which only resources and runs have.
    pub fn package(&self) -> Result<Option<String>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Packaged {
            #[serde(default)]
            package: Option<String>,
        }
        from_json::<Packaged>("package", &self.object).map(|packaged| packaged.package)
    }

    /// The labels that a server had before, if they changed.
    pub fn old_labels(&self) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        self.old_labels.as_deref().map(|text| from_json("labels", text)).transpose()
    }

    pub(in crate::store) fn of_server(row: &ServerRow, change: Change) -> Self {
        Self::new(Kind::Server, change, &row.id, &row.id, None, None, to_json(row), row.seq)
    }

    pub(in crate::store) fn of_resource(row: &ResourceRow, change: Change) -> Self {
        let id = Some(row.id.clone());
        Self::new(Kind::Resource, change, &row.id, &row.server_id, id, None, to_json(row), row.seq)
    }

    pub(in crate::store) fn of_run(row: &RunRow, change: Change) -> Self {
        let (resource, run) = (row.resource_id.clone(), Some(row.id.clone()));
        Self::new(Kind::Run, change, &row.id, &row.server_id, resource, run, to_json(row), row.seq)
    }

    pub(in crate::store) fn of_step(row: &StepRow, change: Change) -> Self {
        let (resource, run) = (row.resource_id.clone(), Some(row.run_id.clone()));
        Self::new(Kind::Step, change, &row.id, &row.server_id, resource, run, to_json(row), row.seq)
    }

    /// A schedule belongs to no server.
    pub(in crate::store) fn of_schedule(row: &ScheduleRow, change: Change) -> Self {
        Self::new(Kind::Schedule, change, &row.id, "", None, None, to_json(row), row.seq)
    }

    pub(in crate::store) fn of_enrollment(row: &EnrollmentRow, change: Change) -> Self {
        // An outside subject is on no server.
        let server = row.server_id.as_deref().unwrap_or_default();
        let resource = row.resource_id.clone();
        Self::new(Kind::Enrollment, change, &row.id, server, resource, None, to_json(row), row.seq)
    }

    #[expect(clippy::too_many_arguments, reason = "private; one argument per column")]
    fn new(
        kind: Kind,
        change: Change,
        object_id: &str,
        server_id: &str,
        resource_id: Option<String>,
        run_id: Option<String>,
        object: String,
        seq: i64,
    ) -> Self {
        Self {
            seq,
            at: 0,
            kind: kind.to_string(),
            change: change.to_string(),
            object_id: object_id.to_owned(),
            server_id: server_id.to_owned(),
            resource_id,
            run_id,
            old_labels: None,
            object,
        }
    }
}
