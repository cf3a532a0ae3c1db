//! What stands and matches one filter: page by page, each object with the number of its last change.
//!
//! All servers, resources and schedules, open runs, and enrollments that are not completed. Built-in schedules only once somebody has
//! changed them. Completed runs only for whoever asks for one resource, and steps only for whoever asks
//! for one run: history has no bound, what stands has.
//!
//! A place is passed only when its object is handed out, so a page that was read can be dropped and read again.

use std::collections::BTreeMap;

use super::places::may_tell;
use super::wanted::{Filter, Wanted, server_of};
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::hub::Shelf;
use crate::hub::shelf::Page;
use crate::store::queries::{ResourceFilter, RunFilter};
use crate::store::rows::{Kind, Object, RunRow};
use crate::store::{Db, Store, StoreError};

/// Objects read at once.
const OBJECTS: i64 = 32;

/// What an object takes beside what people and scripts gave it, about.
const OBJECT_BYTES: usize = 2_048;

/// Which objects are handed out, and after which of them.
enum Part {
    Start,
    Servers { after: String },
    Resources { after: String },
    Schedules { after: String },
    OpenRuns { after: (i64, String) },
    OpenEnrollments { after: String },
    RunsOfResource { before: String },
    Run { passed: bool },
    Steps { no: i64 },
    Done,
}

/// A look at all that stands.
pub(super) struct Scan {
    filter: Filter,
    part: Part,
    shelf: Shelf,
    /// What was read and not handed out yet.
    page: Option<Page<Object>>,
    /// What was read is the rest of this part.
    rest: bool,
}

impl Scan {
    pub(super) fn new(filter: Filter, shelf: &Shelf) -> Self {
        Self { filter, part: Part::Start, shelf: shelf.clone(), page: None, rest: true }
    }

    /// The next object that the filter holds; `None` after the last.
    pub(super) async fn next(
        &mut self,
        store: &Store,
        wanted: &Wanted,
    ) -> Result<Option<Object>, StoreError> {
        loop {
            if self.page.as_ref().is_some_and(Page::was_dropped) {
                (self.page, self.rest) = (None, false);
            }
            if let Some(object) = self.page.as_ref().and_then(Page::take) {
                self.pass(&object);
                if self.filter.holds(&object, &server_of(&object)) {
                    return Ok(Some(object));
                }
            } else if matches!(self.part, Part::Done) {
                return Ok(None);
            } else if std::mem::take(&mut self.rest) {
                self.part = self.next_part();
            } else {
                let mut reader = store.read().await?;
                let objects = self.read(&mut reader.db()).await?;
                // Asked after they were read: what was read while its server may have been another one's is not told.
                if !may_tell(&mut reader.db(), wanted, self.filter.server.as_deref()).await? {
                    self.part = Part::Done;
                    continue;
                }
                self.rest = i64::try_from(objects.len()).is_ok_and(|read| read < OBJECTS);
                let bytes = objects.iter().map(weight).sum();
                self.page = Some(self.shelf.keep(objects.into(), bytes));
            }
        }
    }

    async fn read(&self, db: &mut Db<'_>) -> Result<Vec<Object>, StoreError> {
        let filter = &self.filter;
        let server = filter.server.as_deref();
        match &self.part {
            Part::Servers { after } => match parsed::<ServerId>(server) {
                Some(_) if !after.is_empty() => Ok(Vec::new()),
                Some(id) => Ok(db.server(id).await?.into_iter().map(Object::Server).collect()),
                None => Ok(db.servers(after, OBJECTS).await?.into_iter().map(Object::Server).collect()),
            },
            Part::Resources { after } => self.resources(db, after).await,
            Part::Schedules { after } => {
                Ok(db.changed_schedules(after, OBJECTS).await?.into_iter().map(Object::Schedule).collect())
            }
            Part::OpenRuns { after: (settles_by, id) } => {
                runs(db.open_runs_after(server, (*settles_by, id), OBJECTS).await?)
            }
            Part::OpenEnrollments { after } => {
                let open = db.open_enrollments(server, after, OBJECTS).await?;
                Ok(open.into_iter().map(Object::Enrollment).collect())
            }
            Part::RunsOfResource { before } => {
                let resource = filter.resource.clone();
                let of = RunFilter { server: parsed(server), resource, ..RunFilter::default() };
                runs(db.runs(&of, before, OBJECTS).await?)
            }
            Part::Start | Part::Run { passed: true } | Part::Done => Ok(Vec::new()),
            Part::Run { passed: false } => match parsed::<RunId>(filter.run.as_deref()) {
                Some(id) => runs(db.run_row(id).await?.into_iter().collect()),
                None => Ok(Vec::new()),
            },
            Part::Steps { no } => match parsed::<RunId>(filter.run.as_deref()) {
                Some(id) => {
                    Ok(db.steps_from(id, *no, OBJECTS).await?.into_iter().map(Object::Step).collect())
                }
                None => Ok(Vec::new()),
            },
        }
    }

