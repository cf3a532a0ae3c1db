//! What a unit knows: objects as its commands see them, read once, and as they were written since.
//!
//! Everything that writes has locked the counter first, so nobody else changes what was read here before this unit ends.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::wants::{RequestKey, Wants};
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::resource::Resource;
use crate::domain::run::{Run, RunState, Subject};
use crate::domain::server::Server;
use crate::domain::step::StepId;
use crate::store::lanes::LaneRow;
use crate::store::queries::RequestRow;
use crate::store::rows::{ResourceRow, RunRow, ServerRow, StepRecord, StepRow};
use crate::store::sets::Sets;
use crate::store::{Db, StoreError};

/// A resource's place: server, package, name.
pub(super) type Path = (ServerId, String, String);

/// Objects by key; `None`: it is known that there is none.
#[derive(Default)]
pub(super) struct Known {
    pub(super) requests: HashMap<RequestKey, Option<RequestRow>>,
    pub(super) servers: HashMap<ServerId, Option<Server>>,
    pub(super) server_names: HashMap<String, Option<ServerId>>,
    pub(super) lanes: HashMap<ServerId, Option<LaneRow>>,
    /// How many runs are queued.
    pub(super) queued: HashMap<ServerId, i64>,
    pub(super) resources: HashMap<ResourceId, Option<Resource>>,
    pub(super) paths: HashMap<Path, Option<ResourceId>>,
    pub(super) runs: HashMap<RunId, Option<Run>>,
    /// Number of the last try.
    pub(super) tries: HashMap<RunId, i64>,
    pub(super) steps: HashMap<StepId, Option<StepRecord>>,
}

macro_rules! statements {
    ($($name:ident = $head:expr, $key:expr, $tail:expr;)+) => {
        $(static $name: LazyLock<Sets> = LazyLock::new(|| Sets::select($head, &$key, $tail));)+
    };
}

statements! {
    REQUESTS = "SELECT principal, method, request_id, digest, answer FROM request WHERE", ["principal", "method", "request_id"], "";
    SERVERS = "SELECT * FROM server WHERE", ["id"], "";
    SERVERS_BY_NAME = "SELECT * FROM server WHERE", ["name"], "";
    LANES = "SELECT server_id, owner, epoch, takeover FROM lane WHERE", ["server_id"], "";
    QUEUED = "SELECT server_id, COUNT(*) FROM run WHERE state = 'queued' AND", ["server_id"], "GROUP BY server_id";
    RESOURCES = "SELECT * FROM resource WHERE", ["id"], "";
    RESOURCES_BY_PATH = "SELECT * FROM resource WHERE", ["server_id", "package", "name"], "";
    RUNS = "SELECT * FROM run WHERE", ["id"], "";
    TRIES = "SELECT run_id, MAX(no) FROM step WHERE", ["run_id"], "GROUP BY run_id";
    STEPS = "SELECT * FROM step WHERE", ["id"], "";
}

impl Known {
    /// Loads what is wanted.
    pub(super) async fn load(&mut self, db: &mut Db<'_>, wants: Wants) -> Result<(), StoreError> {
        self.load_requests(db, wants.requests.into_iter().collect()).await?;
        self.load_servers(db, &wants.servers.into_iter().collect::<Vec<_>>()).await?;
        self.load_servers_by_name(db, wants.server_names.into_iter().collect()).await?;
        self.load_lanes(db, &wants.lanes.into_iter().collect::<Vec<_>>()).await?;

        let runs: Vec<_> = wants.runs.into_iter().collect();
        self.load_runs(db, &runs).await?;
        self.load_tries(db, &runs).await?;
        let worked_on = runs.iter().filter_map(|id| match &self.runs.get(id)?.as_ref()?.subject {
            Subject::Resource { id, .. } => Some(*id),
            Subject::Server => None,
        });
        let resources: Vec<_> = worked_on.chain(wants.resources).collect();
        self.load_resources(db, &resources).await?;
        let paths = wants.paths.into_iter();
        let paths =
            paths.filter_map(|(server, package, name)| Some((self.server_id(&server)?, package, name)));
        self.load_paths(db, paths.collect()).await?;

        let queues: Vec<_> = wants.queues.iter().filter_map(|server| self.server_id(server)).collect();
        self.load_queues(db, &queues).await?;
        self.load_steps(db, &wants.steps.into_iter().collect::<Vec<_>>()).await
    }

    /// The server that a request names, if that is known.
    fn server_id(&self, named: &str) -> Option<ServerId> {
        match named.parse::<ServerId>() {
            Ok(id) => self.servers.get(&id)?.as_ref().map(|server| server.id),
            Err(_) => *self.server_names.get(named)?,
        }
    }

    async fn load_requests(&mut self, db: &mut Db<'_>, keys: Vec<RequestKey>) -> Result<(), StoreError> {
        let found: Vec<(String, String, String, String, String)> =
            fetch_all!(db, REQUESTS, &keys, (principal, method, id) => principal, method, id);
        self.requests.extend(keys.into_iter().map(|key| (key, None)));
        self.requests.extend(found.into_iter().map(|(principal, method, id, digest, answer)| {
            ((principal, method, id), Some(RequestRow { digest, answer }))
        }));
        Ok(())
    }

