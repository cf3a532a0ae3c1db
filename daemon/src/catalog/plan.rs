//! An operation and its parameters become steps: fixed scripts, and the environment that carries the values (P11).

use std::time::Duration;

use crate::domain::operation::Operation;
use crate::domain::params::{Outputs, Params};
use crate::domain::resource::Declared;

use super::definition::{Definition, Proof, StepDef};
use super::outputs::{self, OutputDef};

/// What every script begins with: an error or an unset variable ends it.
const OPENING: &str = "set -eu\n";

/// What tells a probe that it looks at something that was adopted; empty otherwise.
const ADOPTED: &str = "SETTLED_ADOPTED";

/// An operation, ready to be run step by step.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In order; at least one. The same definition and parameters always give the same steps.
    pub steps: Vec<PlannedStep>,
    /// Whether it needs the lane for itself.
    pub exclusive: bool,
    /// Statuses while it runs and after it.
    pub declared: Declared,
    /// How many attempts it gets; `None` leaves it to the daemon.
    pub attempts_max: Option<u32>,
    /// How long a run of it may stay queued; `None` leaves it to the daemon.
    pub queue_limit: Option<Duration>,
    /// How long it usually takes as a whole.
    pub expected_runtime: Option<Duration>,
    /// Whether a timeout is worth another attempt.
    pub retry_on_timeout: bool,
    /// What a probe must show to prove it.
    pub proof: Option<Proof>,
    /// What its steps may write to `SETTLED_OUTPUT`.
    pub outputs: Vec<OutputDef>,
    /// They may write other names, too.
    pub free_outputs: bool,
}

/// One step, ready to be sent.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    /// The milestone that people see.
    pub title: String,
    /// Fixed text for `/bin/sh`.
    pub script: String,
    /// `SETTLED_PACKAGE`, `SETTLED_NAME`, `P_*` and `OLD_*`: every parameter of the package, empty when it has no value; `P_*` of what is
    /// given with the operation. `OUT_*`: every output, still empty.
    pub env: Vec<(String, String)>,
    /// Names of the secrets to deliver; those without a value are left out by whoever has the values.
    pub secrets: Vec<String>,
    /// From the start of a try to TERM.
    pub timeout: Duration,
    /// From TERM to KILL; `None` leaves it to the daemon.
    pub kill_grace: Option<Duration>,
    /// Whether a foreign dpkg lock is waited for first.
    pub needs_dpkg: bool,
    /// Exit codes that mean: another program is at it; wait and try again, no attempt used.
    pub busy_codes: Vec<i32>,
    /// The same by its last words: a failure whose last lines have one of these.
    pub busy_says: Vec<String>,
    /// Exit codes that mean: a retry is pointless.
    pub final_codes: Vec<i32>,
}

/// A look at what is there, ready to be sent.
#[derive(Debug, Clone)]
pub struct ProbePlan {
    /// Fixed text for `/bin/sh`.
    pub script: String,
    /// `SETTLED_PACKAGE`, `SETTLED_NAME`, `SETTLED_ADOPTED`, `P_*` and `OLD_*`.
    pub env: Vec<(String, String)>,
    /// From its start to TERM.
    pub timeout: Duration,
}

impl ProbePlan {
    /// The same for what bears no mark of the resource yet: it is to be adopted, or was, and nothing has changed it since.
    #[must_use]
    pub fn of_adopted(mut self, adopted: bool) -> Self {
        if let Some((_, value)) = self.env.iter_mut().find(|(name, _)| adopted && name == ADOPTED) {
            "yes".clone_into(value);
        }
        self
    }
}

impl ProbePlan {
    /// The same with what whoever asks tells it, as `SETTLED_*`: no parameter of a package bears such a name.
    #[must_use]
    pub fn asked_with(mut self, told: &Params) -> Self {
        let named = |(name, value): (&String, &String)| {
            (format!("SETTLED_{}", name.to_ascii_uppercase()), value.clone())
        };
        self.env.extend(told.iter().map(named));
        self
    }
}

/// Why an operation cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The package cannot do that.
    #[error("the package `{package}` has no operation `{operation}`; it can {can}")]
    NoSuchOperation {
        /// The package.
        package: String,
        /// What was asked for.
        operation: String,
        /// What it can do, in words.
        can: String,
    },
    /// No step applies to these parameters.
    #[error(
        "with these parameters the operation `{operation}` of the package `{package}` has no step to run"
    )]
    NothingToDo {
        /// The package.
        package: String,
        /// What was asked for.
        operation: String,
    },
}

impl Plan {
    /// What a step wrote to `SETTLED_OUTPUT`. The error tells what does not fit, as the end of a sentence about the step.
    pub fn read_outputs(&self, written: &[u8]) -> Result<Outputs, String> {
        outputs::read(&self.outputs, self.free_outputs, written)
    }

    /// The longest time between TERM and KILL of any of its steps; `default` for those that do not say.
    pub fn kill_grace(&self, default: Duration) -> Duration {
        self.steps.iter().map(|step| step.kill_grace.unwrap_or(default)).max().unwrap_or(default)
    }
}

