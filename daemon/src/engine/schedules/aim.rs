//! What an occurrence is about: the target of a schedule, as it looks when it fires. Found before the transaction that acts on it; what
//! has changed in between is refused there like any other command.

use std::collections::BTreeMap;

use super::super::{Answer, Asked, Engine, Enroll, Install, Operate, Refusal, targets};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::schedule::{On, Schedule, TARGETS_MAX, Target, Work};
use crate::domain::server::Server;
use crate::domain::turn::Turn;
use crate::store::queries::ResourceFilter;
use crate::store::{Db, StoreError, Unit};

/// Rows that are read at once.
const PAGE: i64 = 500;

/// What is to be asked for, one by one: the name of the target, and whether there is anything to ask.
#[derive(Debug, Clone, Default)]
pub struct Aim {
    pub(super) asks: Vec<(String, Result<Ask, String>)>,
    /// Why there is nothing to ask for at all.
    pub(super) nothing: Option<String>,
}

/// One command, as the API would give it.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Install(Box<Install>),
    Operate(Box<Operate>),
    Probe(String),
    Remove(String, Params),
    /// What is completed begins anew when it says so.
    Enroll(Box<Enroll>),
}

impl Aim {
    pub(super) fn nothing(why: String) -> Self {
        Self { asks: Vec::new(), nothing: Some(why) }
    }
}

impl Engine {
    /// What a schedule is about now.
    pub(super) async fn aim_at(&self, target: &Target) -> Result<Aim, StoreError> {
        match target {
            Target::Work(work) => self.aim(work).await,
            Target::Enrolling(enrolling) => self.aim_enrolling(enrolling).await,
            Target::Chore(_) => Ok(Aim::default()),
        }
    }

    async fn aim(&self, work: &Work) -> Result<Aim, StoreError> {
        let mut reader = self.store().read().await?;
        let mut db = reader.db();
        let asks = match &work.on {
            On::Resources(paths) => paths.iter().map(|path| (path.clone(), Ok(ask(work, path)))).collect(),
            On::Servers(names) => on_servers(&mut db, work, names).await?,
            On::Labels(labels) => {
                let servers = labelled(&mut db, labels).await?;
                let mut asks = Vec::new();
                for server in servers {
                    asks.extend(on_server(&mut db, work, &server).await?);
                    if asks.len() > TARGETS_MAX {
                        break;
                    }
                }
                asks
            }
        };
        Ok(match asks.len() {
            0 => Aim::nothing(nobody(work)),
            n if n > TARGETS_MAX => Aim::nothing(format!(
                "it is about more than {TARGETS_MAX} resources, which is the most that one schedule may be about: make several, with narrower \
                 targets"
            )),
            _ => Aim { asks, nothing: None },
        })
    }

    /// Gives one of the commands, within the unit of an occurrence of this schedule. A refusal has written nothing.
    pub(super) async fn accept(
        &self,
        unit: &mut Unit<'_>,
        schedule: &Schedule,
        asked: Asked,
        ask: Ask,
    ) -> Result<Answer, Refusal> {
        match ask {
            Ask::Install(ask) => self.install_within(unit, asked, *ask).await,
            Ask::Operate(ask) => self.operate_within(unit, asked, *ask).await,
            Ask::Enroll(ask) => self.enroll_on_schedule(unit, schedule, asked, *ask).await,
            Ask::Probe(resource) => self.probe_within(unit, asked, resource).await,
            Ask::Remove(resource, parameters) => {
                // A removal would cancel what is queued before it looks at the rest.
                if let Some(run) = targets::find_resource(unit, &resource).await?.open_run {
                    return Err(Refusal::busy(run));
                }
                self.remove_within(unit, asked, resource, parameters, Turn::default()).await
            }
        }
    }
}

fn nobody(work: &Work) -> String {
    match &work.on {
        On::Labels(labels) => {
            let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let what = if work.operation == Operation::Install {
                String::new()
            } else {
                format!(" and `{}` on it", work.package)
            };
            format!("there is no server with the labels {}{what}", labels.join(", "))
        }
        On::Servers(_) | On::Resources(_) => "there is nothing that it names".to_owned(),
    }
}

fn ask(work: &Work, path: &str) -> Ask {
    match &work.operation {
        Operation::Probe => Ask::Probe(path.to_owned()),
        Operation::Remove => Ask::Remove(path.to_owned(), work.parameters.clone()),
        operation => Ask::Operate(Box::new(Operate {
            resource: path.to_owned(),
            operation: operation.clone(),
            parameters: work.parameters.clone(),
            secrets: BTreeMap::new(),
            turn: Turn::default(),
        })),
    }
}

async fn on_servers(
    db: &mut Db<'_>,
    work: &Work,
    names: &[String],
) -> Result<Vec<(String, Result<Ask, String>)>, StoreError> {
    let mut asks = Vec::new();
    for name in names {
        let found = match targets::find_server(db, name).await {
            Ok(server) => on_server(db, work, &server).await?,
            Err(Refusal::Store(error)) => return Err(error),
            Err(refusal) => vec![(name.clone(), Err(refusal.to_string()))],
        };
        let none = || (name.clone(), Err(format!("there is no `{}` on {name}", work.package)));
        if found.is_empty() { asks.push(none()) } else { asks.extend(found) }
    }
    Ok(asks)
}

/// What there is to ask for on one server.
async fn on_server(
    db: &mut Db<'_>,
    work: &Work,
    server: &Server,
) -> Result<Vec<(String, Result<Ask, String>)>, StoreError> {
    let path = |name: &str| format!("{}/{}/{name}", server.name, work.package);
    if work.operation == Operation::Install {
        let install = Install {
            server: server.name.clone(),
            package: work.package.clone(),
            name: work.name.clone(),
            parameters: work.parameters.clone(),
            secrets: BTreeMap::new(),
            turn: Turn::default(),
            with_requirements: false,
        };
        let name = if work.name.is_empty() { &work.package } else { &work.name };
        return Ok(vec![(path(name), Ok(Ask::Install(Box::new(install))))]);
    }
    let filter =
        ResourceFilter { server: Some(server.id), package: Some(work.package.clone()), status: None };
    let mut asks = Vec::new();
    let mut after = String::new();
    loop {
        let page = db.resources(&filter, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(asks) };
        after = last.id.to_string();
        let meant = page.iter().filter(|resource| work.name.is_empty() || resource.name == work.name);
        asks.extend(meant.map(|resource| (path(&resource.name), Ok(ask(work, &path(&resource.name))))));
        if asks.len() > TARGETS_MAX {
            return Ok(asks);
        }
    }
}

/// Servers that have all these labels.
pub(super) async fn labelled(
    db: &mut Db<'_>,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<Server>, StoreError> {
    let has_all = |server: &Server| labels.iter().all(|(key, value)| server.labels.get(key) == Some(value));
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = db.servers(&after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after.clone_from(&last.name);
        found.extend(page.into_iter().filter(has_all));
    }
}
