//! Begins what a stage does: the commands that everyone uses, within the unit of the stage.

use std::collections::BTreeMap;

use super::super::{Answer, Asked, Engine, Install, Operate, Refusal, targets};
use super::gate::Names;
use super::scripts;
use crate::auth::Verb;
use crate::domain::enrollment::{Enrollment, Event, Work};
use crate::domain::id::RunId;
use crate::domain::lifecycle::{Action, CALLS, Given, Stage, Target, Then};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::ResourceStatus;
use crate::domain::turn::Turn;
use crate::store::Unit;

/// What came of beginning.
pub(super) enum Begun {
    /// This happened to the enrollment.
    Event(Event),
    /// There was nothing to do: it is as it should be.
    Nothing,
}

/// A resource by what people call it.
struct Place {
    server: String,
    package: String,
    name: String,
}

impl Place {
    fn path(&self) -> String {
        format!("{}/{}/{}", self.server, self.package, self.name)
    }
}

/// One execution of the stage is one attempt of its run.
fn once() -> Turn {
    Turn { attempts: Some(1), ..Turn::default() }
}

impl Engine {
    /// Begins the action of a stage. A refusal has written nothing.
    pub(super) async fn act(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        stage: &Stage,
        names: &Names,
    ) -> Result<Begun, Refusal> {
        let until = unit.now() + stage.max_wait;
        let run = match &stage.action {
            Action::Approval { .. } => return Ok(Begun::Event(Event::Began(Work::Approval { until }))),
            Action::Webhook { .. } => {
                return Ok(Begun::Event(Event::Offered { queue: CALLS.to_owned(), until }));
            }
            Action::Work { queue, .. } => {
                // Workers who put it off again and again do not make its time longer, unless it goes on all the same.
                let anew = stage.then == Then::GoOn && enrollment.waited_out(stage.max_wait, unit.now());
                let since = enrollment.waits_since.filter(|_| !anew);
                let until = since.map_or(until, |since| since + stage.max_wait);
                return Ok(Begun::Event(Event::Offered { queue: queue.clone(), until }));
            }
            Action::Operation { operation, target, set } => {
                let place = place(target, names)?;
                let set = resolved(set, names);
                self.operation(unit, enrollment, operation, &place, set).await?
            }
            Action::Script { script, user, server } => {
                let server = server_of(server.as_ref(), names)?;
                let name = scripts::name(enrollment);
                let place = Place { server, package: scripts::STAGE_SCRIPT.to_owned(), name };
                let set = scripts::parameters(enrollment, script, user);
                self.put(unit, enrollment, &place, set, true).await?
            }
        };
        Ok(run.map_or(Begun::Nothing, |run| Begun::Event(Event::Began(Work::Run { run }))))
    }

    /// Asks for a probe of the resource that a gate names; answers the run.
    pub(super) async fn look(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        target: &Target,
        names: &Names,
    ) -> Result<RunId, Refusal> {
        let path = place(target, names)?.path();
        run_of(&self.probe_told_within(unit, asked(enrollment), path, scripts::told(enrollment)).await?)
    }

    async fn operation(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        operation: &Operation,
        place: &Place,
        set: Params,
    ) -> Result<Option<RunId>, Refusal> {
        let asked = asked(enrollment);
        let answer = match operation {
            Operation::Install => return self.put(unit, enrollment, place, set, false).await,
            Operation::Probe => self.probe_within(unit, asked, place.path()).await?,
            Operation::Remove => {
                let server = targets::find_server(unit, &place.server).await?;
                let found = unit.resource_by_path(server.id, &place.package, &place.name).await?;
                let Some(found) = found else { return Ok(None) };
                // A removal would cancel what is queued before it looks at the rest.
                if let Some(run) = found.open_run {
                    return Err(Refusal::busy(run));
                }
                self.remove_within(unit, asked, place.path(), set, once()).await?
            }
            operation => {
                let ask = operate(place.path(), operation.clone(), set);
                self.operate_within(unit, asked, ask).await?
            }
        };
        run_of(&answer).map(Some)
    }

