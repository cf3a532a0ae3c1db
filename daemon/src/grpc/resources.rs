//! The service `Resources`.

use std::collections::BTreeMap;

use settled_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::pages::Page;
use super::{Api, asked, check, convert};
use crate::domain::operation::Operation;
use crate::domain::turn::Turn;
use crate::engine::{Answer, Install, Operate, Refusal, targets};
use crate::store::queries::ResourceFilter;

type Commanded = Result<Response<v1::CommandResponse>, Status>;

impl Api {
    async fn dry_install(&self, ask: Install, principal: &str) -> Result<v1::CommandResponse, Refusal> {
        let (resource, step_titles) = self.engine().plan_install(ask).await?;
        let run = v1::Run {
            server_id: resource.server.to_string(),
            server: resource.server_name.clone(),
            resource: resource.name.clone(),
            package: resource.package.clone(),
            operation: Operation::Install.to_string(),
            exclusive: true,
            state: v1::RunState::Queued.into(),
            principal: principal.to_owned(),
            summary: "A dry run: checked and planned, nothing was stored.".to_owned(),
            step_titles,
            ..v1::Run::default()
        };
        let resource = v1::Resource { id: String::new(), ..convert::resource(&resource) };
        Ok(v1::CommandResponse { resource: Some(resource), run: Some(run) })
    }

    async fn operate(&self, asked: crate::engine::Asked, ask: Operate) -> Commanded {
        check::path("resource", &ask.resource).map_err(|r| self.refuse(r))?;
        self.commanded(self.engine().operate(asked, ask).await)
    }

    fn commanded(&self, answer: Result<Answer, Refusal>) -> Commanded {
        let answer = answer.map_err(|r| self.refuse(r))?;
        let run = self.run_of(&answer)?;
        let resource = answer.resource.map(convert::resource_row).transpose().map_err(|e| self.refuse(e))?;
        Ok(Response::new(v1::CommandResponse { resource, run: Some(run) }))
    }

    async fn list_resources(
        &self,
        m: v1::ListResourcesRequest,
    ) -> Result<v1::ListResourcesResponse, Refusal> {
        let status: v1::ResourceStatus = check::word("status", m.status)?;
        if !m.package.is_empty() {
            check::name("package", &m.package)?;
        }
        let list = v1::ListResourcesRequest { page_size: 0, page_token: String::new(), ..m.clone() };
        let page = Page::new(self.engine(), "Resources.List", &list, m.page_size, &m.page_token)?;
        let mut reader = self.engine().store().read().await?;
        let mut db = reader.db();
        let server = if m.server.is_empty() {
            None
        } else {
            check::name("server", &m.server)?;
            Some(targets::find_server(&mut db, &m.server).await?.id)
        };
        let package = Some(m.package).filter(|name| !name.is_empty());
        let filter = ResourceFilter { server, package, status: convert::status_word(status) };
        let rows = db.resources(&filter, &page.after, page.limit()).await?;
        let (resources, next_page_token) =
            page.cut(rows.iter().map(convert::resource).collect(), |r: &v1::Resource| &r.id);
        Ok(v1::ListResourcesResponse { resources, next_page_token })
    }

    fn checked_path(&self, path: &str) -> Result<(), Status> {
        check::path("resource", path).map_err(|r| self.refuse(r))
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
        let principal = asked::principal(&request)?.name.clone();
        let (asked, m) = self.asked("Resources.Install", request)?;
        self.checked_values(&m.parameters, &m.secrets)?;
        if !m.server.is_empty() {
            check::name("server", &m.server).map_err(|r| self.refuse(r))?;
        }
        if !m.package.is_empty() {
            check::name("package", &m.package).map_err(|r| self.refuse(r))?;
        }
        let ask = Install {
            server: m.server,
            package: m.package,
            name: m.name,
            parameters: m.parameters,
            secrets: m.secrets,
            turn: self.turn(m.queue_limit_s, m.priority)?,
        };
        if m.dry_run {
            return self.dry_install(ask, &principal).await.map(Response::new).map_err(|r| self.refuse(r));
        }
        self.commanded(self.engine().install(asked, ask).await)
    }

    async fn update(&self, request: Request<v1::UpdateResourceRequest>) -> Commanded {
        let (asked, m) = self.asked("Resources.Update", request)?;
        self.checked_values(&m.parameters, &m.secrets)?;
        let ask = Operate {
            resource: m.resource,
            operation: Operation::Update,
            parameters: m.parameters,
            secrets: m.secrets,
            turn: self.turn(m.queue_limit_s, m.priority)?,
        };
        self.operate(asked, ask).await
    }

    async fn remove(&self, request: Request<v1::RemoveResourceRequest>) -> Commanded {
        let (asked, m) = self.asked("Resources.Remove", request)?;
        self.checked_path(&m.resource)?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.commanded(self.engine().remove(asked, m.resource, turn).await)
    }

    async fn pause(&self, request: Request<v1::PauseResourceRequest>) -> Commanded {
        let (asked, m) = self.asked("Resources.Pause", request)?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.operate(asked, plain(m.resource, Operation::Pause, turn)).await
    }

    async fn resume(&self, request: Request<v1::ResumeResourceRequest>) -> Commanded {
        let (asked, m) = self.asked("Resources.Resume", request)?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.operate(asked, plain(m.resource, Operation::Resume, turn)).await
    }

    async fn retry(&self, request: Request<v1::RetryResourceRequest>) -> Commanded {
        let (asked, m) = self.asked("Resources.Retry", request)?;
        self.checked_path(&m.resource)?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.commanded(self.engine().retry(asked, m.resource, turn).await)
    }

    async fn probe(&self, request: Request<v1::ProbeResourceRequest>) -> Commanded {
        let (asked, m) = self.asked("Resources.Probe", request)?;
        self.checked_path(&m.resource)?;
        self.commanded(self.engine().probe_resource(asked, m.resource).await)
    }

    async fn r#do(&self, request: Request<v1::DoRequest>) -> Commanded {
        let (asked, m) = self.asked("Resources.Do", request)?;
        let operation = own(&m.operation).map_err(|r| self.refuse(r))?;
        let turn = self.turn(m.queue_limit_s, m.priority)?;
        self.operate(asked, plain(m.resource, operation, turn)).await
    }

    async fn get(&self, request: Request<v1::GetResourceRequest>) -> Result<Response<v1::Resource>, Status> {
        let path = request.into_inner().resource;
        self.checked_path(&path)?;
        let mut reader = self.engine().store().read().await.map_err(|e| self.refuse(e))?;
        let resource = targets::find_resource(&mut reader.db(), &path).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(convert::resource(&resource)))
    }

    async fn list(
        &self,
        request: Request<v1::ListResourcesRequest>,
    ) -> Result<Response<v1::ListResourcesResponse>, Status> {
        self.list_resources(request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }
}
