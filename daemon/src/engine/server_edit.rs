//! Changes how a server is reached and what is allowed there, pins another host key, pauses it, ends its pause. Another way to it and
//! another key clear `refused`, and have the server met again before work goes on.

use async_trait::async_trait;
use std::collections::BTreeMap;

use super::{Answer, Asked, EditPolicy, Engine, Refusal, targets, valid, way};
use crate::domain::operation::Operation;
use crate::domain::run::Subject;
use crate::domain::server::{IdentityKind, Reach, Server};
use crate::store::rows::{RunRow, ServerRow};
use crate::store::{Command, Unit};

/// Changes how a server is reached, and what is allowed there. What is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct EditServer {
    /// Name or id.
    pub server: String,
    /// New host.
    pub host: Option<String>,
    /// New port.
    pub port: Option<u32>,
    /// New login user.
    pub user: Option<String>,
    /// New way to log in.
    pub login: Option<Login>,
    /// Name or id of the new jump host; empty: it is reached directly.
    pub via: Option<String>,
    /// What is allowed there from now on.
    pub policy: EditPolicy,
    /// Labels to set.
    pub set_labels: BTreeMap<String, String>,
    /// Labels to take off, by key.
    pub remove_labels: Vec<String>,
}

/// A way to log in.
#[derive(Debug, Clone)]
pub enum Login {
    /// With this private key.
    Key(Vec<u8>),
    /// With the daemon's ssh-agent.
    Agent,
    /// With the installation's own key.
    Installation,
}

impl Login {
    pub(super) const fn kind(&self) -> IdentityKind {
        match self {
            Self::Key(_) => IdentityKind::Key,
            Self::Agent => IdentityKind::Agent,
            Self::Installation => IdentityKind::Installation,
        }
    }
}

enum Change {
    Edit(Box<EditServer>),
    Rekey(String),
    Pause,
    Resume,
}

impl Change {
    /// Who answers there may be another machine after it.
    fn is_of_the_way(&self) -> bool {
        match self {
            Self::Edit(edit) => !edit.leaves_the_way(),
            Self::Rekey(_) => true,
            Self::Pause | Self::Resume => false,
        }
    }
}

struct ChangeServer {
    engine: Engine,
    asked: Asked,
    server: String,
    change: Change,
}

impl EditServer {
    fn check(&self) -> Result<(), Refusal> {
        let mut problems = valid::Problems::default();
        let mut each =
            |field: &str, result: Option<Result<(), String>>| problems.check(field, result.unwrap_or(Ok(())));
        each("host", self.host.as_deref().map(valid::host));
        each("user", self.user.as_deref().map(valid::user));
        each(
            "port",
            self.port.map(|port| {
                if port == 0 { Err("must be 1 to 65535".to_owned()) } else { valid::port(port).map(drop) }
            }),
        );
        if let Some(Login::Key(key)) = &self.login {
            each("identity_key", Some(valid::identity(key)));
        }
        each("set_labels", Some(valid::labels(&self.set_labels)));
        each("remove_labels", Some(valid::label_keys(&self.remove_labels)));
        self.policy.check(&mut problems);
        problems.into_result()
    }

    /// It changes labels, or what is allowed on the server, and nothing else: the way to the server stays as it was found.
    fn leaves_the_way(&self) -> bool {
        let Self { server: _, host, port, user, login, via, policy, set_labels, remove_labels } = self;
        let way = host.is_some() || port.is_some() || user.is_some() || login.is_some() || via.is_some();
        let labels = !(set_labels.is_empty() && remove_labels.is_empty());
        !way && (labels || *policy != EditPolicy::default())
    }

    fn apply_labels(&self, server: &mut Server) -> Result<(), Refusal> {
        server.labels.retain(|key, _| !self.remove_labels.contains(key));
        server.labels.extend(self.set_labels.clone());
        valid::labels(&server.labels).map_err(|message| Refusal::field("set_labels", message))
    }

    fn apply(&self, server: &mut Server) -> Result<(), Refusal> {
        if let Some(host) = &self.host {
            server.host.clone_from(host);
        }
        if let Some(port) = self.port {
            server.port = valid::port(port).map_err(|message| Refusal::field("port", message))?;
        }
        if let Some(user) = &self.user {
            server.user.clone_from(user);
        }
        if let Some(login) = &self.login {
            server.identity = login.kind();
        }
        self.policy.apply(&mut server.policy)?;
        self.apply_labels(server)?;
        if !self.leaves_the_way() {
            trusted_again(server);
        }
        Ok(())
    }
}

/// Whatever it refused may be mended. A pause is a person's word, and stays.
fn trusted_again(server: &mut Server) {
    if server.reach != Reach::Paused {
        server.reach = Reach::Ok;
        server.reach_detail.clear();
    }
}

