//! The service `Resources`.

use std::collections::BTreeMap;

use settled_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::convert::Place;
use super::pages::Page;
use super::sight::{Seen, Sight};
use super::{Api, check, convert, traced};
use crate::domain::operation::Operation;
use crate::domain::turn::Turn;
use crate::engine::{Answer, Install, Operate, Refusal, targets};
use crate::store::queries::ResourceFilter;
use crate::store::rows::RunRow;

type Commanded = Result<Response<v1::CommandResponse>, Status>;

impl Api {
    /// What a dry run tells: objects without ids, since there are none.
    fn planned(&self, answer: Result<Answer, Refusal>) -> Commanded {
        let answer = answer.map_err(|r| self.refuse(r))?;
        let plan = answer.plan.unwrap_or_default();
        let place = |position: i64| Place {
            position: u32::try_from(position).unwrap_or(u32::MAX),
            behind: None,
            shut: None,
            held: None,
        };
        let shown = |row: &RunRow, position, step_titles: &[String]| -> Result<v1::Run, Status> {
            let run = convert::run_as_stored(row, Some(&place(position))).map_err(|e| self.refuse(e))?;
            let (id, resource_id, step_titles) = (String::new(), String::new(), step_titles.to_vec());
            let summary =
                format!("A dry run, nothing was stored. It would be number {position} on {}.", run.server);
            Ok(v1::Run { id, resource_id, step_titles, summary, ..run })
        };
        let first = plan.position - i64::try_from(answer.required.len()).unwrap_or(0);
        let requirements = answer.required.iter().zip(&plan.required_steps).zip(first..);
        let requirements = requirements.map(|((row, titles), position)| shown(row, position, titles));
        let requirements = requirements.collect::<Result<_, _>>()?;
        let run = answer.run.map(|row| shown(&row, plan.position, &plan.steps)).transpose()?;
        let resource = answer.resource.map(convert::resource_row).transpose().map_err(|e| self.refuse(e))?;
        // One that is there keeps its id.
        let resource = resource.map(|r| if r.seq == 0 { v1::Resource { id: String::new(), ..r } } else { r });
        Ok(Response::new(v1::CommandResponse { resource, run, requirements }))
    }

    async fn operate(&self, asked: crate::engine::Asked, ask: Operate, dry_run: bool) -> Commanded {
        if dry_run {
            return self.planned(self.engine().plan_operate(asked, ask).await);
        }
        self.commanded(self.engine().operate(asked, ask).await)
    }

    fn commanded(&self, answer: Result<Answer, Refusal>) -> Commanded {
        let answer = answer.map_err(|r| self.refuse(r))?;
        let run = self.run_of(&answer)?;
        answer.required.iter().for_each(|row| traced::asked_for(&row.id));
        let requirements = answer.required.iter().map(|row| convert::run_as_stored(row, None));
        let requirements = requirements.collect::<Result<_, _>>().map_err(|e| self.refuse(e))?;
        let resource = answer.resource.map(convert::resource_row).transpose().map_err(|e| self.refuse(e))?;
        Ok(Response::new(v1::CommandResponse { resource, run: Some(run), requirements }))
    }

    async fn list_resources(
        &self,
        sight: &Sight,
        m: v1::ListResourcesRequest,
    ) -> Result<v1::ListResourcesResponse, Refusal> {
        let status: v1::ResourceStatus = check::word("status", m.status)?;
        if !m.package.is_empty() {
            check::name("package", &m.package)?;
        }
        let list = v1::ListResourcesRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let list = ("Resources.List", &list);
        let page = Page::seen_by(sight, self.engine(), list, m.page_size, &m.page_token)?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let server = if m.server.is_empty() {
            None
        } else {
            check::name("server", &m.server)?;
            Some(sight.found(&mut db, &m.server).await?.id)
        };
        let package = Some(m.package).filter(|name| !name.is_empty());
        let filter = ResourceFilter { server, package, status: convert::status_word(status) };
        let (mut scan, mut servers, mut seen) = (page.scan(sight), Seen::new(sight), Vec::new());
        while scan.goes_on(seen.len()) {
            let rows = db.resources(&filter, &scan.after, scan.limit).await?;
            scan.has_read(&rows, |resource| resource.id.to_string());
            for resource in &rows {
                if servers.sees(&mut db, &resource.server.to_string()).await? {
                    seen.push(convert::resource(resource));
                }
            }
        }
        let (resources, next) = page.cut(seen, |r: &v1::Resource| &r.id);
        Ok(v1::ListResourcesResponse { resources, next_page_token: page.after_scan(next, &scan) })
    }

    fn checked_path(&self, path: &str) -> Result<(), Status> {
        check::path("resource", path).map_err(|r| self.refuse(r))
    }

    fn checked_install(&self, ask: &Install) -> Result<(), Status> {
        self.checked_values(&ask.parameters, &ask.secrets)?;
        for (field, name) in [("server", &ask.server), ("package", &ask.package)] {
            // One that is missing is told by the engine, with what to do.
            if !name.is_empty() {
                check::name(field, name).map_err(|r| self.refuse(r))?;
            }
        }
        Ok(())
    }

    fn turn(&self, queue_limit_s: u32, priority: i32) -> Result<Turn, Status> {
        let least = self.engine().limits().queue_limit_least;
        check::turn(queue_limit_s, priority, least).map_err(|r| self.refuse(r))
    }

