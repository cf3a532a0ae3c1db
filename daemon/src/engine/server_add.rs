//! A new server: the record is `pending`, and the run that connects to it is queued. Also what that run learns.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Answer, Asked, EditPolicy, Engine, LaneError, LaneHold, Login, Refusal, targets, valid, way};
use crate::domain::failure::Failure;
use crate::domain::id::{RunId, ServerId};
use crate::domain::operation::Operation;
use crate::domain::run::{Event, Run, Subject};
use crate::domain::server::{Policy, Reach, Server, ServerStatus};
use crate::domain::step::StepState;
use crate::domain::verdict::{Outcome, Reason};
use crate::store::rows::ServerRow;
use crate::store::{Command, StoreError, Unit, Wants};

/// Asks for a new server.
#[derive(Debug, Clone)]
pub struct AddServer {
    /// Its name.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// TCP port; 0 means 22.
    pub port: u32,
    /// Login user; empty means root.
    pub user: String,
    /// Pinned host key; empty refuses every key and tells which one was shown.
    pub host_key: String,
    /// How to log in.
    pub login: Login,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Name or id of its jump host; empty: it is reached directly.
    pub via: String,
    /// What is allowed on it, beyond the default.
    pub policy: EditPolicy,
}

struct AddServerCommand {
    engine: Engine,
    asked: Asked,
    ask: AddServer,
    port: u16,
    id: ServerId,
}

impl AddServer {
    fn check(&mut self) -> Result<u16, Refusal> {
        if self.user.is_empty() {
            "root".clone_into(&mut self.user);
        }
        if self.port == 0 {
            self.port = 22;
        }
        let mut problems = valid::Problems::default();
        problems.check("name", valid::server_name(&self.name));
        problems.check("host", valid::host(&self.host));
        problems.check("user", valid::user(&self.user));
        problems.check("host_key", valid::host_key(&self.host_key));
        problems.check("labels", valid::labels(&self.labels));
        self.policy.check(&mut problems);
        if let Login::Key(key) = &self.login {
            problems.check("identity_key", valid::identity(key));
        }
        let port = valid::port(self.port);
        problems.check("port", port.clone().map(drop));
        problems.into_result()?;
        port.map_err(|message| Refusal::field("port", message))
    }
}

impl Engine {
    /// Registers a server.
    pub async fn add_server(&self, asked: Asked, mut ask: AddServer) -> Result<Answer, Refusal> {
        asked.check()?;
        let port = ask.check()?;
        let id = ServerId(self.clock().ulid());
        self.writer().commit(AddServerCommand { engine: self.clone(), asked, ask, port, id }).await
    }
}

#[async_trait]
impl Command for AddServerCommand {
    type Answer = Answer;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let via = way::through(unit, &self.ask.name, &self.ask.via).await?;
        let mut server = self.server(unit, via)?;
        match unit.insert_server(&mut server).await {
            Err(StoreError::Duplicate(_)) => {
                let found = unit.server_by_name(&server.name).await?;
                let message = format!(
                    "there is a server `{}` already: change it with `settlectl server edit`",
                    server.name
                );
                return Err(Refusal::Exists {
                    what: "server",
                    id: found.map_or_else(String::new, |s| s.id.to_string()),
                    message,
                });
            }
            other => other?,
        }
        if let Login::Key(key) = &self.ask.login {
            let identity = BTreeMap::from([(targets::IDENTITY.to_owned(), key.clone())]);
            self.engine.put_secrets(unit, &server.id.to_string(), &identity).await?;
        }
        let new = self.engine.reading(
            Subject::Server,
            server.id,
            &server.name,
            Operation::Register,
            &self.asked.principal,
        );
        let mut run = self.engine.new_run(unit, new);
        unit.insert_run(&mut run).await?;
        let mut answer = Engine::answer(None, &run);
        answer.server = Some(ServerRow::from(&server));
        self.asked.keep(unit, &answer, server.name.clone()).await?;
        unit.call(server.id);
        Ok(answer)
    }
}

