//! Objects as a unit reads and writes them. Every write repeats what its writer saw: in memory where the unit knows the object, and in
//! the statement always.

use super::Unit;
use super::known::Path;
use super::pending::{KeptRequest, Piece, StepUpdate};
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::resource::Resource;
use crate::domain::run::{Run, RunState};
use crate::domain::server::Server;
use crate::domain::step::StepId;
use crate::store::StoreError;
use crate::store::lanes::LaneRow;
use crate::store::measured::Move;
use crate::store::queries::RequestRow;
use crate::store::rows::{Change, ResourceRow, RunRow, ServerRow, StepRecord, StepRow, TransitionRow};

/// Conflict when the unit knows that the world is another than the writer saw.
fn seen<T>(known: Option<&Option<T>>, fits: impl FnOnce(&T) -> bool) -> Result<(), StoreError> {
    match known {
        Some(Some(object)) if fits(object) => Ok(()),
        Some(_) => Err(StoreError::Conflict),
        // The statement will tell.
        None => Ok(()),
    }
}

/// What a unit does not know it reads, and keeps. What it has yet to write it knows, so the connection need not have seen it.
impl Unit<'_> {
    /// The answer kept under a request id.
    pub async fn request(
        &mut self,
        principal: &str,
        method: &str,
        id: &str,
    ) -> Result<Option<RequestRow>, StoreError> {
        let key = (principal.to_owned(), method.to_owned(), id.to_owned());
        if let Some(known) = self.known.requests.get(&key) {
            return Ok(known.clone());
        }
        let found = self.db.request(principal, method, id).await?;
        self.known.requests.insert(key, found.clone());
        Ok(found)
    }

    /// A server by id.
    pub async fn server(&mut self, id: ServerId) -> Result<Option<Server>, StoreError> {
        if let Some(known) = self.known.servers.get(&id) {
            return Ok(known.clone());
        }
        let found = self.db.server(id).await?;
        self.known.servers.insert(id, found.clone());
        Ok(found)
    }

    /// A server by name.
    pub async fn server_by_name(&mut self, name: &str) -> Result<Option<Server>, StoreError> {
        match self.known.server_names.get(name) {
            Some(Some(id)) => return self.server(*id).await,
            Some(None) => return Ok(None),
            None => {}
        }
        let found = self.db.server_by_name(name).await?;
        match &found {
            Some(server) => drop(self.known.put_server(server.clone())),
            None => drop(self.known.server_names.insert(name.to_owned(), None)),
        }
        Ok(found)
    }

    /// The lane of a server.
    pub async fn lane(&mut self, server: ServerId) -> Result<Option<LaneRow>, StoreError> {
        if let Some(known) = self.known.lanes.get(&server) {
            return Ok(known.clone());
        }
        let found = self.db.lane(server).await?;
        self.known.lanes.insert(server, found.clone());
        Ok(found)
    }

    /// Forgets a lane that a statement has changed.
    pub(in crate::store) fn forget_lane(&mut self, server: ServerId) {
        self.known.lanes.remove(&server);
    }

    /// Forgets everything, after a statement that changed more than can be told.
    pub(in crate::store) fn forget_all(&mut self) {
        self.known = super::Known::default();
    }

    /// Forgets a run that a statement has changed.
    pub(in crate::store) fn forget_run(&mut self, run: RunId) {
        self.known.runs.remove(&run);
    }

    /// Whether a server's queue holds at least `limit` runs.
    pub async fn queue_is_full(&mut self, server: ServerId, limit: i64) -> Result<bool, StoreError> {
        if let Some(queued) = self.known.queued.get(&server) {
            return Ok(*queued >= limit);
        }
        self.db().await?.queue_is_full(server, limit).await
    }

    /// A resource by id.
    pub async fn resource(&mut self, id: ResourceId) -> Result<Option<Resource>, StoreError> {
        if let Some(known) = self.known.resources.get(&id) {
            return Ok(known.clone());
        }
        let found = self.db.resource(id).await?;
        self.known.resources.insert(id, found.clone());
        Ok(found)
    }

    /// A resource by server, package and name.
    pub async fn resource_by_path(
        &mut self,
        server: ServerId,
        package: &str,
        name: &str,
    ) -> Result<Option<Resource>, StoreError> {
        let path: Path = (server, package.to_owned(), name.to_owned());
        match self.known.paths.get(&path) {
            Some(Some(id)) => return self.resource(*id).await,
            Some(None) => return Ok(None),
            None => {}
        }
        let found = self.db.resource_by_path(server, package, name).await?;
        match &found {
            Some(resource) => drop(self.known.put_resource(resource.clone())),
            None => drop(self.known.paths.insert(path, None)),
        }
        Ok(found)
    }

    /// A run by id.
    pub async fn run(&mut self, id: RunId) -> Result<Option<Run>, StoreError> {
        if let Some(known) = self.known.runs.get(&id) {
            return Ok(known.clone());
        }
        let found = self.db.run(id).await?;
        self.known.runs.insert(id, found.clone());
        Ok(found)
    }

    /// A step by id.
    pub async fn step(&mut self, id: StepId) -> Result<Option<StepRecord>, StoreError> {
        if let Some(known) = self.known.steps.get(&id) {
            return Ok(known.clone());
        }
        let found = self.db.step(id).await?;
        self.known.steps.insert(id, found.clone());
        Ok(found)
    }

    async fn last_try(&mut self, run: RunId) -> Result<i64, StoreError> {
        if let Some(known) = self.known.tries.get(&run) {
            return Ok(*known);
        }
        self.db.last_try(run).await
    }
}