    /// Puts a resource where it should be: installs it, installs it again when that had failed, or gives it its parameters. `anew`: an
    /// install that had failed is done with the new parameters, too.
    async fn put(
        &self,
        unit: &mut Unit<'_>,
        enrollment: &Enrollment,
        place: &Place,
        set: Params,
        anew: bool,
    ) -> Result<Option<RunId>, Refusal> {
        let server = targets::find_server(unit, &place.server).await?;
        let found = unit.resource_by_path(server.id, &place.package, &place.name).await?;
        let asked = asked(enrollment);
        let answer = match found {
            None => {
                let ask = Install {
                    server: place.server.clone(),
                    package: place.package.clone(),
                    name: place.name.clone(),
                    parameters: set,
                    secrets: BTreeMap::new(),
                    turn: once(),
                    with_requirements: false,
                };
                self.install_within(unit, asked, ask).await?
            }
            Some(there) if there.status == ResourceStatus::Failed && there.applied.is_none() && !anew => {
                self.retry_within(unit, asked, place.path(), set, once()).await?
            }
            Some(_) => {
                self.operate_within(unit, asked, operate(place.path(), Operation::Update, set)).await?
            }
        };
        run_of(&answer).map(Some)
    }
}

fn operate(resource: String, operation: Operation, parameters: Params) -> Operate {
    Operate { resource, operation, parameters, secrets: BTreeMap::new(), turn: once() }
}

/// What a stage does is done for whoever enrolled the subject. What begins for an enrollment has a number of its own.
fn asked(enrollment: &Enrollment) -> Asked {
    Asked {
        principal: enrollment.principal.clone(),
        method: "Lifecycles.Stage",
        request_id: format!("{}.{}", enrollment.id, enrollment.work_no),
        digest: String::new(),
        peer: String::new(),
        verb: Verb::Operate,
    }
}

fn run_of(answer: &Answer) -> Result<RunId, Refusal> {
    let id = answer.run.as_ref().and_then(|run| run.id.parse().ok());
    id.ok_or_else(|| Refusal::Internal("an accepted command has no run".to_owned()))
}

fn value(given: &Given, names: &Names) -> Option<String> {
    match given {
        Given::Fixed(text) => Some(text.clone()),
        Given::From(expression) => expression.value(&names.values).text(),
    }
}

fn needed(what: &str, given: &Given, names: &Names) -> Result<String, Refusal> {
    value(given, names).ok_or_else(|| {
        let from = match given {
            Given::Fixed(text) => text.clone(),
            Given::From(expression) => expression.to_string(),
        };
        Refusal::field(what, format!("`{from}` has no value"))
    })
}

/// Values of parameters. One that an expression does not give is left to the package.
fn resolved(set: &BTreeMap<String, Given>, names: &Names) -> Params {
    let value = |(name, given): (&String, &Given)| Some((name.clone(), value(given, names)?));
    set.iter().filter_map(value).collect()
}

fn server_of(given: Option<&Given>, names: &Names) -> Result<String, Refusal> {
    match (given, &names.server) {
        (Some(given), _) => needed("server", given, names),
        (None, Some(server)) => Ok(server.name.clone()),
        (None, None) => {
            Err(Refusal::field("server", "the subject is on no server, and the stage does not name one"))
        }
    }
}

fn place(target: &Target, names: &Names) -> Result<Place, Refusal> {
    let Some(package) = &target.package else {
        let gone =
            || Refusal::field("package", "the subject is no resource, and the stage does not name one");
        let resource = names.resource.as_ref().ok_or_else(gone)?;
        return Ok(Place {
            server: resource.server_name.clone(),
            package: resource.package.clone(),
            name: resource.name.clone(),
        });
    };
    let server = server_of(target.server.as_ref(), names)?;
    let name = match &target.name {
        Some(given) => needed("name", given, names)?,
        None => package.clone(),
    };
    Ok(Place { server, package: package.clone(), name })
}
