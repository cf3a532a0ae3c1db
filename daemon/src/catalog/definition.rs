//! The shape of a definition, as read from its text and proven sound by `parse`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::resource::{Declared, Presence};

use super::outputs::OutputDef;
use super::requires::Requirement;
use super::supported::Supported;
use super::types::ParamType;

/// A package: typed parameters, and operations made of steps. Identified by the digest of its text.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Unique in the catalogue, for instance `scheduled_task`.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// SHA-256 of `text`, hex.
    pub digest: String,
    /// The definition itself, TOML: its author's text, and the shared texts that it uses.
    pub text: String,
    /// Where it works; `None`: wherever settled does.
    pub supported: Option<Supported>,
    /// In the order in which the text has them.
    pub parameters: Vec<Parameter>,
    /// What values ask of others.
    pub rules: Vec<Rule>,
    /// A server has at most one resource of it.
    pub single: bool,
    /// By name; with `probe` among them when there is one.
    pub operations: BTreeMap<String, OperationDef>,
    /// What its steps may write to `SETTLED_OUTPUT`, in the order in which the text has them.
    pub outputs: Vec<OutputDef>,
    /// They may write other names, too.
    pub free_outputs: bool,
    /// What else must be on the server.
    pub requires: Vec<Requirement>,
    /// How to look at what is there.
    pub probe: Option<ProbeDef>,
    /// Fixed shell text before every script: the shared texts that it uses, then its own.
    pub(super) prelude: String,
}

/// A typed parameter.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Lower case with underscores; scripts find it as `P_<NAME>`.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Which values it takes.
    pub kind: ParamType,
    /// Whether a value must be given.
    pub required: bool,
    /// The value when none is given, in canonical form.
    pub default: Option<String>,
    /// Unique per server among the resources of its package.
    pub key: bool,
    /// Never changes after the install.
    pub fixed: bool,
}

impl Parameter {
    /// Sealed at rest, masked in output, and a file for scripts instead of a variable.
    pub fn secret(&self) -> bool {
        matches!(self.kind, ParamType::Secret { .. })
    }

    /// The values of an enum; empty for every other type.
    pub fn values(&self) -> &[String] {
        match &self.kind {
            ParamType::Enum { values } => values,
            _ => &[],
        }
    }
}

/// What a package can do: steps in order.
#[derive(Debug, Clone)]
pub struct OperationDef {
    /// The line where it stands in the text.
    pub line: u32,
    /// Whether it needs the lane for itself.
    pub exclusive: bool,
    /// Statuses while it runs and after it.
    pub declared: Declared,
    /// What is given with it and holds for one run of it: of a removal and of own operations only, and never a secret.
    pub parameters: Vec<Parameter>,
    /// Whether it changes what is there: after an own operation that does not, what proved the resource before proves it still.
    pub changes: bool,
    /// How many attempts it gets; `None` leaves it to the daemon.
    pub attempts_max: Option<u32>,
    /// How long a run of it may stay queued; `None` leaves it to the daemon.
    pub queue_limit: Option<Duration>,
    /// How long it usually takes as a whole; a run that is silent for longer is shown as likely stale.
    pub expected_runtime: Option<Duration>,
    /// Whether a timeout is worth another attempt.
    pub retry_on_timeout: bool,
    /// What a probe must show for the operation to be proven.
    pub proof: Option<Proof>,
    /// At least one.
    pub steps: Vec<StepDef>,
}

/// One command of an operation.
#[derive(Debug, Clone)]
pub struct StepDef {
    /// The milestone that people see.
    pub title: String,
    /// Fixed text for `/bin/sh`.
    pub script: String,
    /// The step is left out unless all of these hold.
    pub when: Vec<Condition>,
    /// Names of the secrets that it gets.
    pub secrets: Vec<String>,
    /// From the start of a try to TERM.
    pub timeout: Duration,
    /// From TERM to KILL; `None` leaves it to the daemon.
    pub kill_grace: Option<Duration>,
    /// Whether it needs dpkg, so that a foreign lock is waited for first.
    pub needs_dpkg: bool,
    /// Exit codes that mean: another program is at it; wait and try again, no attempt used.
    pub busy_codes: Vec<i32>,
    /// The same by its last words: a failure whose last lines have one of these.
    pub busy_says: Vec<String>,
    /// Exit codes that mean: a retry is pointless.
    pub final_codes: Vec<i32>,
}

/// One condition on a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The parameter.
    pub parameter: String,
    /// What its value must be.
    pub wanted: Wanted,
}

/// What a condition wants of a value. A parameter without a value is the empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One of these.
    OneOf(Vec<String>),
    /// None of these.
    Not(Vec<String>),
    /// A value, or none.
    Given(bool),
}

/// What values ask of other parameters. Without `needs` and `excludes`, the values themselves are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// It counts only if all of these hold.
    pub when: Vec<Condition>,
    /// Parameters and secrets that must have a value.
    pub needs: Vec<String>,
    /// Parameters that must have none.
    pub excludes: Vec<String>,
    /// What to say instead of the rule itself.
    pub say: Option<String>,
}

/// How to look at what is there, without changing anything.
#[derive(Debug, Clone)]
pub struct ProbeDef {
    /// The line where it stands in the text.
    pub line: u32,
    /// Fixed text for `/bin/sh`.
    pub script: String,
    /// From its start to TERM.
    pub timeout: Duration,
    /// What it shows of a resource that stands as it was asked for, where that is no proof that a lost run has brought it about.
    pub shows: Option<Proof>,
}

/// What a probe must show for an operation to be proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The state.
    pub state: Presence,
    /// Facts by name.
    pub facts: BTreeMap<String, Expected>,
}

/// What a fact must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// This text.
    Text(String),
    /// The desired value of this parameter.
    Parameter(String),
}