    async fn load_servers(&mut self, db: &mut Db<'_>, ids: &[ServerId]) -> Result<(), StoreError> {
        let found: Vec<ServerRow> = fetch_all!(db, SERVERS, ids, id => id.to_string());
        self.servers.extend(ids.iter().map(|id| (*id, None)));
        found
            .into_iter()
            .try_for_each(|row| Server::try_from(row).map(|server| drop(self.put_server(server))))
    }

    async fn load_servers_by_name(&mut self, db: &mut Db<'_>, names: Vec<String>) -> Result<(), StoreError> {
        let found: Vec<ServerRow> = fetch_all!(db, SERVERS_BY_NAME, &names, name => name);
        self.server_names.extend(names.into_iter().map(|name| (name, None)));
        found
            .into_iter()
            .try_for_each(|row| Server::try_from(row).map(|server| drop(self.put_server(server))))
    }

    async fn load_lanes(&mut self, db: &mut Db<'_>, servers: &[ServerId]) -> Result<(), StoreError> {
        let found: Vec<LaneRow> = fetch_all!(db, LANES, servers, id => id.to_string());
        self.lanes.extend(servers.iter().map(|id| (*id, None)));
        for row in found {
            self.lanes.insert(parse(&row.server_id)?, Some(row));
        }
        Ok(())
    }

    async fn load_queues(&mut self, db: &mut Db<'_>, servers: &[ServerId]) -> Result<(), StoreError> {
        let found: Vec<(String, i64)> = fetch_all!(db, QUEUED, servers, id => id.to_string());
        self.queued.extend(servers.iter().map(|id| (*id, 0)));
        for (server, count) in found {
            self.queued.insert(parse(&server)?, count);
        }
        Ok(())
    }

    async fn load_resources(&mut self, db: &mut Db<'_>, ids: &[ResourceId]) -> Result<(), StoreError> {
        let found: Vec<ResourceRow> = fetch_all!(db, RESOURCES, ids, id => id.to_string());
        self.resources.extend(ids.iter().map(|id| (*id, None)));
        found
            .into_iter()
            .try_for_each(|row| Resource::try_from(row).map(|resource| drop(self.put_resource(resource))))
    }

    async fn load_paths(&mut self, db: &mut Db<'_>, paths: Vec<Path>) -> Result<(), StoreError> {
        let found: Vec<ResourceRow> = fetch_all!(db, RESOURCES_BY_PATH, &paths, (server, package, name) => server.to_string(), package, name);
        self.paths.extend(paths.into_iter().map(|path| (path, None)));
        found
            .into_iter()
            .try_for_each(|row| Resource::try_from(row).map(|resource| drop(self.put_resource(resource))))
    }

    async fn load_runs(&mut self, db: &mut Db<'_>, ids: &[RunId]) -> Result<(), StoreError> {
        let found: Vec<RunRow> = fetch_all!(db, RUNS, ids, id => id.to_string());
        self.runs.extend(ids.iter().map(|id| (*id, None)));
        for row in found {
            let run = Run::try_from(row)?;
            self.runs.insert(run.id, Some(run));
        }
        Ok(())
    }

    async fn load_tries(&mut self, db: &mut Db<'_>, runs: &[RunId]) -> Result<(), StoreError> {
        let found: Vec<(String, i64)> = fetch_all!(db, TRIES, runs, id => id.to_string());
        self.tries.extend(runs.iter().map(|id| (*id, 0)));
        for (run, last) in found {
            self.tries.insert(parse(&run)?, last);
        }
        Ok(())
    }

    async fn load_steps(&mut self, db: &mut Db<'_>, ids: &[StepId]) -> Result<(), StoreError> {
        let found: Vec<StepRow> = fetch_all!(db, STEPS, ids, id => id.to_string());
        self.steps.extend(ids.iter().map(|id| (*id, None)));
        for row in found {
            let step = StepRecord::try_from(row)?;
            self.steps.insert(step.id, Some(step));
        }
        Ok(())
    }

    /// Keeps a server; answers how it was known before, if it was.
    pub(super) fn put_server(&mut self, server: Server) -> Option<Server> {
        self.server_names.insert(server.name.clone(), Some(server.id));
        self.servers.insert(server.id, Some(server)).flatten()
    }

    /// Keeps a resource; answers how it was known before, if it was.
    pub(super) fn put_resource(&mut self, resource: Resource) -> Option<Resource> {
        let path = (resource.server, resource.package.clone(), resource.name.clone());
        self.paths.insert(path, Some(resource.id));
        self.resources.insert(resource.id, Some(resource)).flatten()
    }

    /// Keeps a run that was written, and counts its queue.
    pub(super) fn put_run(&mut self, run: &Run) {
        let queued = |run: &Run| i64::from(matches!(run.state, RunState::Queued { .. }));
        match self.runs.insert(run.id, Some(run.clone())) {
            Some(before) => {
                let change = queued(run) - before.as_ref().map_or(0, queued);
                self.queued.entry(run.server).and_modify(|count| *count += change);
            }
            // Whether it left the queue just now is not known.
            None => drop(self.queued.remove(&run.server)),
        }
    }
}

fn parse<T: std::str::FromStr>(id: &str) -> Result<T, StoreError> {
    id.parse().map_err(|_| StoreError::Corrupt(format!("id `{id}`")))
}
