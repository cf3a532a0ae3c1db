//! Places in the lane: computed when read, once per server for a whole page.

use std::collections::HashMap;

use super::Draining;
use super::convert::Place;
use crate::domain::id::ServerId;
use crate::domain::time::Timestamp;
use crate::store::rows::RunRow;
use crate::store::{Db, StoreError};

/// Most queued runs of a server that are counted; a queue is bounded far below.
const QUEUE_MAX: i64 = 100_000;

/// The queues that were looked at.
pub(super) struct Places {
    queues: HashMap<(String, bool), Queue>,
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
        Self { queues: HashMap::new(), held }
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
        let place = self.queues.get(&key).and_then(|queue| queue.place(&row.id));
        Ok(place.map(|place| Place { held: self.held.clone(), ..place }))
    }
}

async fn load(db: &mut Db<'_>, row: &RunRow) -> Result<Queue, StoreError> {
    let server: ServerId =
        row.server_id.parse().map_err(|_| StoreError::Corrupt(format!("server id `{}`", row.server_id)))?;
    let running = if row.exclusive { db.running_exclusive(server).await? } else { None };
    Ok(Queue { running, ids: db.queued_ids(server, row.exclusive, QUEUE_MAX).await? })
}

impl Queue {
    fn place(&self, id: &str) -> Option<Place> {
        let at = self.ids.iter().position(|queued| queued == id)?;
        let before = at.checked_sub(1).and_then(|before| self.ids.get(before));
        let behind = before.or(self.running.as_ref()).cloned();
        Some(Place { position: u32::try_from(at + 1).unwrap_or(u32::MAX), behind, held: None })
    }
}