    fn checked_values(
        &self,
        parameters: &BTreeMap<String, String>,
        secrets: &BTreeMap<String, Vec<u8>>,
    ) -> Result<(), Status> {
        let sizes = parameters.iter().map(|(k, v)| (k, v.len()));
        check::values(sizes.chain(secrets.iter().map(|(k, v)| (k, v.len())))).map_err(|r| self.refuse(r))
    }
}

fn plain(resource: String, operation: Operation, turn: Turn) -> Operate {
    let (parameters, secrets) = (BTreeMap::new(), BTreeMap::new());
    Operate { resource, operation, parameters, secrets, turn }
}

/// The operation of `Do`: one that the package defines itself.
fn own(name: &str) -> Result<Operation, Refusal> {
    check::name("operation", name)?;
    match Operation::from_word(name) {
        own @ Operation::Own(_) => Ok(own),
        standard => Err(Refusal::field("operation", format!("`{standard}` has a method of its own"))),
    }
}

#[async_trait]
impl v1::resources_server::Resources for Api {
    async fn install(&self, request: Request<v1::InstallRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Install", request)?;
        let ask = Install {
            server: m.server,
            package: m.package,
            name: m.name,
            parameters: m.parameters,
            secrets: m.secrets,
            turn: self.turn(m.queue_limit_s, m.priority)?,
            with_requirements: m.with_requirements,
        };
        self.checked_install(&ask)?;
        sight.server(&ask.server).await?;
        if m.dry_run {
            return self.planned(self.engine().plan_install(asked, ask).await);
        }
        self.commanded(self.engine().install(asked, ask).await)
    }

    async fn adopt(&self, request: Request<v1::AdoptRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Adopt", request)?;
        let ask = Install {
            server: m.server,
            package: m.package,
            name: m.name,
            parameters: m.parameters,
            secrets: m.secrets,
            turn: self.turn(m.queue_limit_s, m.priority)?,
            with_requirements: false,
        };
        self.checked_install(&ask)?;
        sight.server(&ask.server).await?;
        self.commanded(self.engine().adopt(asked, ask).await)
    }

    async fn update(&self, request: Request<v1::UpdateResourceRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Update", request)?;
        self.checked_path(&m.resource)?;
        sight.resource(&m.resource).await?;
        self.checked_values(&m.parameters, &m.secrets)?;
        let ask = Operate {
            resource: m.resource,
            operation: Operation::Update,
            parameters: m.parameters,
            secrets: m.secrets,
            turn: self.turn(m.queue_limit_s, m.priority)?,
        };
        self.operate(asked, ask, m.dry_run).await
    }

    async fn remove(&self, request: Request<v1::RemoveResourceRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Remove", request)?;
        self.checked_path(&m.resource)?;
        sight.resource(&m.resource).await?;
        self.checked_values(&m.parameters, &BTreeMap::new())?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        if m.dry_run {
            return self.planned(self.engine().plan_remove(asked, m.resource, m.parameters, turn).await);
        }
        self.commanded(self.engine().remove(asked, m.resource, m.parameters, turn).await)
    }

    async fn pause(&self, request: Request<v1::PauseResourceRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Pause", request)?;
        self.checked_path(&m.resource)?;
        sight.resource(&m.resource).await?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.operate(asked, plain(m.resource, Operation::Pause, turn), false).await
    }

    async fn resume(&self, request: Request<v1::ResumeResourceRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Resume", request)?;
        self.checked_path(&m.resource)?;
        sight.resource(&m.resource).await?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.operate(asked, plain(m.resource, Operation::Resume, turn), false).await
    }

    async fn retry(&self, request: Request<v1::RetryResourceRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Retry", request)?;
        self.checked_path(&m.resource)?;
        sight.resource(&m.resource).await?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.commanded(self.engine().retry(asked, m.resource, turn).await)
    }

    async fn probe(&self, request: Request<v1::ProbeResourceRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Probe", request)?;
        self.checked_path(&m.resource)?;
        sight.resource(&m.resource).await?;
        self.commanded(self.engine().probe_resource(asked, m.resource).await)
    }

    async fn r#do(&self, request: Request<v1::DoRequest>) -> Commanded {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Resources.Do", request)?;
        self.checked_path(&m.resource)?;
        sight.resource(&m.resource).await?;
        let operation = own(&m.operation).map_err(|r| self.refuse(r))?;
        self.checked_values(&m.parameters, &BTreeMap::new())?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        let ask = Operate { parameters: m.parameters, ..plain(m.resource, operation, turn) };
        self.operate(asked, ask, m.dry_run).await
    }

    async fn get(&self, request: Request<v1::GetResourceRequest>) -> Result<Response<v1::Resource>, Status> {
        let sight = self.sight(&request)?;
        let path = request.into_inner().resource;
        self.checked_path(&path)?;
        sight.resource(&path).await?;
        let mut reader = self.engine().store().read().await.map_err(|e| self.refuse(e))?;
        let resource = targets::find_resource(&mut reader.db(), &path).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(convert::resource(&resource)))
    }

    async fn list(
        &self,
        request: Request<v1::ListResourcesRequest>,
    ) -> Result<Response<v1::ListResourcesResponse>, Status> {
        let sight = self.sight(&request)?;
        self.list_resources(&sight, request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }
}
