//! What a caller sees: the servers of its scope. What is on another one is not there for it, and that is said in the very words, and at the
//! very point, in which it is said of what is not there at all.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tonic::{Code, Request, Status};

use super::asked::principal;
use super::stream::driven;
use super::{Api, status};
use crate::auth::{Gate, Scope, Standing, Verb};
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::server::Server;
use crate::engine::{Engine, Refusal, targets};
use crate::store::queries::RunFilter;
use crate::store::{Db, StoreError};

/// How often it is asked whether a caller who reads on still sees what it saw. What this daemon takes from somebody is asked about at once.
const ASKED_EVERY: Duration = Duration::from_secs(30);

/// What one caller sees.
#[derive(Clone)]
pub(super) struct Sight {
    engine: Engine,
    gate: Gate,
    principal: String,
    scope: Scope,
}

impl Api {
    /// What the caller of this request sees.
    pub(super) fn sight<T>(&self, request: &Request<T>) -> Result<Sight, Status> {
        let who = principal(request)?;
        Ok(Sight {
            engine: self.engine().clone(),
            gate: self.parts.gate.clone(),
            principal: who.name.clone(),
            scope: who.scope.clone(),
        })
    }
}

impl Sight {
    /// Whether it sees everything.
    pub(super) const fn is_whole(&self) -> bool {
        self.scope.is_whole()
    }

    /// The scope in words, for what must not be given on to somebody with another one.
    pub(super) fn words(&self) -> String {
        self.scope.to_string()
    }

    /// The generation of the store as this caller is told it. What it sees is part of it: a position is good for nobody who sees something
    /// else, for whom other servers have come and gone up to there.
    pub(super) fn generation(&self) -> String {
        let generation = &self.engine.store().about().generation;
        if self.is_whole() {
            return generation.clone();
        }
        let digest = hex::encode(Sha256::digest(self.words()));
        format!("{generation}.{}", &digest[..16])
    }

    /// Returns when its caller may not do any more what it did when it came, on the servers that it saw, with what a stream of that ends with.
    /// `run`: the one that the stream is about.
    pub(super) fn ends(
        self,
        verb: Verb,
        run: Option<RunId>,
    ) -> impl Future<Output = Status> + Send + 'static {
        let mut taken = self.gate.taken();
        async move {
            let clock = self.engine.clock();
            loop {
                tokio::select! {
                    // The gate is there for as long as this is.
                    _ = taken.changed() => {}
                    () = clock.sleep_until(clock.monotonic() + ASKED_EVERY) => {}
                }
                let sight = self.clone();
                match driven(async move { sight.lost(verb, run).await }).await {
                    Ok(None) => {}
                    Ok(Some(status)) => return status,
                    Err(refusal) => return status::refused(refusal, &self.engine),
                }
            }
        }
    }

    /// What its caller has lost. What nobody can tell now is asked again.
    async fn lost(&self, verb: Verb, run: Option<RunId>) -> Option<Status> {
        match self.gate.standing(&self.principal, verb).await {
            Standing::May(scope) if scope == self.scope => {}
            Standing::May(_) => return Some(status::sees_else()),
            Standing::MayNot => return Some(status::sees_nothing(&self.principal)),
            Standing::Unknown(_) => return None,
        }
        self.run(run?).await.err().filter(|status| status.code() == Code::NotFound)
    }

    /// Whether a server of this name, with these labels, is seen.
    pub(super) fn covers(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.scope.covers(name, labels)
    }

    /// Whether a server is seen.
    pub(super) fn covers_server(&self, server: &Server) -> bool {
        self.covers(&server.name, &server.labels)
    }

    /// Refuses a server that is not seen, by its name or id.
    pub(super) async fn server(&self, named: &str) -> Result<(), Status> {
        self.refused(self.sees_named(named).await)
    }

    /// The same of a resource. What is gone may be asked for again under its request id: its runs tell where it was.
    pub(super) async fn resource(&self, named: &str) -> Result<(), Status> {
        self.refused(self.sees_resource(named).await)
    }

    /// The same of a run.
    pub(super) async fn run(&self, id: RunId) -> Result<(), Status> {
        self.refused(self.sees_run(id).await)
    }

    fn refused(&self, seen: Result<(), Refusal>) -> Result<(), Status> {
        seen.map_err(|refusal| status::refused(refusal, &self.engine))
    }

    /// A server that is seen.
    pub(super) async fn found(&self, db: &mut Db<'_>, named: &str) -> Result<Server, Refusal> {
        let server = targets::find_server(db, named).await?;
        if self.covers_server(&server) { Ok(server) } else { Err(absent("server", named)) }
    }

    /// Refuses a server that is not seen, as the engine refuses one that is not there.
    pub(super) async fn sees_named(&self, named: &str) -> Result<(), Refusal> {
        // What is not named at all is told by the command, with what to do.
        if self.is_whole() || named.is_empty() {
            return Ok(());
        }
        self.found(&mut self.engine.store().read().await?.db(), named).await.map(drop)
    }

    /// The same of a resource.
    pub(super) async fn sees_resource(&self, named: &str) -> Result<(), Refusal> {
        if self.is_whole() {
            return Ok(());
        }
        let Ok(id) = named.parse::<ResourceId>() else {
            return match named.split('/').collect::<Vec<_>>()[..] {
                [server, _, _] => self.sees_named(server).await,
                // No path of anything: the command tells.
                _ => Ok(()),
            };
        };
        let mut reader = self.engine.store().read().await?;
        let mut db = reader.db();
        let server = if let Some(resource) = db.resource(id).await? {
            Some(resource.server.to_string())
        } else {
            let filter = RunFilter { resource: Some(id.to_string()), ..RunFilter::default() };
            db.runs(&filter, "", 1).await?.pop().map(|run| run.server_id)
        };
        let seen = match server {
            Some(server) => Seen::new(self).sees(&mut db, &server).await?,
            None => false,
        };
        if seen { Ok(()) } else { Err(absent("resource", named)) }
    }

    async fn sees_run(&self, id: RunId) -> Result<(), Refusal> {
        if self.is_whole() {
            return Ok(());
        }
        let mut reader = self.engine.store().read().await?;
        let mut db = reader.db();
        let seen = match db.run_row(id).await? {
            Some(run) => Seen::new(self).sees(&mut db, &run.server_id).await?,
            None => false,
        };
        if seen { Ok(()) } else { Err(absent("run", &id.to_string())) }
    }
}

fn absent(what: &'static str, name: &str) -> Refusal {
    Refusal::NotFound { what, name: name.to_owned() }
}

/// Which servers are seen by their ids: each is looked up once. One that is gone is seen only by those who see everything: nobody knows its
/// labels any more.
pub(super) struct Seen<'a> {
    sight: &'a Sight,
    known: HashMap<String, bool>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(sight: &'a Sight) -> Self {
        Self { sight, known: HashMap::new() }
    }

    pub(super) async fn sees(&mut self, db: &mut Db<'_>, server: &str) -> Result<bool, StoreError> {
        if self.sight.is_whole() {
            return Ok(true);
        }
        if let Some(&seen) = self.known.get(server) {
            return Ok(seen);
        }
        let id: ServerId =
            server.parse().map_err(|_| StoreError::Corrupt(format!("server id `{server}`")))?;
        let seen = db.server(id).await?.is_some_and(|server| self.sight.covers_server(&server));
        self.known.insert(server.to_owned(), seen);
        Ok(seen)
    }
}
