//! What a schedule may be about: the form of a target, and whether what it names is there when it is asked for.

use std::collections::BTreeMap;

use super::super::{Engine, Refusal, accept, targets, valid};
use super::enrolling;
use crate::catalog::{Definition, Given};
use crate::domain::operation::Operation;
use crate::domain::schedule::{On, TARGETS_MAX, Target, Work};
use crate::store::Unit;

/// The form of a target.
pub(super) fn check_work(work: &Work, problems: &mut valid::Problems) {
    let field = |name: &str| format!("target.operation.{name}");
    if !work.name.is_empty() {
        problems.check(&field("name"), valid::resource_name(&work.name));
    }
    match &work.operation {
        Operation::Register | Operation::Adopt => {
            problems.add(&field("operation"), format!("`{}` cannot be done on schedule", work.operation));
        }
        Operation::Own(name) if name.is_empty() => problems.add(&field("operation"), "is missing"),
        Operation::Probe if !work.parameters.is_empty() => {
            problems.add(&field("parameters"), "a probe takes none");
        }
        _ => {}
    }
    let by_resource = matches!(work.on, On::Resources(_));
    if by_resource && work.operation == Operation::Install {
        problems
            .add(&field("resources"), "an install makes a resource: name servers or labels, and a package");
    }
    if by_resource != work.package.is_empty() {
        let message = if by_resource { "comes with the resources: leave it out" } else { "is missing" };
        problems.add(&field("package"), message);
    }
    let many = |n: usize| match n {
        0 => Err("is empty".to_owned()),
        n if n > TARGETS_MAX => Err(format!("may be at most {TARGETS_MAX}")),
        _ => Ok(()),
    };
    match &work.on {
        On::Servers(names) => problems.check(&field("servers"), many(names.len())),
        On::Resources(paths) => problems.check(&field("resources"), many(paths.len())),
        On::Labels(labels) => {
            problems.check(&field("labels"), many(labels.len()).and_then(|()| valid::labels(labels)));
        }
    }
    if let Err(Refusal::Invalid(all)) = accept::check_values(&work.parameters, &BTreeMap::new()) {
        for problem in all {
            problems.add(&field(&problem.field), problem.message);
        }
    }
}

/// Refuses a target that names what is not there now.
pub(super) async fn check_target(
    engine: &Engine,
    unit: &mut Unit<'_>,
    target: &Target,
) -> Result<(), Refusal> {
    match target {
        Target::Work(work) => check_there(engine, unit, work).await.map_err(of_target),
        Target::Enrolling(enrolling) => enrolling::check_there(engine, unit, enrolling).await,
        Target::Chore(_) => Ok(()),
    }
}

async fn check_there(engine: &Engine, unit: &mut Unit<'_>, work: &Work) -> Result<(), Refusal> {
    match &work.on {
        On::Servers(names) => {
            for name in names {
                targets::find_server(unit, name).await?;
            }
        }
        On::Resources(paths) => {
            for path in paths {
                let resource = targets::find_resource(unit, path).await?;
                let definition = engine.definition_for(unit, &resource).await?;
                check_operation(&definition, work)?;
            }
            return Ok(());
        }
        On::Labels(_) => {}
    }
    check_operation(&*engine.package(&work.package)?, work)
}

/// Refuses what the package does not offer, and values that it does not take.
fn check_operation(definition: &Definition, work: &Work) -> Result<(), Refusal> {
    let operation = &work.operation;
    if *operation == Operation::Probe {
        let says = definition.probe.is_some();
        let message = format!("the package `{}` does not say how to probe it", definition.name);
        return if says { Ok(()) } else { Err(Refusal::field("operation", message)) };
    }
    accept::offered(definition, operation)?;
    let checked = match operation {
        Operation::Install => definition.check(&work.parameters, &BTreeMap::new(), Given::Install),
        // Of an update the other values are those that the resource has by then.
        Operation::Update => return Ok(()),
        _ => definition.check_given(operation, &work.parameters),
    };
    checked.map(drop).map_err(Refusal::Invalid)
}

/// A refusal of a target, with the field that it is in.
fn of_target(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::NotFound { what, name } => {
            Refusal::field(format!("target.operation.{what}s"), format!("there is no {what} `{name}`"))
        }
        Refusal::Invalid(mut problems) => {
            for problem in &mut problems {
                problem.field = format!("target.operation.{}", problem.field);
            }
            Refusal::Invalid(problems)
        }
        other => other,
    }
}
