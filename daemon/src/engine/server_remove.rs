//! Removes a server's record. The host is not touched.

use async_trait::async_trait;

use super::lane::close_unsent;
use super::probe::is_own_look;
use super::{Answer, Asked, Engine, Refusal, targets};
use crate::domain::resource::Resource;
use crate::domain::run::{Event, Run};
use crate::domain::server::Server;
use crate::store::queries::ResourceFilter;
use crate::store::{Command, Unit};

/// Most resources that one `--forget` drops: bounds the transaction.
const FORGET_MAX: i64 = 1_000;
/// Most open runs that are looked at: more than a queue may hold.
const OPEN_MAX: i64 = 10_000;
/// Most things that a refusal names.
const NAMED_MAX: i64 = 20;

struct RemoveServer {
    engine: Engine,
    asked: Asked,
    server: String,
    forget: bool,
}

impl Engine {
    /// Removes a server's record; with `forget` its resources' records too. Open runs stand in the way.
    pub async fn remove_server(&self, asked: Asked, server: String, forget: bool) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(RemoveServer { engine: self.clone(), asked, server, forget }).await
    }
}

#[async_trait]
impl Command for RemoveServer {
    type Answer = Answer;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let mut server = targets::find_server(unit, &self.server).await?;
        let looks = only_own_looks(unit, &server).await?;
        nobody_behind(unit, &server).await?;
        let resources = self.resources(unit, &server).await?;
        self.end_looks(unit, looks).await?;
        let mut ids = Vec::with_capacity(resources.len());
        for mut resource in resources {
            unit.delete_resource(&mut resource).await?;
            ids.push(resource.id.to_string());
        }
        unit.delete_server(&mut server).await?;
        let answer = Answer { ids, ..Answer::default() };
        self.asked.keep(unit, &answer, server.name.clone()).await?;
        Ok(answer)
    }
}

impl RemoveServer {
    async fn resources(&self, unit: &mut Unit<'_>, server: &Server) -> Result<Vec<Resource>, Refusal> {
        let filter = ResourceFilter { server: Some(server.id), ..ResourceFilter::default() };
        let limit = if self.forget { FORGET_MAX + 1 } else { NAMED_MAX };
        let found = unit.db().await?.resources(&filter, "", limit).await?;
        if found.is_empty() || (self.forget && i64::try_from(found.len()).is_ok_and(|n| n <= FORGET_MAX)) {
            return Ok(found);
        }
        let name = &server.name;
        let message = if self.forget {
            format!("{name} has more than {FORGET_MAX} resources: remove some of them first")
        } else {
            format!(
                "{name} still has records of resources: remove them first, or drop them with --forget (the host is not touched)"
            )
        };
        let path = |r: &Resource| format!("{name}/{}/{}", r.package, r.name);
        let take = usize::try_from(NAMED_MAX).unwrap_or(usize::MAX);
        Err(Refusal::NotNow {
            message,
            runs: Vec::new(),
            resources: found.iter().take(take).map(path).collect(),
        })
    }
}

async fn nobody_behind(unit: &mut Unit<'_>, server: &Server) -> Result<(), Refusal> {
    let behind = unit.db().await?.servers_via(&server.name, NAMED_MAX).await?;
    if behind.is_empty() {
        return Ok(());
    }
    Err(Refusal::not_now(format!(
        "{} is the jump host of {}: give them another way first (settlectl server edit NAME --via SERVER, or --direct)",
        server.name,
        behind.join(", ")
    )))
}

/// Open runs stand in the way. What is left are looks that nobody asked for.
async fn only_own_looks(unit: &mut Unit<'_>, server: &Server) -> Result<Vec<Run>, Refusal> {
    let open = unit.db().await?.open_runs_of(server.id, OPEN_MAX).await?;
    let (looks, others): (Vec<_>, Vec<_>) = open.into_iter().partition(is_own_look);
    if others.is_empty() { Ok(looks) } else { Err(still_open(server, &others)) }
}

impl RemoveServer {
    /// There is nothing left to look at.
    async fn end_looks(&self, unit: &mut Unit<'_>, looks: Vec<Run>) -> Result<(), Refusal> {
        for run in looks {
            let before = run.clone();
            let ended = run.apply(Event::CancelRequested, unit.now(), self.engine.timings());
            let mut run = ended.map_err(|illegal| Refusal::Internal(illegal.to_string()))?;
            self.engine.write_run(unit, &mut run, None).await?;
            close_unsent(unit, &before).await?;
        }
        Ok(())
    }
}

fn still_open(server: &Server, open: &[Run]) -> Refusal {
    let named = usize::try_from(NAMED_MAX).unwrap_or(usize::MAX);
    let runs = open.iter().take(named).map(|run| run.id).collect();
    let message = format!(
        "{} still has open runs: wait for them, or cancel them (settlectl run list --server {0})",
        server.name
    );
    Refusal::NotNow { message, runs, resources: Vec::new() }
}
