//! A snapshot: every object that matches as it stands, page by page, each with the number of its last change.
//!
//! All servers, resources and schedules, open runs, and enrollments that are not completed. Built-in schedules only once somebody has
//! changed them. Completed runs only for whoever asks for one resource, and steps only for whoever asks
//! for one run: history has no bound, what stands has.

use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::store::queries::{ResourceFilter, RunFilter, TransitionFilter};
use crate::store::rows::{Kind, Object, RunRow};
use crate::store::{Db, StoreError};

/// Which part comes next.
enum Part {
    Servers { after: String },
    Resources { after: String },
    Schedules { after: String },
    OpenRuns { after: (i64, String) },
    OpenEnrollments { after: String },
    RunsOfResource { before: String },
    Run,
    Steps { no: i64 },
    Done,
}

pub(super) struct Snapshot {
    filter: TransitionFilter,
    part: Part,
}

impl Snapshot {
    pub(super) fn new(filter: TransitionFilter) -> Self {
        Self { filter, part: Part::Servers { after: String::new() } }
    }

    /// The next page; `None` after the last. A page may be empty.
    pub(super) async fn next(
        &mut self,
        db: &mut Db<'_>,
        limit: i64,
    ) -> Result<Option<Vec<Object>>, StoreError> {
        let part = std::mem::replace(&mut self.part, Part::Done);
        let (objects, next) = match part {
            Part::Servers { after } => self.servers(db, after, limit).await?,
            Part::Resources { after } => self.resources(db, after, limit).await?,
            Part::Schedules { after } => self.schedules(db, after, limit).await?,
            Part::OpenRuns { after } => self.open_runs(db, after, limit).await?,
            Part::OpenEnrollments { after } => self.open_enrollments(db, after, limit).await?,
            Part::RunsOfResource { before } => self.runs_of_resource(db, before, limit).await?,
            Part::Run => self.run(db).await?,
            Part::Steps { no } => self.steps(db, no, limit).await?,
            Part::Done => return Ok(None),
        };
        self.part = next;
        Ok(Some(objects))
    }

    async fn servers(
        &self,
        db: &mut Db<'_>,
        after: String,
        limit: i64,
    ) -> Result<(Vec<Object>, Part), StoreError> {
        let after_servers = Part::Resources { after: String::new() };
        if !self.wants(Kind::Server) || self.filter.resource.is_some() || self.filter.run.is_some() {
            return Ok((Vec::new(), after_servers));
        }
        if let Some(id) = parsed::<ServerId>(self.filter.server.as_ref()) {
            let found = db.server(id).await?.into_iter().map(Object::Server).collect();
            return Ok((found, after_servers));
        }
        let rows = db.servers(&after, limit).await?;
        let next = match rows.last() {
            Some(last) if is_full(rows.len(), limit) => Part::Servers { after: last.name.clone() },
            _ => after_servers,
        };
        Ok((rows.into_iter().map(Object::Server).collect(), next))
    }

    async fn resources(
        &self,
        db: &mut Db<'_>,
        after: String,
        limit: i64,
    ) -> Result<(Vec<Object>, Part), StoreError> {
        let after_resources = match (&self.filter.run, &self.filter.resource) {
            (Some(_), _) => Part::Run,
            (None, Some(_)) => Part::RunsOfResource { before: String::new() },
            (None, None) => Part::Schedules { after: String::new() },
        };
        if !self.wants(Kind::Resource) || self.filter.run.is_some() {
            return Ok((Vec::new(), after_resources));
        }
        if let Some(id) = parsed::<ResourceId>(self.filter.resource.as_ref()) {
            let found = db.resource(id).await?.filter(|r| self.is_server(&r.server.to_string()));
            return Ok((found.into_iter().map(Object::Resource).collect(), after_resources));
        }
        let filter =
            ResourceFilter { server: parsed(self.filter.server.as_ref()), ..ResourceFilter::default() };
        let rows = db.resources(&filter, &after, limit).await?;
        let next = match rows.last() {
            Some(last) if is_full(rows.len(), limit) => Part::Resources { after: last.id.to_string() },
            _ => after_resources,
        };
        Ok((rows.into_iter().map(Object::Resource).collect(), next))
    }

    /// A schedule belongs to no server.
    async fn schedules(
        &self,
        db: &mut Db<'_>,
        after: String,
        limit: i64,
    ) -> Result<(Vec<Object>, Part), StoreError> {
        let after_schedules = Part::OpenRuns { after: (i64::MIN, String::new()) };
        if !self.wants(Kind::Schedule) || self.filter.server.is_some() {
            return Ok((Vec::new(), after_schedules));
        }
        let rows = db.changed_schedules(&after, limit).await?;
        let next = match rows.last() {
            Some(last) if is_full(rows.len(), limit) => Part::Schedules { after: last.name.clone() },
            _ => after_schedules,
        };
        Ok((rows.into_iter().map(Object::Schedule).collect(), next))
    }

