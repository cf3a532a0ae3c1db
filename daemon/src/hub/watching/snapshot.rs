//! What stands and matches one of several filters, each object once: filter after filter, and of each only what no earlier one held. A filter
//! by labels goes server by server, as they were labelled when the watch took its position.

use std::collections::VecDeque;

use super::places::look_up;
use super::scan::Scan;
use super::wanted::{Filter, Mask, Wanted, server_of};
use crate::hub::Shelf;
use crate::store::rows::Object;
use crate::store::{Store, StoreError};

/// Servers looked at at once.
const SERVERS: i64 = 32;

/// What is left to do.
enum Job {
    /// A look at what a filter admits by itself, without what these hold.
    Look(Filter, Vec<Filter>),
    /// The filter with this number, on this server if it admits it.
    Server(usize, String),
    /// The filter with this number, on each server after this name that it admits.
    Servers(usize, String),
}

/// A look at all that stands.
pub(super) struct Snapshot {
    jobs: VecDeque<Job>,
    /// The look that is under way, and what it leaves out.
    look: Option<(Scan, Vec<Filter>)>,
    shelf: Shelf,
}

impl Snapshot {
    /// Of all that is wanted.
    pub(super) fn of_all(wanted: &Wanted, shelf: &Shelf) -> Self {
        let by_id = |filter: &Filter| wanted.admits_by_id(filter);
        let jobs = wanted.filters().map(|(no, filter)| match &filter.server {
            _ if by_id(filter) => {
                let earlier = wanted.filters().take(no).map(|(_, earlier)| earlier);
                Job::Look(filter.clone(), earlier.filter(|earlier| by_id(earlier)).cloned().collect())
            }
            Some(server) => Job::Server(no, server.clone()),
            None => Job::Servers(no, String::new()),
        });
        Self { jobs: jobs.collect(), look: None, shelf: shelf.clone() }
    }

    /// Of what is on a server that comes, through these filters, without what the others hold.
    pub(super) fn of_server(wanted: &Wanted, server: &str, comes: Mask, known: Mask, shelf: &Shelf) -> Self {
        let mut told = wanted.on(server, known);
        let jobs = wanted.on(server, comes).into_iter().map(|filter| {
            let job = Job::Look(filter.clone(), told.clone());
            told.push(filter);
            job
        });
        Self { jobs: jobs.collect(), look: None, shelf: shelf.clone() }
    }

    /// The next object; `None` after the last. `at`: the number as of which servers have their labels.
    pub(super) async fn next(
        &mut self,
        store: &Store,
        wanted: &Wanted,
        at: i64,
    ) -> Result<Option<Object>, StoreError> {
        loop {
            if let Some((scan, without)) = &mut self.look {
                let Some(object) = scan.next(store, wanted).await? else {
                    self.look = None;
                    continue;
                };
                let server = server_of(&object);
                if !without.iter().any(|filter| filter.holds(&object, &server)) {
                    return Ok(Some(object));
                }
            } else if let Some(job) = self.jobs.pop_front() {
                self.begin(job, store, wanted, at).await?;
            } else {
                return Ok(None);
            }
        }
    }

    async fn begin(&mut self, job: Job, store: &Store, wanted: &Wanted, at: i64) -> Result<(), StoreError> {
        match job {
            Job::Look(filter, without) => self.look = Some((Scan::new(filter, &self.shelf), without)),
            Job::Server(no, server) => self.admit(no, &[server], store, wanted, at).await?,
            Job::Servers(no, after) => {
                let servers = store.read().await?.db().servers(&after, SERVERS).await?;
                if let Some(last) = servers.last() {
                    self.jobs.push_front(Job::Servers(no, last.name.clone()));
                }
                let ids: Vec<_> = servers.iter().map(|server| server.id.to_string()).collect();
                self.admit(no, &ids, store, wanted, at).await?;
            }
        }
        Ok(())
    }

    /// Looks at those of the servers first that the filter admits.
    async fn admit(
        &mut self,
        no: usize,
        servers: &[String],
        store: &Store,
        wanted: &Wanted,
        at: i64,
    ) -> Result<(), StoreError> {
        let mut reader = store.read().await?;
        for server in servers.iter().rev() {
            let mask = look_up(&mut reader.db(), wanted, server, at).await?;
            let here = wanted.filters().nth(no).filter(|_| mask.has(no));
            if let Some((_, filter)) = here {
                let without = wanted.before(no, server, mask);
                self.jobs.push_front(Job::Look(filter.on(server), without));
            }
        }
        Ok(())
    }
}
