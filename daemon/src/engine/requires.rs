//! Requirements of packages on a server: whether they are there when an operation is accepted and when it begins, which runs bring them,
//! and who keeps them from being taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::accept::{self, Work};
use super::{Engine, Refusal};
use crate::catalog::{Definition, Given};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::requirement;
use crate::domain::resource::{Resource, ResourceStatus};
use crate::domain::run::{Run, RunState};
use crate::domain::server::Server;
use crate::domain::turn::{Priority, Turn};
use crate::store::queries::ResourceFilter;
use crate::store::{Db, StoreError, Unit};

/// Resources of one package on one server that are looked at, at most.
const LOOKED_AT_MAX: i64 = 1_000;

/// A package that is not there, and what there is of it.
struct Missing {
    package: String,
    there: Option<Resource>,
}

impl Missing {
    /// What to do about it.
    fn remedy(&self, server: &str) -> String {
        let package = &self.package;
        let Some(there) = &self.there else {
            return format!("settlectl install {package} --server {server}");
        };
        let path = path_of(there);
        match there.status {
            ResourceStatus::Failed => format!("{path} failed: settlectl retry {path}"),
            ResourceStatus::Removing => format!("{path} is being removed: wait, then install it again"),
            _ => format!("{path} is `{}`, and its run comes later than this one: wait for it", there.status),
        }
    }
}

impl Engine {
    /// Refuses an operation whose requirements are neither there nor on their way in front of it.
    pub(super) async fn check_requirements(
        &self,
        unit: &mut Unit<'_>,
        definition: &Definition,
        operation: &Operation,
        resource: &Resource,
        priority: Priority,
    ) -> Result<(), Refusal> {
        if !requirement::asks(operation) {
            return Ok(());
        }
        let mut missing = Vec::new();
        for package in definition.needs(&resource.desired) {
            missing.extend(missing_of(unit, resource, package, priority).await?);
        }
        refuse(&missing, resource, operation)
    }

    /// The installs that have to come in front of one, so that everything that it requires is there: all that is missing, whatever that
    /// requires included, in the order in which they are to run.
    pub(super) async fn required_installs(
        &self,
        unit: &mut Unit<'_>,
        server: &Server,
        (definition, resource): (&Definition, &Resource),
        turn: Turn,
    ) -> Result<Vec<(Resource, Work)>, Refusal> {
        let needs = |definition: &Definition, desired: &Params| -> Vec<(String, bool)> {
            definition.needs(desired).into_iter().rev().map(|package| (package.to_owned(), false)).collect()
        };
        // A package is met twice: before what it requires, and after it. Nobody requires itself in the end.
        let mut open = needs(definition, &resource.desired);
        let mut found: BTreeMap<String, (Resource, Work)> = BTreeMap::new();
        let mut installs: Vec<(Resource, Work)> = Vec::new();
        while let Some((package, complete)) = open.pop() {
            if complete {
                installs.extend(found.remove(&package));
                continue;
            }
            let known = found.contains_key(&package)
                || installs.iter().any(|(resource, _)| resource.package == package);
            if known {
                continue;
            }
            let Some(missing) = missing_of(unit, resource, &package, turn.priority).await? else { continue };
            let (install, work) = self.default_install(server, &missing, resource, unit, turn)?;
            open.push((package.clone(), true));
            open.extend(needs(&work.definition, &install.desired));
            found.insert(package, (install, work));
        }
        Ok(installs)
    }

    /// An install of a package with the values that it has by default, named like the package.
    fn default_install(
        &self,
        server: &Server,
        missing: &Missing,
        wanted_by: &Resource,
        unit: &Unit<'_>,
        turn: Turn,
    ) -> Result<(Resource, Work), Refusal> {
        let package = &missing.package;
        let by_hand = |what: String| Refusal::Missing {
            message: format!(
                "{} requires `{package}`, and that cannot be installed in front of it: {what}",
                path_of(wanted_by)
            ),
            packages: vec![(package.clone(), what)],
        };
        if missing.there.is_some() {
            return Err(by_hand(missing.remedy(&server.name)));
        }
        let definition = self.package(package)?;
        accept::check_server(&definition, &Operation::Install, server)?;
        let desired =
            definition.check(&Params::new(), &BTreeMap::new(), Given::Install).map_err(|problems| {
                let names = problems.iter().map(|problem| match problem.field.split_once('.') {
                    Some(("secrets", name)) => format!(" --secret {name}=@FILE"),
                    Some((_, name)) => format!(" --set {name}=..."),
                    None => String::new(),
                });
                let flags: String = names.collect();
                by_hand(format!(
                    "it needs values: settlectl install {package} --server {}{flags}",
                    server.name
                ))
            })?;
        let resource = self.new_resource(server, &definition, package.clone(), desired, unit.now());
        let (operation, given) = (Operation::Install, Params::new());
        let plan = accept::plan(&definition, &operation, &resource, &given)?;
        Ok((resource, Work { operation, definition, plan, given, retry_of: None, turn }))
    }