    async fn open_runs(
        &self,
        db: &mut Db<'_>,
        (settles_by, id): (i64, String),
        limit: i64,
    ) -> Result<(Vec<Object>, Part), StoreError> {
        if !self.wants(Kind::Run) {
            return Ok((Vec::new(), Part::OpenEnrollments { after: String::new() }));
        }
        let rows = db.open_runs_after(self.filter.server.as_deref(), (settles_by, &id), limit).await?;
        let next = match rows.last() {
            Some(RunRow { settles_by: Some(settles_by), id, .. }) if is_full(rows.len(), limit) => {
                Part::OpenRuns { after: (*settles_by, id.clone()) }
            }
            _ => Part::OpenEnrollments { after: String::new() },
        };
        Ok((runs(rows)?, next))
    }

    async fn open_enrollments(
        &self,
        db: &mut Db<'_>,
        after: String,
        limit: i64,
    ) -> Result<(Vec<Object>, Part), StoreError> {
        if !self.wants(Kind::Enrollment) {
            return Ok((Vec::new(), Part::Done));
        }
        let enrollments = db.open_enrollments(&after, limit).await?;
        let next = match enrollments.last() {
            Some(last) if is_full(enrollments.len(), limit) => {
                Part::OpenEnrollments { after: last.id.to_string() }
            }
            _ => Part::Done,
        };
        let text = |id: Option<String>| id.unwrap_or_default();
        let wanted = enrollments.into_iter().filter(|e| {
            let resource = e.subject.resource.map(|id| id.to_string());
            self.is_server(&text(e.subject.server.map(|id| id.to_string())))
                && (self.filter.resource.is_none() || resource == self.filter.resource)
        });
        Ok((wanted.map(Object::Enrollment).collect(), next))
    }

    async fn runs_of_resource(
        &self,
        db: &mut Db<'_>,
        before: String,
        limit: i64,
    ) -> Result<(Vec<Object>, Part), StoreError> {
        if !self.wants(Kind::Run) {
            return Ok((Vec::new(), Part::OpenEnrollments { after: String::new() }));
        }
        let server = parsed(self.filter.server.as_ref());
        let filter = RunFilter { server, resource: self.filter.resource.clone(), ..RunFilter::default() };
        let rows = db.runs(&filter, &before, limit).await?;
        let next = match rows.last() {
            Some(last) if is_full(rows.len(), limit) => Part::RunsOfResource { before: last.id.clone() },
            _ => Part::OpenEnrollments { after: String::new() },
        };
        Ok((runs(rows)?, next))
    }

    async fn run(&self, db: &mut Db<'_>) -> Result<(Vec<Object>, Part), StoreError> {
        let Some(id) = parsed::<RunId>(self.filter.run.as_ref()) else { return Ok((Vec::new(), Part::Done)) };
        let of_resource =
            |row: &RunRow| self.filter.resource.is_none() || row.resource_id == self.filter.resource;
        let found = db.run_row(id).await?.filter(|row| self.is_server(&row.server_id) && of_resource(row));
        let next = if found.is_some() && self.wants(Kind::Step) { Part::Steps { no: 0 } } else { Part::Done };
        let found = found.filter(|_| self.wants(Kind::Run));
        Ok((runs(found.into_iter().collect())?, next))
    }

    async fn steps(&self, db: &mut Db<'_>, no: i64, limit: i64) -> Result<(Vec<Object>, Part), StoreError> {
        let Some(id) = parsed::<RunId>(self.filter.run.as_ref()) else { return Ok((Vec::new(), Part::Done)) };
        let steps = db.steps_from(id, no, limit).await?;
        let next = match steps.last() {
            Some(last) if is_full(steps.len(), limit) => Part::Steps { no: last.no + 1 },
            _ => Part::Done,
        };
        Ok((steps.into_iter().map(Object::Step).collect(), next))
    }

    fn wants(&self, kind: Kind) -> bool {
        self.filter.kinds.is_empty() || self.filter.kinds.iter().any(|k| k == kind.as_str())
    }

    fn is_server(&self, id: &str) -> bool {
        self.filter.server.as_ref().is_none_or(|server| server == id)
    }
}

fn runs(rows: Vec<RunRow>) -> Result<Vec<Object>, StoreError> {
    rows.into_iter().map(|row| Ok(Object::Run(row.clone().try_into()?, row))).collect()
}

fn is_full(rows: usize, limit: i64) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows >= limit)
}

/// Filters hold ids only; the API has checked their form.
fn parsed<T: std::str::FromStr>(id: Option<&String>) -> Option<T> {
    id.and_then(|id| id.parse().ok())
}
