//! Places in the lane: computed when read, once per server for a whole page.

use std::collections::HashMap;

use super::Draining;
use super::convert::Place;
use crate::domain::id::ServerId;
use crate::domain::server::Reach;
use crate::domain::time::Timestamp;
use crate::domain::waiting::{WaitReason, Waiting};
use crate::store::rows::RunRow;
use crate::store::{Db, StoreError};

/// Most queued runs of a server that are counted; a queue is bounded far below.
const QUEUE_MAX: i64 = 100_000;

/// The queues that were looked at.
pub(super) struct Places {
    queues: HashMap<(String, bool), Queue>,
    shut: HashMap<String, Option<Waiting>>,
    held: Option<(Timestamp, String)>,
}

struct Queue {
    running: Option<String>,
    ids: Vec<String>,
}

impl Places {
    /// No queue was looked at yet. A daemon that drains holds all of them.
    pub(super) fn new(draining: Option<Draining>) -> Self {
        let why = |draining: &Draining| match draining.until {
            None => {
                "this settled drains and begins nothing new: it serves again after `settlectl drain --cancel` or its next start"
            }
            Some(_) => "this settled stops and begins nothing new: it goes on after the next start",
        };
        let held = draining.map(|draining| (draining.since, why(&draining).to_owned()));
        Self { queues: HashMap::new(), shut: HashMap::new(), held }
    }

    /// The place of a run; `None` when it is not queued.
    pub(super) async fn of(&mut self, db: &mut Db<'_>, row: &RunRow) -> Result<Option<Place>, StoreError> {
        if row.state != "queued" {
            return Ok(None);
        }
        let key = (row.server_id.clone(), row.exclusive);
        if !self.queues.contains_key(&key) {
            self.queues.insert(key.clone(), load(db, row).await?);
        }
        let Some(place) = self.queues.get(&key).and_then(|queue| queue.place(&row.id)) else {
            return Ok(None);
        };
        let shut = self.shut(db, row).await?;
        Ok(Some(Place { shut, held: self.held.clone(), ..place }))
    }

    /// Why nothing is begun on the run's server at all. One that refuses is looked at anew all the same, when somebody asks for that.
    async fn shut(&mut self, db: &mut Db<'_>, row: &RunRow) -> Result<Option<Waiting>, StoreError> {
        if !self.shut.contains_key(&row.server_id) {
            let server = db.server(server_of(row)?).await?;
            let shut = server.and_then(|server| {
                let reason = match server.reach {
                    Reach::Refused => WaitReason::Refused,
                    Reach::Paused => WaitReason::Paused,
                    Reach::Ok | Reach::Unreachable => return None,
                };
                Some(Waiting { reason, who: server.reach_detail, since: server.updated_at, next_try: None })
            });
            self.shut.insert(row.server_id.clone(), shut);
        }
        let anew = row.resource_id.is_none();
        let shut = self.shut.get(&row.server_id).cloned().flatten();
        Ok(shut.filter(|shut| shut.reason == WaitReason::Paused || !anew))
    }
}

fn server_of(row: &RunRow) -> Result<ServerId, StoreError> {
    row.server_id.parse().map_err(|_| StoreError::Corrupt(format!("server id `{}`", row.server_id)))
}

async fn load(db: &mut Db<'_>, row: &RunRow) -> Result<Queue, StoreError> {
    let server = server_of(row)?;
    let running = if row.exclusive { db.running_exclusive(server).await? } else { None };
    Ok(Queue { running, ids: db.queued_ids(server, row.exclusive, QUEUE_MAX).await? })
}

impl Queue {
    fn place(&self, id: &str) -> Option<Place> {
        let at = self.ids.iter().position(|queued| queued == id)?;
        let before = at.checked_sub(1).and_then(|before| self.ids.get(before));
        let behind = before.or(self.running.as_ref()).cloned();
        Some(Place { position: u32::try_from(at + 1).unwrap_or(u32::MAX), behind, shut: None, held: None })
    }
}
