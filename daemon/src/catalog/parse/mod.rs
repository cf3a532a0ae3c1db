//! The text of a definition becomes a [`Definition`], or the list of everything that is wrong with it, by line and field.
//!
//! Reading goes on after a problem wherever it can, so that an author sees all of them at once. Unknown keys are problems:
//! a mistyped key must never be a silent default.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::definition::{Definition, Parameter};
use super::shared::self_contained;
use super::types::{duration, span_in_words};

mod lifecycle;
mod operation;
mod outputs;
mod parameter;
mod reader;
mod references;
mod report;
mod requires;
mod rules;
mod supported;
mod uses;
mod values;

pub use lifecycle::parse_lifecycle;

use reader::Table;
use references::Context;
use report::Report;
use uses::Origin;

/// Longest text of a definition, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 256 * 1024;
/// Longest text of a definition with the shared texts that it uses, in bytes.
const KEPT_BYTES_MAX: usize = 2 * DEFINITION_BYTES_MAX;
/// Most parameters of a package; the contract lets a request carry as many values.
const PARAMETERS_MAX: usize = 64;

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line in the text, from 1; 0 when it concerns the whole.
    pub line: u32,
    /// Dotted path, for instance `operations.install.steps[0].script`; empty when it concerns the whole.
    pub field: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem of the whole text.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { line: 0, field: String::new(), message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    /// `:12: operations.install: message`: reads well after a file name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Reads a definition as its author wrote it. Never panics, whatever the text.
pub fn parse(text: &str) -> Result<Definition, Vec<Problem>> {
    parse_from(text, Origin::Author, DEFINITION_BYTES_MAX)
}

/// Reads a definition as it was kept ([`Definition::text`]), with the shared texts of the day on which that was.
pub fn parse_kept(text: &str) -> Result<Definition, Vec<Problem>> {
    parse_from(text, Origin::Store, KEPT_BYTES_MAX)
}

fn parse_from(text: &str, origin: Origin, bytes_max: usize) -> Result<Definition, Vec<Problem>> {
    if text.len() > bytes_max {
        let message = format!("has {} bytes; at most {bytes_max} are allowed", text.len());
        return Err(vec![Problem::whole(message)]);
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut report = Report::new(text);
    for error in errors {
        report.add(error.span().map(|span| span.start), "", error.message());
    }
    // What a broken text seems to say would only add misleading problems.
    report.check()?;
    let definition = read(Table::document(document.get_ref()), text, origin, &mut report);
    report.check()?;
    definition.ok_or_else(|| vec![Problem::whole("is not a definition")])
}

fn read(mut table: Table<'_>, text: &str, origin: Origin, report: &mut Report<'_>) -> Option<Definition> {
    let name = table.required_text("name", report);
    if let Some(name) = &name
        && !is_name(name)
    {
        report.add(table.place("name"), "name", NAME_RULE);
    }
    let summary = table.line("summary", report);
    let supported = supported::read(&mut table, report);
    let uses = uses::read(&mut table, origin, report);
    let prelude = table.script("prelude", false, report).unwrap_or_default();
    let parameters = read_parameters(&mut table, report);
    let single = table.boolean("single", report).unwrap_or(false);
    let defaults = operation::declared(&mut table, report, operation::DEFAULT);
    let context = Context { parameters: &parameters, defaults, has_probe: table.has("probe") };
    let probe = operation::probe(&mut table, &context, report);
    let rules = rules::read(&mut table, &context, report);
    let operations = operation::all(&mut table, report, &context, probe.as_ref());
    let outputs = outputs::all(&mut table, report);
    let free_outputs = table.boolean("free_outputs", report).unwrap_or(false);
    let requires = requires::all(&mut table, &context, report);
    secrets_are_used(&parameters, &operations, report);
    table.finish(report);
    let text = match origin {
        Origin::Author => self_contained(text, &uses),
        Origin::Store => text.to_owned(),
    };
    Some(Definition {
        name: name?,
        summary: summary?,
        digest: hex::encode(Sha256::digest(&text)),
        text,
        supported,
        parameters: parameters.into_iter().map(|(_, parameter)| parameter).collect(),
        rules,
        single,
        operations,
        outputs,
        free_outputs,
        requires,
        probe,
        prelude: uses.into_iter().map(|shared| shared.text).chain([prelude]).collect(),
    })
}

/// A parameter, and where it stands in the text.
type Placed = (Option<usize>, Parameter);

fn read_parameters(table: &mut Table<'_>, report: &mut Report<'_>) -> Vec<Placed> {
    let Some(parameters) = table.table("parameters", report) else { return Vec::new() };
    let path = parameters.path().to_owned();
    let tables = parameters.into_tables(report);
    if tables.len() > PARAMETERS_MAX {
        report.add(
            tables[PARAMETERS_MAX].1.start(),
            &path,
            format!("has {} parameters; at most {PARAMETERS_MAX} are allowed", tables.len()),
        );
    }
    tables
        .into_iter()
        .map(|(name, table)| {
            let at = table.start();
            if !is_name(&name) {
                report.add(at, table.path(), NAME_RULE);
            }
            (at, parameter::read(name, table, report))
        })
        .collect()
}

fn secrets_are_used(
    parameters: &[Placed],
    operations: &BTreeMap<String, super::definition::OperationDef>,
    report: &mut Report<'_>,
) {
    let steps = operations.values().flat_map(|operation| &operation.steps);
    let used: BTreeSet<&String> = steps.flat_map(|step| &step.secrets).collect();
    for (at, secret) in parameters.iter().filter(|(_, parameter)| parameter.secret()) {
        if !used.contains(&secret.name) {
            let field = format!("parameters.{}", secret.name);
            report.add(
                *at,
                &field,
                "no step takes this secret: name it in `secrets` of the steps that need it",
            );
        }
    }
}

const NAME_RULE: &str = "must be 1 to 40 lower case letters, digits and underscores, and begin with a letter";

/// Names of packages, parameters and operations.
pub(super) fn is_name(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests;
