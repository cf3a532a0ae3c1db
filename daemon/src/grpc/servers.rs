//! The service `Servers`.

use settled_proto::v1;
use tonic::{Request, Response, Status, async_trait};

use super::pages::Page;
use super::sight::Sight;
use super::{Api, check, convert, traced};
use crate::engine::{AddServer, Answer, EditPolicy, EditServer, Login, Refusal, targets};

/// The way to log in that is meant; `None` when none is said. An empty key is the ssh-agent.
fn login(identity: i32, key: Option<Vec<u8>>) -> Result<Option<Login>, Refusal> {
    use v1::IdentityKind as Kind;
    let kind: Kind = check::word("identity", identity)?;
    match (kind, key) {
        (Kind::Unspecified, None) => Ok(None),
        (Kind::Unspecified | Kind::Key, Some(key)) if !key.is_empty() => Ok(Some(Login::Key(key))),
        (Kind::Key, _) => {
            Err(Refusal::field("identity_key", "is missing: give the key, or another identity"))
        }
        (_, Some(key)) if !key.is_empty() => {
            Err(Refusal::field("identity", "does not go with an identity_key: give one of the two"))
        }
        (Kind::Unspecified | Kind::Agent, _) => Ok(Some(Login::Agent)),
        (Kind::Installation, _) => Ok(Some(Login::Installation)),
    }
}

impl Api {
    async fn create_server(
        &self,
        request: Request<v1::CreateServerRequest>,
    ) -> Result<v1::CreateServerResponse, Status> {
        let (asked, m) = self.asked("Servers.Create", request)?;
        self.named_via(&m.via)?;
        let key = Some(m.identity_key).filter(|key| !key.is_empty());
        let login = login(m.identity, key).map_err(|r| self.refuse(r))?.unwrap_or(Login::Agent);
        let ask = AddServer {
            name: m.name,
            host: m.host,
            port: m.port,
            user: m.user,
            host_key: m.host_key,
            login,
            labels: m.labels,
            via: m.via,
            policy: EditPolicy {
                time_zone: Some(m.time_zone),
                windows: Some(m.windows),
                repair_dpkg: Some(m.repair_dpkg),
            },
        };
        let answer = self.engine().add_server(asked, ask).await.map_err(|r| self.refuse(r))?;
        let run = self.run_of(&answer)?;
        Ok(v1::CreateServerResponse { server: Some(self.server_of(answer)?), run: Some(run) })
    }

    async fn list_servers(
        &self,
        sight: &Sight,
        m: v1::ListServersRequest,
    ) -> Result<v1::ListServersResponse, Refusal> {
        let list = ("Servers.List", &v1::ListServersRequest::default());
        let page = Page::seen_by(sight, self.engine(), list, m.page_size, &m.page_token)?;
        let mut reader = self.engine().store().read().await?;
        let (mut scan, mut seen) = (page.scan(sight), Vec::new());
        while scan.goes_on(seen.len()) {
            let rows = reader.db().servers(&scan.after, scan.limit).await?;
            scan.has_read(&rows, |server| server.name.clone());
            seen.extend(rows.iter().filter(|server| sight.covers_server(server)).map(convert::server));
        }
        let (servers, next) = page.cut(seen, |s: &v1::Server| &s.name);
        Ok(v1::ListServersResponse { servers, next_page_token: page.after_scan(next, &scan) })
    }

    fn server_of(&self, answer: Answer) -> Result<v1::Server, Status> {
        let row = answer
            .server
            .ok_or_else(|| self.refuse(Refusal::Internal("no server in the answer".to_owned())))?;
        convert::server_row(row).map_err(|e| self.refuse(e))
    }

    /// The server of an edit, after which it may have to be met anew.
    fn edited(&self, answer: Answer) -> Result<Response<v1::Server>, Status> {
        if let Some(run) = &answer.run {
            traced::asked_for(&run.id);
        }
        self.server_of(answer).map(Response::new)
    }

    /// The run of a command's answer.
    pub(super) fn run_of(&self, answer: &Answer) -> Result<v1::Run, Status> {
        let row = answer.run.as_ref();
        let row = row.ok_or_else(|| self.refuse(Refusal::Internal("no run in the answer".to_owned())))?;
        traced::asked_for(&row.id);
        convert::run_as_stored(row, None).map_err(|e| self.refuse(e))
    }

    fn named_server(&self, name: &str) -> Result<(), Status> {
        check::name("server", name).map_err(|r| self.refuse(r))
    }

    /// A jump host may be left out.
    fn named_via(&self, name: &str) -> Result<(), Status> {
        if name.is_empty() { Ok(()) } else { check::name("via", name).map_err(|r| self.refuse(r)) }
    }

