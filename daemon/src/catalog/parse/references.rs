//! What refers to parameters: the conditions of steps, and proofs.

use std::collections::BTreeMap;

use toml::de::DeValue;

use crate::domain::operation::Operation;
use crate::domain::resource::{Declared, Presence};

use super::super::definition::{Condition, Expected, Parameter, Proof, Wanted};
use super::super::probe::{is_fact_name, state};
use super::super::suggest::did_you_mean;
use super::Placed;
use super::reader::{Table, kind};
use super::report::Report;
use super::values::texts;

/// What operations refer to.
#[derive(Clone, Copy)]
pub(super) struct Context<'c> {
    pub(super) parameters: &'c [Placed],
    pub(super) defaults: Declared,
    pub(super) has_probe: bool,
}

impl Context<'_> {
    pub(super) fn conditions(&self, table: &Table<'_>, report: &mut Report<'_>) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (name, value) in table.values() {
            match self.condition(name, value) {
                Ok(wanted) => conditions.push(Condition { parameter: name.to_owned(), wanted }),
                Err(message) => report.add(table.place(name), &table.field(name), message),
            }
        }
        conditions
    }

    fn condition(&self, name: &str, value: &DeValue<'_>) -> Result<Wanted, String> {
        let parameter = self.visible(name)?;
        let canonical = |text: &String| match text.as_str() {
            "" => Err("write { given = false } for a parameter without a value".to_owned()),
            text => parameter.kind.canonical(text),
        };
        let listed = |value: &DeValue<'_>| -> Result<Vec<String>, String> {
            let texts = texts(value).filter(|texts| !texts.is_empty());
            let texts = texts.ok_or("must be a list of texts, like [\"one\", \"two\"]")?;
            texts.iter().map(canonical).collect()
        };
        match value {
            DeValue::String(text) => Ok(Wanted::OneOf(vec![canonical(&text.clone().into_owned())?])),
            DeValue::Boolean(value) => Ok(Wanted::OneOf(vec![canonical(&value.to_string())?])),
            DeValue::Array(_) => listed(value).map(Wanted::OneOf),
            DeValue::Table(table) => {
                let mut entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref()));
                match (entries.next(), entries.next()) {
                    (Some(("given", DeValue::Boolean(given))), None) => Ok(Wanted::Given(*given)),
                    (Some(("not", DeValue::String(text))), None) => {
                        Ok(Wanted::Not(vec![canonical(&text.clone().into_owned())?]))
                    }
                    (Some(("not", list @ DeValue::Array(_))), None) => listed(list).map(Wanted::Not),
                    _ => Err("must be { given = true }, { given = false } or { not = [\"one\", \"two\"] }"
                        .to_owned()),
                }
            }
            other => {
                Err(format!("must be a text, a list of texts or {{ given = true }}, not {}", kind(other)))
            }
        }
    }

    pub(super) fn proof(&self, mut table: Table<'_>, report: &mut Report<'_>) -> Option<Proof> {
        if !self.has_probe {
            report.add(table.start(), table.path(), "needs a [probe]: without one nothing is ever seen");
        }
        let word = table.required_text("state", report);
        let presence = word.as_deref().and_then(state);
        if let (Some(word), None) = (&word, presence) {
            table.problem(
                "state",
                format!("`{word}` is not a state: write present, absent or paused"),
                report,
            );
        }
        let (mut facts, mut sound) = (BTreeMap::new(), true);
        for (key, value) in table.values().filter(|(key, _)| *key != "state") {
            match self.fact(key, value) {
                Ok(fact) => facts.extend([fact]),
                Err(message) => {
                    report.add(table.place(key), &table.field(key), message);
                    sound = false;
                }
            }
        }
        presence.filter(|_| sound).map(|state| Proof { state, facts })
    }

    fn fact(&self, key: &str, value: &DeValue<'_>) -> Result<(String, Expected), String> {
        let Some(name) = key.strip_prefix("fact.").filter(|name| is_fact_name(name)) else {
            return Err(format!(
                "is not a fact: write \"fact.{}\" in quotes",
                key.trim_start_matches("fact")
            ));
        };
        let DeValue::String(text) = value else {
            return Err(format!("must be text in quotes, not {}", kind(value)));
        };
        let expected = match text.strip_prefix('$') {
            None => Expected::Text(text.clone().into_owned()),
            Some(parameter) => Expected::Parameter(self.visible(parameter)?.name.clone()),
        };
        Ok((name.to_owned(), expected))
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().map(|(_, parameter)| parameter).find(|parameter| parameter.name == name)
    }

    /// A parameter whose value may be compared.
    fn visible(&self, name: &str) -> Result<&Parameter, String> {
        match self.parameter(name) {
            Some(parameter) if parameter.secret() => {
                Err(format!("`{name}` is a secret and cannot be compared"))
            }
            Some(parameter) => Ok(parameter),
            None => Err(self.unknown(name)),
        }
    }

    pub(super) fn unknown(&self, name: &str) -> String {
        let known = self.parameters.iter().map(|(_, parameter)| parameter.name.as_str());
        format!("`{name}` is not a parameter{}", did_you_mean(name, known))
    }
}

/// A proof that the state before would satisfy too proves nothing.
pub(super) fn check_proof(name: &str, proof: Option<&Proof>, table: &Table<'_>, report: &mut Report<'_>) {
    let Some(proof) = proof else { return };
    let message = match (Operation::from_word(name), proof.state) {
        (Operation::Update | Operation::Own(_), _) if proof.facts.is_empty() => {
            "needs a fact: the state alone was the same before"
        }
        (Operation::Install | Operation::Update, Presence::Absent) => "cannot be `absent` here",
        (Operation::Resume, Presence::Paused | Presence::Absent) => "must be `present` after a resume",
        (Operation::Remove, Presence::Present | Presence::Paused) => "must be `absent` after a removal",
        (Operation::Pause, Presence::Present | Presence::Absent) => "must be `paused` after a pause",
        _ => return,
    };
    let key = if table.has("proof") { "proof" } else { "same_as" };
    table.problem(key, format!("the proof {message}"), report);
}