impl Definition {
    /// The steps of an operation. `desired`: what is asked for, with what was given for this run alone; `applied`: what was applied last,
    /// as far as anyone knows.
    pub fn plan(
        &self,
        operation: &Operation,
        resource_name: &str,
        desired: &Params,
        applied: Option<&Params>,
    ) -> Result<Plan, PlanError> {
        let found = self.operations.get(operation.as_str());
        let definition = found.ok_or_else(|| self.no_such_operation(operation))?;
        let desired = &self.completed(desired);
        let mut env = self.environment(resource_name, desired, applied);
        env.extend(definition.parameters.iter().map(|given| {
            (
                format!("P_{}", given.name.to_ascii_uppercase()),
                desired.get(&given.name).cloned().unwrap_or_default(),
            )
        }));
        env.extend(self.outputs.iter().map(|output| (variable_of(&output.name), String::new())));
        let steps: Vec<_> = definition
            .steps
            .iter()
            .filter(|step| step.when.iter().all(|condition| condition.holds(desired)))
            .map(|step| self.planned(step, &env))
            .collect();
        if steps.is_empty() {
            let (package, operation) = (self.name.clone(), operation.to_string());
            return Err(PlanError::NothingToDo { package, operation });
        }
        Ok(Plan {
            steps,
            exclusive: definition.exclusive,
            declared: definition.declared,
            attempts_max: definition.attempts_max,
            queue_limit: definition.queue_limit,
            expected_runtime: definition.expected_runtime,
            retry_on_timeout: definition.retry_on_timeout,
            proof: definition.proof.clone(),
            outputs: self.outputs.clone(),
            free_outputs: self.free_outputs,
        })
    }

    /// What proves an operation, if the definition says so.
    pub fn proof_of(&self, operation: &Operation) -> Option<Proof> {
        self.operations.get(operation.as_str())?.proof.clone()
    }

    /// What the probe shows of a resource that stands as it was asked for: what proves its install, unless the probe says it itself.
    pub fn shown(&self) -> Option<Proof> {
        let shows = self.probe.as_ref().and_then(|probe| probe.shows.clone());
        shows.or_else(|| self.proof_of(&Operation::Install))
    }

    /// How to look at what is there; `None` when the package has no probe.
    pub fn probe_plan(&self, resource_name: &str, params: &Params) -> Option<ProbePlan> {
        let params = &self.completed(params);
        self.probe.as_ref().map(|probe| ProbePlan {
            script: self.script(&probe.script),
            env: [self.environment(resource_name, params, None), vec![(ADOPTED.to_owned(), String::new())]]
                .concat(),
            timeout: probe.timeout,
        })
    }

    /// With the defaults of what a resource, asked for by another definition, has no value of.
    fn completed(&self, desired: &Params) -> Params {
        let defaults = self.parameters.iter().filter_map(|parameter| {
            parameter.default.as_ref().map(|default| (parameter.name.clone(), default.clone()))
        });
        defaults.chain(desired.clone()).collect()
    }

    fn planned(&self, step: &StepDef, env: &[(String, String)]) -> PlannedStep {
        PlannedStep {
            title: step.title.clone(),
            script: self.script(&step.script),
            env: env.to_vec(),
            secrets: step.secrets.clone(),
            timeout: step.timeout,
            kill_grace: step.kill_grace,
            needs_dpkg: step.needs_dpkg,
            busy_codes: step.busy_codes.clone(),
            busy_says: step.busy_says.clone(),
            final_codes: step.final_codes.clone(),
        }
    }

    fn script(&self, body: &str) -> String {
        [OPENING, &self.prelude, body].concat()
    }

    fn environment(&self, name: &str, desired: &Params, applied: Option<&Params>) -> Vec<(String, String)> {
        let mut env = vec![
            ("SETTLED_PACKAGE".to_owned(), self.name.clone()),
            ("SETTLED_NAME".to_owned(), name.to_owned()),
        ];
        for parameter in self.parameters.iter().filter(|parameter| !parameter.secret()) {
            let upper = parameter.name.to_ascii_uppercase();
            let value = |params: Option<&Params>| {
                params.and_then(|params| params.get(&parameter.name)).cloned().unwrap_or_default()
            };
            env.push((format!("P_{upper}"), value(Some(desired))));
            env.push((format!("OLD_{upper}"), value(applied)));
        }
        env
    }

    pub(crate) fn no_such_operation(&self, operation: &Operation) -> PlanError {
        let names: Vec<_> = self.operations.keys().map(String::as_str).collect();
        PlanError::NoSuchOperation {
            package: self.name.clone(),
            operation: operation.to_string(),
            can: names.join(", "),
        }
    }
}

impl PlannedStep {
    /// Whether a failure with this exit code and these last lines means that another program is at it.
    pub fn is_busy(&self, code: i32, last_lines: &str) -> bool {
        let says = || self.busy_says.iter().any(|words| last_lines.contains(words.as_str()));
        code != 0 && (self.busy_codes.contains(&code) || (!self.final_codes.contains(&code) && says()))
    }

    /// Its environment, with what earlier steps of the attempt have written.
    pub fn env_with(&self, outputs: &Outputs) -> Vec<(String, String)> {
        let mut env = self.env.clone();
        for (name, value) in outputs {
            let variable = variable_of(name);
            if let Some((_, empty)) = env.iter_mut().find(|(key, _)| *key == variable) {
                empty.clone_from(value);
            }
        }
        env
    }
}

fn variable_of(output: &str) -> String {
    format!("OUT_{}", output.to_ascii_uppercase())
}
