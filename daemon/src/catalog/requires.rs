//! What else must be on a server: packages that a package requires, always or for some of its parameters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::params::Params;

use super::definition::{Condition, Definition};
use super::suggest::did_you_mean;
use super::{FileProblem, Problem};

/// A package that another one requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Its name.
    pub package: String,
    /// It is required only when all of these hold.
    pub when: Vec<Condition>,
    /// Where the text says so, from 1.
    pub line: u32,
}

impl Requirement {
    /// When it is required, in words; empty means always.
    pub fn when_in_words(&self) -> String {
        self.when.iter().map(Condition::in_words).collect::<Vec<_>>().join(" and ")
    }
}

impl Definition {
    /// The packages that must be on the server for these parameters, in the order of the text.
    pub fn needs(&self, desired: &Params) -> Vec<&str> {
        let needed = |requirement: &&Requirement| requirement.when.iter().all(|c| c.holds(desired));
        self.requires.iter().filter(needed).map(|requirement| requirement.package.as_str()).collect()
    }
}

/// What is wrong with the requirements of a whole set: names that nobody defines, and packages that in the end require themselves.
pub(super) fn check(
    definitions: &BTreeMap<String, Arc<Definition>>,
    files: &BTreeMap<String, PathBuf>,
) -> Vec<FileProblem> {
    let of = |definition: &Arc<Definition>| {
        let file = files.get(&definition.name).cloned().unwrap_or_default();
        let in_file = move |problem| FileProblem { file: file.clone(), problem };
        faults(definitions, definition).into_iter().map(in_file)
    };
    definitions.values().flat_map(of).collect()
}

/// What is wrong with the requirements of one of a set.
pub(super) fn faults(
    definitions: &BTreeMap<String, Arc<Definition>>,
    definition: &Definition,
) -> Vec<Problem> {
    let of = |(n, requirement): (usize, &Requirement)| {
        let message = fault(definitions, definition, requirement)?;
        Some(Problem { line: requirement.line, field: format!("requires[{n}]"), message })
    };
    definition.requires.iter().enumerate().filter_map(of).collect()
}

fn fault(
    definitions: &BTreeMap<String, Arc<Definition>>,
    definition: &Definition,
    requirement: &Requirement,
) -> Option<String> {
    let package = &requirement.package;
    if !definitions.contains_key(package) {
        let hint = did_you_mean(package, definitions.keys().map(String::as_str));
        return Some(format!("there is no package `{package}`{hint}"));
    }
    let way = way_back(definitions, package, &definition.name, Vec::new())?;
    Some(format!("`{}` would in the end require itself: {}", definition.name, way.join(", which requires ")))
}

/// The packages on the way from one to another by what they require; `None` when there is no way.
fn way_back(
    definitions: &BTreeMap<String, Arc<Definition>>,
    from: &str,
    to: &str,
    mut way: Vec<String>,
) -> Option<Vec<String>> {
    way.push(from.to_owned());
    if from == to {
        return Some(way);
    }
    let mut next = definitions.get(from)?.requires.iter().filter(|next| !way.contains(&next.package));
    next.find_map(|next| way_back(definitions, &next.package, to, way.clone()))
}