impl AddServerCommand {
    fn server(&self, unit: &Unit<'_>, via: Option<String>) -> Result<Server, Refusal> {
        let mut policy = Policy::default();
        self.ask.policy.apply(&mut policy)?;
        Ok(Server {
            id: self.id,
            name: self.ask.name.clone(),
            host: self.ask.host.clone(),
            port: self.port,
            user: self.ask.user.clone(),
            host_key: self.ask.host_key.clone(),
            identity: self.ask.login.kind(),
            via,
            labels: self.ask.labels.clone(),
            policy,
            status: ServerStatus::Pending,
            reach: Reach::Ok,
            reach_detail: String::new(),
            held: None,
            last_seen: None,
            last_error: None,
            facts: BTreeMap::new(),
            created_at: unit.now(),
            updated_at: unit.now(),
            version: 1,
            seq: 0,
        })
    }
}

/// What a server told at first contact.
struct Met {
    engine: Engine,
    hold: LaneHold,
    run: RunId,
    facts: BTreeMap<String, String>,
}

#[async_trait]
impl Command for Met {
    type Answer = Run;
    type Refusal = LaneError;

    fn wants(&self, wants: &mut Wants) {
        wants.lane(self.hold.server);
        wants.run(self.run);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Run, LaneError> {
        unit.hold_lane(self.hold.server, self.engine.me(), self.hold.epoch).await?;
        let run = unit.run(self.run).await?.ok_or(LaneError::Lost)?;
        let step = run.live_step().ok_or(LaneError::Lost)?;
        let mut server = unit.server(run.server).await?.ok_or(LaneError::Lost)?;
        let twin = match self.facts.get("machine_id") {
            Some(machine) => {
                unit.db().await?.server_by_machine(machine).await?.filter(|other| other.id != server.id)
            }
            None => None,
        };
        let event = match &twin {
            None => Event::Answered,
            Some(twin) => {
                Event::Refused(Outcome::Failed, Reason::Refused, same_machine(&run, &server, twin, unit))
            }
        };
        let now = unit.now();
        let mut run = run.apply(event, now, self.engine.timings())?;
        match &twin {
            None => {
                server.facts.clone_from(&self.facts);
                server.last_seen = Some(now);
                found(&mut server, Reach::Ok, String::new());
            }
            // Two lanes for one machine would not know of each other.
            Some(twin) => {
                let detail = same_machine_as(&server, twin);
                found(&mut server, Reach::Refused, detail);
            }
        }
        unit.update_server(&mut server).await?;
        self.engine.write_run(unit, &mut run, None).await?;
        let mut record = unit.step(step).await?.ok_or(LaneError::Lost)?;
        record.state = StepState::Exited;
        record.exit_code = Some(i32::from(twin.is_some()));
        record.ended_at = Some(now);
        unit.update_step(&mut record).await?;
        Ok(run)
    }
}

/// A pause is a person's word: what the server says does not end it.
fn found(server: &mut Server, reach: Reach, detail: String) {
    if server.reach != Reach::Paused {
        (server.reach, server.reach_detail) = (reach, detail);
    }
}

fn same_machine(run: &Run, server: &Server, twin: &Server, unit: &Unit<'_>) -> Failure {
    Failure {
        step: String::new(),
        exit_code: None,
        message: same_machine_as(server, twin),
        last_lines: String::new(),
        run: run.id,
        at: unit.now(),
    }
}

fn same_machine_as(server: &Server, twin: &Server) -> String {
    format!(
        "this machine is registered already, as `{}` ({}:{}): use that server, and remove this second record \
         (`settlectl server remove {}`)",
        twin.name, twin.host, twin.port, server.name
    )
}

impl Engine {
    /// Stores what a server told of itself, and ends the run that asked. A machine that is registered already fails it.
    pub async fn met_server(
        &self,
        hold: LaneHold,
        run: RunId,
        facts: BTreeMap<String, String>,
    ) -> Result<Run, LaneError> {
        self.writer().commit(Met { engine: self.clone(), hold, run, facts }).await
    }
}