    /// Refuses to take away what others on the server require.
    pub(super) async fn check_dependents(&self, db: &mut Db<'_>, resource: &Resource) -> Result<(), Refusal> {
        let resources = self.dependents(db, resource).await?;
        if resources.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} is required by {}: remove that first, or change it so that it does without",
            path_of(resource),
            resources.join(", ")
        );
        Err(Refusal::NotNow { message, runs: Vec::new(), resources })
    }

    /// What on the server requires a resource, as SERVER/PACKAGE/NAME; nothing as long as another one of its package is there.
    async fn dependents(&self, db: &mut Db<'_>, resource: &Resource) -> Result<Vec<String>, StoreError> {
        let catalog = self.catalog();
        let requires = |d: &&Arc<Definition>| d.requires.iter().any(|r| r.package == resource.package);
        let mut found = Vec::new();
        for definition in catalog.iter().filter(requires) {
            for other in of_package(db, resource, &definition.name).await? {
                let applied = other.applied.as_ref().map(|applied| &applied.params);
                let mut sets = [Some(&other.desired), applied].into_iter().flatten();
                let needs = sets.any(|params| definition.needs(params).contains(&&*resource.package));
                if needs && requirement::holds(other.status, applied.is_some()) {
                    found.push(path_of(&other));
                }
            }
        }
        if found.is_empty() || self.has_twin(db, resource).await? {
            return Ok(Vec::new());
        }
        Ok(found)
    }

    /// Another resource of the same package is there.
    async fn has_twin(&self, db: &mut Db<'_>, resource: &Resource) -> Result<bool, StoreError> {
        let all = of_package(db, resource, &resource.package).await?;
        Ok(all.iter().any(|other| other.id != resource.id && requirement::is_there(other.status)))
    }

    /// Why a run must not begin, now that its turn has come: what it requires is gone or has failed, or what it would take away has come to be
    /// required.
    pub(super) async fn unmet(
        &self,
        db: &mut Db<'_>,
        run: &Run,
        resource: &Resource,
        definition: &Definition,
    ) -> Result<Option<String>, Refusal> {
        if run.operation == Operation::Remove {
            return match self.check_dependents(db, resource).await {
                Err(Refusal::NotNow { message, .. }) => Ok(Some(message)),
                other => other.map(|()| None),
            };
        }
        if !requirement::asks(&run.operation) {
            return Ok(None);
        }
        let mut missing = Vec::new();
        for package in definition.needs(&resource.desired) {
            let there = of_package(db, resource, package).await?;
            if !there.iter().any(|other| requirement::is_there(other.status)) {
                missing.push(Missing { package: package.to_owned(), there: there.into_iter().next() });
            }
        }
        Ok((!missing.is_empty()).then(|| sentence(&missing, resource)))
    }
}

/// Resources of a package on the server of a resource.
async fn of_package(db: &mut Db<'_>, beside: &Resource, package: &str) -> Result<Vec<Resource>, StoreError> {
    let filter =
        ResourceFilter { server: Some(beside.server), package: Some(package.to_owned()), status: None };
    db.resources(&filter, "", LOOKED_AT_MAX).await
}

/// What is missing of a package for a run that is accepted now.
async fn missing_of(
    unit: &mut Unit<'_>,
    beside: &Resource,
    package: &str,
    priority: Priority,
) -> Result<Option<Missing>, Refusal> {
    let there = of_package(unit.db().await?, beside, package).await?;
    for resource in &there {
        let open = match resource.open_run {
            Some(run) => unit.run(run).await?,
            None => None,
        };
        let in_front = open.is_some_and(|run| comes_before(&run, priority));
        if requirement::will_be_there(resource.status, in_front) {
            return Ok(None);
        }
    }
    Ok(Some(Missing { package: package.to_owned(), there: there.into_iter().next() }))
}

/// Whether an open run has its turn before one of this priority that is accepted now.
fn comes_before(run: &Run, priority: Priority) -> bool {
    !matches!(run.state, RunState::Queued { .. }) || run.priority.rank() >= priority.rank()
}

fn refuse(missing: &[Missing], resource: &Resource, operation: &Operation) -> Result<(), Refusal> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.iter().map(|one| (one.package.clone(), one.remedy(&resource.server_name)));
    let packages = packages.collect();
    let mut message = sentence(missing, resource);
    if *operation == Operation::Install && missing.iter().all(|one| one.there.is_none()) {
        message.push_str("; or ask with --with-requirements, and they are installed in front of it");
    }
    Err(Refusal::Missing { message, packages })
}

/// `web1/site/a requires nginx and php, which are not there: ...`
fn sentence(missing: &[Missing], resource: &Resource) -> String {
    let names: Vec<_> = missing.iter().map(|one| format!("`{}`", one.package)).collect();
    let remedies: Vec<_> = missing.iter().map(|one| one.remedy(&resource.server_name)).collect();
    let are = if names.len() == 1 { "is" } else { "are" };
    format!(
        "{} requires {}, which {are} not there on {}: {}",
        path_of(resource),
        names.join(" and "),
        resource.server_name,
        remedies.join("; ")
    )
}

/// SERVER/PACKAGE/NAME.
pub(super) fn path_of(resource: &Resource) -> String {
    format!("{}/{}/{}", resource.server_name, resource.package, resource.name)
}
