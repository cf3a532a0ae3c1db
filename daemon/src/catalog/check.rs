//! Parameters against their definition: what a user gave becomes typed, complete and canonical, or a list of what is wrong.

use std::collections::BTreeMap;

use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::WHOLE_SERVER;

use super::definition::{Definition, Parameter};
use super::suggest::did_you_mean;
use super::types::ParamType;

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldProblem {
    /// Path of the field in the request, for instance `parameters.port`.
    pub field: String,
    /// What is wrong and what to write instead. Never holds a secret.
    pub message: String,
}

/// What the values are given for.
#[derive(Debug, Clone, Copy)]
pub enum Given<'a> {
    /// An install: what is absent takes its default.
    Install,
    /// An update: what is absent keeps its value.
    Update {
        /// What was asked for last.
        current: &'a Params,
        /// Names of the secrets that have a value.
        current_secrets: &'a [String],
    },
}

impl Given<'_> {
    fn had_secret(&self, name: &str) -> bool {
        matches!(self, Self::Update { current_secrets, .. } if current_secrets.iter().any(|known| known == name))
    }
}

impl Definition {
    /// Checks the values of an install or an update, and answers the complete set in canonical form, without secrets.
    ///
    /// The empty text is the same as no value: it takes a parameter back to its default, or to nothing. Values of parameters that the
    /// definition no longer has are left out of the answer.
    pub fn check(
        &self,
        params: &Params,
        secrets: &BTreeMap<String, Vec<u8>>,
        given: Given<'_>,
    ) -> Result<Params, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        for name in params.keys() {
            problems.extend(self.misplaced("parameters", name, false));
        }
        for name in secrets.keys() {
            problems.extend(self.misplaced("secrets", name, true));
        }
        let mut complete = Params::new();
        for parameter in &self.parameters {
            let field = |place: &str| format!("{place}.{}", parameter.name);
            if parameter.secret() {
                if let Err(message) = check_secret(parameter, secrets.get(&parameter.name), given) {
                    problems.push(FieldProblem { field: field("secrets"), message });
                }
                continue;
            }
            let value = value_of(parameter, params.get(&parameter.name), given);
            match value.and_then(|value| unchanged(parameter, value, given)) {
                Ok(Some(value)) => {
                    complete.insert(parameter.name.clone(), value);
                }
                Ok(None) => {}
                Err(message) => problems.push(FieldProblem { field: field("parameters"), message }),
            }
        }
        if problems.is_empty() {
            problems =
                self.broken_rules(&complete, |name| secrets.contains_key(name) || given.had_secret(name));
        }
        if problems.is_empty() { Ok(complete) } else { Err(problems) }
    }

    /// Checks what was given with an operation, and answers the complete set in canonical form.
    pub fn check_given(&self, operation: &Operation, given: &Params) -> Result<Params, Vec<FieldProblem>> {
        let known = self.operations.get(operation.as_str()).map_or(&[][..], |found| &found.parameters);
        let unknown = given.keys().filter(|name| !known.iter().any(|parameter| parameter.name == **name));
        let mut problems: Vec<_> = unknown.map(|name| self.not_given_with(operation, name, known)).collect();
        let mut complete = Params::new();
        for parameter in known {
            match value_of(parameter, given.get(&parameter.name), Given::Install) {
                Ok(value) => complete.extend(value.map(|value| (parameter.name.clone(), value))),
                Err(message) => {
                    problems.push(FieldProblem { field: format!("parameters.{}", parameter.name), message });
                }
            }
        }
        if problems.is_empty() { Ok(complete) } else { Err(problems) }
    }

    fn not_given_with(&self, operation: &Operation, name: &str, known: &[Parameter]) -> FieldProblem {
        let hint = did_you_mean(name, known.iter().map(|parameter| parameter.name.as_str()));
        let mut message = format!(
            "the operation `{operation}` of the package `{}` takes no parameter of this name{hint}",
            self.name
        );
        if self.parameter(name).is_some() {
            message.push_str(": it is one of the resource, which an update changes");
        }
        FieldProblem { field: format!("parameters.{}", shown(name)), message }
    }

    /// The values that must be unique on a server among the resources of this package: (parameter, value). For a package that a server
    /// has one of, the server itself is such a value.
    pub fn key_values(&self, params: &Params) -> Vec<(String, String)> {
        let whole = self.single.then(|| (WHOLE_SERVER.to_owned(), WHOLE_SERVER.to_owned()));
        let keys = self.parameters.iter().filter(|parameter| parameter.key);
        let values =
            keys.filter_map(|key| params.get(&key.name).map(|value| (key.name.clone(), value.clone())));
        whole.into_iter().chain(values).collect()
    }

    /// The parameter of a name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// A name that the package does not know, or that belongs among the others.
    fn misplaced(&self, place: &str, name: &str, secret: bool) -> Option<FieldProblem> {
        let message = match self.parameter(name) {
            Some(parameter) if parameter.secret() == secret => return None,
            Some(_) if secret => "is not a secret: give it as an ordinary parameter".to_owned(),
            Some(_) => "is a secret: give it as a secret, not as a parameter".to_owned(),
            None => {
                let known = self.parameters.iter().filter(|parameter| parameter.secret() == secret);
                let hint = did_you_mean(name, known.map(|parameter| parameter.name.as_str()));
                let what = if secret { "secret" } else { "parameter" };
                format!("the package `{}` has no {what} of this name{hint}", self.name)
            }
        };
        Some(FieldProblem { field: format!("{place}.{}", shown(name)), message })
    }
}

/// The canonical value of one parameter; `None` when it has none.
fn value_of(parameter: &Parameter, raw: Option<&String>, given: Given<'_>) -> Result<Option<String>, String> {
    let kept = match given {
        Given::Update { current, .. } if raw.is_none() => current.get(&parameter.name),
        _ => None,
    };
    if let Some(value) = raw.filter(|value| !value.is_empty()) {
        return parameter.kind.canonical(value).map(Some);
    }
    if let Some(value) = kept {
        let misfit = |message| format!("the value that it has now does not fit any more: {message}");
        return parameter.kind.canonical(value).map(Some).map_err(misfit);
    }
    match &parameter.default {
        None if parameter.required => Err(format!("a value is required: {}", parameter.kind.expected())),
        default => Ok(default.clone()),
    }
}

/// Refuses another value for a parameter that never changes.
fn unchanged(
    parameter: &Parameter,
    value: Option<String>,
    given: Given<'_>,
) -> Result<Option<String>, String> {
    match given {
        Given::Update { current, .. }
            if parameter.fixed && current.get(&parameter.name) != value.as_ref() =>
        {
            let now = current.get(&parameter.name).map_or("without a value", String::as_str);
            Err(format!(
                "cannot change after the install; it is {now}. Remove the resource and install it anew"
            ))
        }
        _ => Ok(value),
    }
}

fn check_secret(parameter: &Parameter, value: Option<&Vec<u8>>, given: Given<'_>) -> Result<(), String> {
    let ParamType::Secret { bytes_max } = parameter.kind else { return Ok(()) };
    let has_one = given.had_secret(&parameter.name);
    match value {
        Some(value) if value.is_empty() => Err("is empty: give a value, or leave it out".to_owned()),
        Some(value) if value.len() > bytes_max => {
            Err(format!("has {} bytes; at most {bytes_max} are allowed", value.len()))
        }
        None if parameter.required && !has_one => Err("a value is required".to_owned()),
        _ => Ok(()),
    }
}

/// A name from outside, safe to show: control characters replaced, not endless.
fn shown(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