    async fn force_unlock_server(
        &self,
        request: Request<v1::ForceUnlockServerRequest>,
    ) -> Result<v1::ForceUnlockServerResponse, Status> {
        let (asked, m) = self.asked("Servers.ForceUnlock", request)?;
        self.named_server(&m.server)?;
        let mut answer =
            self.engine().unlock_server(asked, m.server, m.reason).await.map_err(|r| self.refuse(r))?;
        let step_ids = std::mem::take(&mut answer.ids);
        Ok(v1::ForceUnlockServerResponse { server: Some(self.server_of(answer)?), step_ids })
    }
}

#[async_trait]
impl v1::servers_server::Servers for Api {
    async fn create(
        &self,
        request: Request<v1::CreateServerRequest>,
    ) -> Result<Response<v1::CreateServerResponse>, Status> {
        self.create_server(request).await.map(Response::new)
    }

    async fn get(&self, request: Request<v1::GetServerRequest>) -> Result<Response<v1::Server>, Status> {
        let sight = self.sight(&request)?;
        let name = request.into_inner().server;
        self.named_server(&name)?;
        sight.server(&name).await?;
        let mut reader = self.engine().store().read().await.map_err(|e| self.refuse(e))?;
        let server = targets::find_server(&mut reader.db(), &name).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(convert::server(&server)))
    }

    async fn list(
        &self,
        request: Request<v1::ListServersRequest>,
    ) -> Result<Response<v1::ListServersResponse>, Status> {
        let sight = self.sight(&request)?;
        self.list_servers(&sight, request.into_inner()).await.map(Response::new).map_err(|r| self.refuse(r))
    }

    async fn update(
        &self,
        request: Request<v1::UpdateServerRequest>,
    ) -> Result<Response<v1::Server>, Status> {
        let (asked, m) = self.asked("Servers.Update", request)?;
        self.named_server(&m.server)?;
        self.named_via(m.via.as_deref().unwrap_or_default())?;
        let login = login(m.identity, m.identity_key).map_err(|r| self.refuse(r))?;
        let policy = EditPolicy {
            time_zone: m.time_zone,
            windows: m.windows.map(|some| some.windows),
            repair_dpkg: m.repair_dpkg,
        };
        let ask = EditServer {
            server: m.server,
            host: m.host,
            port: m.port,
            user: m.user,
            login,
            via: m.via,
            policy,
            set_labels: m.set_labels,
            remove_labels: m.remove_labels,
        };
        let answer = self.engine().edit_server(asked, ask).await.map_err(|r| self.refuse(r))?;
        self.edited(answer)
    }

    async fn rekey(&self, request: Request<v1::RekeyServerRequest>) -> Result<Response<v1::Server>, Status> {
        let (asked, m) = self.asked("Servers.Rekey", request)?;
        self.named_server(&m.server)?;
        let answer =
            self.engine().rekey_server(asked, m.server, m.host_key).await.map_err(|r| self.refuse(r))?;
        self.edited(answer)
    }

    async fn takeover(
        &self,
        request: Request<v1::TakeoverServerRequest>,
    ) -> Result<Response<v1::Server>, Status> {
        let (asked, m) = self.asked("Servers.Takeover", request)?;
        self.named_server(&m.server)?;
        let answer =
            self.engine().take_over_server(asked, m.server, m.force).await.map_err(|r| self.refuse(r))?;
        self.server_of(answer).map(Response::new)
    }

    async fn force_unlock(
        &self,
        request: Request<v1::ForceUnlockServerRequest>,
    ) -> Result<Response<v1::ForceUnlockServerResponse>, Status> {
        self.force_unlock_server(request).await.map(Response::new)
    }

    async fn probe(&self, request: Request<v1::ProbeServerRequest>) -> Result<Response<v1::Run>, Status> {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Servers.Probe", request)?;
        self.named_server(&m.server)?;
        sight.server(&m.server).await?;
        let answer = self.engine().probe_server(asked, m.server).await.map_err(|r| self.refuse(r))?;
        self.run_of(&answer).map(Response::new)
    }

    async fn pause(&self, request: Request<v1::PauseServerRequest>) -> Result<Response<v1::Server>, Status> {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Servers.Pause", request)?;
        self.named_server(&m.server)?;
        sight.server(&m.server).await?;
        let answer = self.engine().pause_server(asked, m.server).await.map_err(|r| self.refuse(r))?;
        self.server_of(answer).map(Response::new)
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeServerRequest>,
    ) -> Result<Response<v1::Server>, Status> {
        let sight = self.sight(&request)?;
        let (asked, m) = self.asked("Servers.Resume", request)?;
        self.named_server(&m.server)?;
        sight.server(&m.server).await?;
        let answer = self.engine().resume_server(asked, m.server).await.map_err(|r| self.refuse(r))?;
        self.server_of(answer).map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteServerRequest>,
    ) -> Result<Response<v1::DeleteServerResponse>, Status> {
        let (asked, m) = self.asked("Servers.Delete", request)?;
        self.named_server(&m.server)?;
        let answer =
            self.engine().remove_server(asked, m.server, m.forget).await.map_err(|r| self.refuse(r))?;
        Ok(Response::new(v1::DeleteServerResponse { forgotten_resource_ids: answer.ids }))
    }
}