impl Unit<'_> {
    /// Stores a new server. `Duplicate("name")` when the name is taken.
    pub async fn insert_server(&mut self, server: &mut Server) -> Result<(), StoreError> {
        server.seq = self.next_seq();
        let r = ServerRow::from(&*server);
        let sql = "INSERT INTO server (id, name, host, port, login, host_key, identity, labels, machine_id, status, reach, \
                   reach_detail, last_seen, last_error, facts, created_at, updated_at, version, seq, via, time_zone, windows, repair_dpkg, held) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) \
                   ON CONFLICT (name) DO NOTHING";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, &r.name, &r.host, r.port, &r.login, &r.host_key, &r.identity, &r.labels, &r.machine_id,
            &r.status, &r.reach, &r.reach_detail, r.last_seen, &r.last_error, &r.facts, r.created_at, r.updated_at, r.version,
            r.seq, &r.via, &r.time_zone, &r.windows, r.repair_dpkg, &r.held,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate("name".to_owned()))?;
        let lane = "INSERT INTO lane (server_id, owner, epoch) VALUES ($1, NULL, 0)";
        on!(self.writing().await?, c => sqlx::query(lane).bind(&r.id).execute(c).await.map(drop))?;
        self.known.lanes.remove(&server.id);
        let before = self.known.put_server(server.clone());
        self.replaced_server(server.id, before);
        self.record(TransitionRow::of_server(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed server, if nobody changed it meanwhile. The version rises here.
    pub async fn update_server(&mut self, server: &mut Server) -> Result<(), StoreError> {
        let seen = server.version;
        let other_labels = self.server(server.id).await?.filter(|before| before.labels != server.labels);
        server.version += 1;
        server.updated_at = self.now;
        server.seq = self.next_seq();
        let r = ServerRow::from(&*server);
        let sql = "UPDATE server SET host = $3, port = $4, login = $5, host_key = $6, identity = $7, labels = $8, machine_id = $9, \
                   status = $10, reach = $11, reach_detail = $12, last_seen = $13, last_error = $14, facts = $15, \
                   updated_at = $16, version = $17, seq = $18, via = $19, time_zone = $20, windows = $21, repair_dpkg = $22, held = $23 \
                   WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, seen, &r.host, r.port, &r.login, &r.host_key, &r.identity, &r.labels, &r.machine_id,
            &r.status, &r.reach, &r.reach_detail, r.last_seen, &r.last_error, &r.facts, r.updated_at, r.version, r.seq,
            &r.via, &r.time_zone, &r.windows, r.repair_dpkg, &r.held,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        let before = self.known.put_server(server.clone());
        self.replaced_server(server.id, before);
        let mut transition = TransitionRow::of_server(&r, Change::Updated);
        transition.old_labels = other_labels.map(|before| ServerRow::from(&before).labels);
        self.record(transition);
        Ok(())
    }

    /// Removes a server's record with its lane. Its resources must be gone.
    pub async fn delete_server(&mut self, server: &mut Server) -> Result<(), StoreError> {
        server.seq = self.next_seq();
        let r = ServerRow::from(&*server);
        let sql = "DELETE FROM server WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), &r.id, r.version).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.delete_secrets(&r.id).await?;
        let before = self.known.servers.insert(server.id, None).flatten();
        self.replaced_server(server.id, before.or_else(|| Some(server.clone())));
        self.known.server_names.insert(server.name.clone(), None);
        self.known.lanes.insert(server.id, None);
        self.record(TransitionRow::of_server(&r, Change::Gone));
        Ok(())
    }

    /// Stores a new resource. `Duplicate("name")` when (server, package, name) is taken.
    pub async fn insert_resource(&mut self, resource: &mut Resource) -> Result<(), StoreError> {
        resource.seq = self.next_seq();
        let r = ResourceRow::from(&*resource);
        self.gathering(&r.id).await?.resource_inserts.push(r.clone());
        let before = self.known.put_resource(resource.clone());
        self.replaced_resource(resource.id, before);
        self.record(TransitionRow::of_resource(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed resource, if nobody changed it meanwhile. The version rises here.
    pub async fn update_resource(&mut self, resource: &mut Resource) -> Result<(), StoreError> {
        seen(self.known.resources.get(&resource.id), |known| known.version == resource.version)?;
        let seen = resource.version;
        resource.version += 1;
        resource.updated_at = self.now;
        resource.seq = self.next_seq();
        let r = ResourceRow::from(&*resource);
        self.gathering(&r.id).await?.resource_updates.push((seen, r.clone()));
        let before = self.known.put_resource(resource.clone());
        self.replaced_resource(resource.id, before);
        self.record(TransitionRow::of_resource(&r, Change::Updated));
        Ok(())
    }

    /// Notes that a look on schedule was queued. No part of the object, and no transition.
    pub async fn looked_at(&mut self, resource: ResourceId) -> Result<(), StoreError> {
        let (sql, now) = ("UPDATE resource SET looked_at = $2 WHERE id = $1", self.now.0);
        on!(self.writing().await?, c => sqlx::query(sql).bind(resource.to_string()).bind(now).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Removes a resource's record with its keys and secrets.
    pub async fn delete_resource(&mut self, resource: &mut Resource) -> Result<(), StoreError> {
        resource.seq = self.next_seq();
        let r = ResourceRow::from(&*resource);
        let sql = "DELETE FROM resource WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), &r.id, r.version)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.delete_secrets(&r.id).await?;
        let before = self.known.resources.insert(resource.id, None).flatten();
        self.replaced_resource(resource.id, before.or_else(|| Some(resource.clone())));
        self.known.paths.insert((resource.server, resource.package.clone(), resource.name.clone()), None);
        self.record(TransitionRow::of_resource(&r, Change::Gone));
        Ok(())
    }

    /// Stores a new run at the end of its server's queue. Its number in the queue is that of its first transition.
    pub async fn insert_run(&mut self, run: &mut Run) -> Result<(), StoreError> {
        run.seq = self.next_seq();
        let r = RunRow::new(run);
        self.gathering(&r.id).await?.run_inserts.push(r.clone());
        self.known.runs.insert(run.id, None);
        self.known.tries.insert(run.id, 0);
        self.known.put_run(run);
        self.record(TransitionRow::of_run(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed run, if nobody changed it meanwhile. The domain has raised the version by one already.
    pub async fn update_run(&mut self, run: &mut Run) -> Result<(), StoreError> {
        seen(self.known.runs.get(&run.id), |known| {
            let open = !matches!(known.state, RunState::Completed { .. });
            known.version == run.version - 1 && open && known.epoch <= run.epoch
        })?;
        run.seq = self.next_seq();
        let r = RunRow::new(run);
        self.gathering(&r.id).await?.run_updates.push(r.clone());
        let before = self.known.runs.get(&run.id).and_then(Option::as_ref);
        self.moves.extend(Move::of(before, run));
        self.known.put_run(run);
        self.record(TransitionRow::of_run(&r, Change::Updated));
        Ok(())
    }

    /// Stores the intent to start a try, numbered after those of its run before it.
    pub async fn insert_step(&mut self, step: &mut StepRecord) -> Result<(), StoreError> {
        step.no = self.last_try(step.id.run).await? + 1;
        step.seq = self.next_seq();
        let r = StepRow::from(&*step);
        self.gathering(&r.id).await?.step_inserts.push(r.clone());
        self.known.tries.insert(step.id.run, step.no);
        self.known.steps.insert(step.id, Some(step.clone()));
        self.record(TransitionRow::of_step(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed step, if nobody changed it meanwhile, nor added output, which has its own way. The version rises here.
    pub async fn update_step(&mut self, step: &mut StepRecord) -> Result<(), StoreError> {
        let fits =
            |known: &StepRecord| known.version == step.version && known.output_bytes == step.output_bytes;
        seen(self.known.steps.get(&step.id), fits)?;
        let seen_version = step.version;
        step.version += 1;
        step.seq = self.next_seq();
        let row = StepRow::from(&*step);
        self.record(TransitionRow::of_step(&row, Change::Updated));
        self.known.steps.insert(step.id, Some(step.clone()));
        let seen_bytes = row.output_bytes;
        let gathered = self.gathering(&row.id).await?;
        gathered.step_updates.push(StepUpdate { seen_version, seen_bytes, row });
        Ok(())
    }

    /// Appends output of a step at `pos`. `Conflict`: it does not go on exactly where the stored output ends. Not a transition.
    pub async fn append_output(&mut self, step: StepId, pos: u64, data: &[u8]) -> Result<(), StoreError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut record = self.step(step).await?.ok_or(StoreError::Conflict)?;
        if record.output_bytes != pos {
            return Err(StoreError::Conflict);
        }
        let seen_bytes = StepRow::from(&record).output_bytes;
        record.output_bytes += data.len() as u64;
        let row = StepRow::from(&record);
        let gathered = self.gathering(&row.id).await?;
        gathered.pieces.push(Piece { step: row.id.clone(), pos: seen_bytes, data: data.to_vec() });
        gathered.step_updates.push(StepUpdate { seen_version: row.version, seen_bytes, row });
        self.known.steps.insert(step, Some(record));
        Ok(())
    }

    /// Keeps the answer to a request id. `Conflict`: one is kept already.
    pub async fn keep_request(
        &mut self,
        (principal, method, id): (&str, &str, &str),
        digest: &str,
        answer: &str,
    ) -> Result<(), StoreError> {
        let key = (principal.to_owned(), method.to_owned(), id.to_owned());
        if let Some(Some(_)) = self.known.requests.get(&key) {
            return Err(StoreError::Conflict);
        }
        let (digest, answer) = (digest.to_owned(), answer.to_owned());
        self.known
            .requests
            .insert(key.clone(), Some(RequestRow { digest: digest.clone(), answer: answer.clone() }));
        let (principal, method, id) = key;
        let gathered = self.gathering(&format!("{principal}\0{method}\0{id}")).await?;
        gathered.requests.push(KeptRequest { principal, method, id, digest, answer });
        Ok(())
    }
}