impl Engine {
    /// Changes how a server is reached.
    pub async fn edit_server(&self, asked: Asked, ask: EditServer) -> Result<Answer, Refusal> {
        ask.check()?;
        let server = ask.server.clone();
        self.change_server(asked, server, Change::Edit(Box::new(ask))).await
    }

    /// Pins another host key.
    pub async fn rekey_server(
        &self,
        asked: Asked,
        server: String,
        host_key: String,
    ) -> Result<Answer, Refusal> {
        if host_key.is_empty() {
            return Err(Refusal::field("host_key", "is missing"));
        }
        valid::host_key(&host_key).map_err(|message| Refusal::field("host_key", message))?;
        self.change_server(asked, server, Change::Rekey(host_key)).await
    }

    /// Lets nothing new start on a server.
    pub async fn pause_server(&self, asked: Asked, server: String) -> Result<Answer, Refusal> {
        self.change_server(asked, server, Change::Pause).await
    }

    /// Lets work start again.
    pub async fn resume_server(&self, asked: Asked, server: String) -> Result<Answer, Refusal> {
        self.change_server(asked, server, Change::Resume).await
    }

    async fn change_server(&self, asked: Asked, server: String, change: Change) -> Result<Answer, Refusal> {
        asked.check()?;
        let command = ChangeServer { engine: self.clone(), asked, server, change };
        self.writer().commit(command).await
    }
}

#[async_trait]
impl Command for ChangeServer {
    type Answer = Answer;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let mut server = targets::find_server(unit, &self.server).await?;
        let mut detail = String::new();
        match &self.change {
            Change::Edit(edit) => {
                let before = server.policy.clone();
                edit.apply(&mut server)?;
                detail = EditPolicy::told(&before, &server.policy);
                if let Some(via) = &edit.via {
                    server.via = way::through(unit, &server.name, via).await?;
                }
            }
            Change::Rekey(host_key) => {
                let before = if server.host_key.is_empty() { "none" } else { &server.host_key };
                detail = format!("{before} -> {host_key}");
                server.host_key.clone_from(host_key);
                trusted_again(&mut server);
            }
            Change::Pause => {
                server.reach = Reach::Paused;
                server.reach_detail = format!("paused by {}", self.asked.principal);
            }
            Change::Resume => {
                if server.reach != Reach::Paused {
                    return Err(Refusal::not_now(not_paused(&server)));
                }
                server.reach = Reach::Ok;
                server.reach_detail.clear();
            }
        }
        unit.update_server(&mut server).await?;
        if let Change::Edit(edit) = &self.change {
            self.keep_login(unit, &server, edit.login.as_ref()).await?;
        }
        let run =
            if self.change.is_of_the_way() { Some(self.meet_again(unit, &server).await?) } else { None };
        let answer = Answer { server: Some(ServerRow::from(&server)), run, ..Answer::default() };
        self.asked.keep_with(unit, &answer, server.name.clone(), detail).await?;
        unit.call(server.id);
        Ok(answer)
    }
}

impl ChangeServer {
    /// A key that the server does not use any more is forgotten.
    async fn keep_login(
        &self,
        unit: &mut Unit<'_>,
        server: &Server,
        login: Option<&Login>,
    ) -> Result<(), Refusal> {
        let owner = server.id.to_string();
        match login {
            None => Ok(()),
            Some(Login::Key(key)) => {
                let identity = BTreeMap::from([(targets::IDENTITY.to_owned(), key.clone())]);
                self.engine.put_secrets(unit, &owner, &identity).await
            }
            Some(Login::Agent | Login::Installation) => Ok(unit.delete_secrets(&owner).await?),
        }
    }

    /// Who answers there now may be another machine, even one that is registered already: it is met before anything is done there.
    async fn meet_again(&self, unit: &mut Unit<'_>, server: &Server) -> Result<RunRow, Refusal> {
        let principal = &self.asked.principal;
        let new =
            self.engine.reading(Subject::Server, server.id, &server.name, Operation::Register, principal);
        let mut run = self.engine.new_run(unit, new);
        unit.insert_run(&mut run).await?;
        Ok(RunRow::new(&run))
    }
}

fn not_paused(server: &Server) -> String {
    let name = &server.name;
    match server.reach {
        Reach::Refused => format!(
            "{name} is not paused: it refuses ({}); mend that (another host key: `settlectl server rekey {name}`; another way in: \
             `settlectl server edit {name}`), or look again with `settlectl server probe {name}`",
            server.reach_detail
        ),
        _ => format!("{name} is not paused: there is nothing to resume"),
    }
}