    async fn resources(&self, db: &mut Db<'_>, after: &str) -> Result<Vec<Object>, StoreError> {
        let Filter { server, resource, package, .. } = &self.filter;
        if let Some(id) = parsed::<ResourceId>(resource.as_deref()) {
            let found = if after.is_empty() { db.resource(id).await? } else { None };
            return Ok(found.into_iter().map(Object::Resource).collect());
        }
        let (server, package) = (parsed(server.as_deref()), package.clone());
        let filter = ResourceFilter { server, package, ..ResourceFilter::default() };
        let found = db.resources(&filter, after, OBJECTS).await?;
        Ok(found.into_iter().map(Object::Resource).collect())
    }

    /// This object was handed out.
    fn pass(&mut self, object: &Object) {
        match (&mut self.part, object) {
            (Part::Servers { after }, Object::Server(server)) => after.clone_from(&server.name),
            (Part::Schedules { after }, Object::Schedule(schedule)) => after.clone_from(&schedule.name),
            (Part::Resources { after } | Part::OpenEnrollments { after }, object) => *after = object.id(),
            (Part::OpenRuns { after }, Object::Run(_, row)) => {
                *after = (row.settles_by.unwrap_or(i64::MAX), row.id.clone());
            }
            (Part::RunsOfResource { before }, object) => *before = object.id(),
            (Part::Run { passed }, _) => *passed = true,
            (Part::Steps { no }, Object::Step(step)) => *no = step.no + 1,
            _ => {}
        }
    }

    /// The part after this one, of those that can hold something for the filter.
    fn next_part(&self) -> Part {
        let filter = &self.filter;
        let enrollments = || {
            if filter.wants(Kind::Enrollment) && filter.package.is_none() {
                Part::OpenEnrollments { after: String::new() }
            } else {
                Part::Done
            }
        };
        let runs = || match (filter.wants(Kind::Run), &filter.resource) {
            (false, _) => enrollments(),
            (true, Some(_)) => Part::RunsOfResource { before: String::new() },
            (true, None) => Part::OpenRuns { after: (i64::MIN, String::new()) },
        };
        let schedules = || {
            let bound = filter.server.is_some() || filter.package.is_some() || filter.resource.is_some();
            if bound || !filter.wants(Kind::Schedule) {
                runs()
            } else {
                Part::Schedules { after: String::new() }
            }
        };
        let servers = filter.wants(Kind::Server) && filter.resource.is_none() && filter.package.is_none();
        match self.part {
            Part::Start if filter.run.is_some() && filter.wants(Kind::Run) => Part::Run { passed: false },
            Part::Start | Part::Run { .. } if filter.run.is_some() && filter.wants(Kind::Step) => {
                Part::Steps { no: 0 }
            }
            Part::Start if filter.run.is_some() => Part::Done,
            Part::Start if servers => Part::Servers { after: String::new() },
            Part::Start | Part::Servers { .. } if filter.wants(Kind::Resource) => {
                Part::Resources { after: String::new() }
            }
            Part::Start | Part::Servers { .. } | Part::Resources { .. } => schedules(),
            Part::Schedules { .. } => runs(),
            Part::OpenRuns { .. } | Part::RunsOfResource { .. } => enrollments(),
            Part::Run { .. } | Part::Steps { .. } | Part::OpenEnrollments { .. } | Part::Done => Part::Done,
        }
    }
}

/// About how many bytes an object takes.
fn weight(object: &Object) -> usize {
    let texts =
        |texts: &BTreeMap<String, String>| texts.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
    OBJECT_BYTES
        + match object {
            Object::Server(s) => texts(&s.labels),
            Object::Resource(r) => {
                let former = r.former.as_ref().map_or(0, |former| texts(&former.desired));
                let applied = r.applied.as_ref().map_or(0, |applied| texts(&applied.params));
                let observed = r.observed.as_ref().map_or(0, |observed| texts(&observed.facts));
                texts(&r.desired) + texts(&r.outputs) + former + applied + observed
            }
            Object::Run(_, row) => row.parameters.len() + row.outputs.len(),
            Object::Enrollment(e) => e.payload.len(),
            Object::Step(_) | Object::Schedule(_) => 0,
        }
}

fn runs(rows: Vec<RunRow>) -> Result<Vec<Object>, StoreError> {
    rows.into_iter().map(|row| Ok(Object::Run(row.clone().try_into()?, row))).collect()
}

/// Filters hold ids only; the API has checked their form.
fn parsed<T: std::str::FromStr>(id: Option<&str>) -> Option<T> {
    id.and_then(|id| id.parse().ok())
}
