//! Package definitions: what can be on a server, told in TOML and never compiled in.
//!
//! The catalogue reads definitions, checks parameters against them, and plans operations into steps. It is pure except for
//! [`Catalog::with_dir`], which reads a folder. It must never know of runs, records, the store or servers, and it never makes
//! shell text: a step's script is the fixed text of its definition, and parameters only ever travel as environment (P11).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod check;
mod definition;
mod endpoint;
mod outputs;
mod parse;
mod plan;
mod probe;
mod repair;
mod requires;
mod rules;
#[cfg(test)]
mod schema;
mod shared;
mod suggest;
mod supported;
#[cfg(test)]
mod tests;
mod types;

pub use check::{FieldProblem, Given};
pub use definition::{
    Condition, Definition, Expected, OperationDef, Parameter, ProbeDef, Proof, Rule, StepDef, Wanted,
};
pub use endpoint::{NoEndpoint, check_endpoint};
pub use outputs::{OUTPUT_BYTES_MAX, OUTPUTS_MAX, OutputDef, read_told};
pub use parse::{DEFINITION_BYTES_MAX, Problem, parse, parse_kept, parse_lifecycle};
pub use plan::{Plan, PlanError, PlannedStep, ProbePlan};
pub use probe::{FACT_BYTES_MAX, FACT_NAME_BYTES_MAX, FACTS_MAX, ProbeReading, read_probe};
pub use repair::{REPAIR_TIMEOUT, REPAIR_TITLE, repair_dpkg};
pub use requires::Requirement;
pub use supported::Supported;
pub use types::{ParamType, VALUE_BYTES_MAX};

/// The definitions that every installation has: file name and text.
const BUILTIN: [(&str, &str); 17] = [
    ("apt_package.toml", include_str!("../../packages/apt_package.toml")),
    ("database.toml", include_str!("../../packages/database.toml")),
    ("database_user.toml", include_str!("../../packages/database_user.toml")),
    ("deployment.toml", include_str!("../../packages/deployment.toml")),
    ("firewall.toml", include_str!("../../packages/firewall.toml")),
    ("firewall_rule.toml", include_str!("../../packages/firewall_rule.toml")),
    ("mariadb.toml", include_str!("../../packages/mariadb.toml")),
    ("mysql.toml", include_str!("../../packages/mysql.toml")),
    ("nginx.toml", include_str!("../../packages/nginx.toml")),
    ("php.toml", include_str!("../../packages/php.toml")),
    ("redis.toml", include_str!("../../packages/redis.toml")),
    ("scheduled_task.toml", include_str!("../../packages/scheduled_task.toml")),
    ("script.toml", include_str!("../../packages/script.toml")),
    ("site.toml", include_str!("../../packages/site.toml")),
    ("stage_script.toml", include_str!("../../packages/stage_script.toml")),
    ("supervisor_program.toml", include_str!("../../packages/supervisor_program.toml")),
    ("tls_certificate.toml", include_str!("../../packages/tls_certificate.toml")),
];

/// A problem in one definition file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", file.display())]
pub struct FileProblem {
    /// The file; for a built-in package its name in the sources.
    pub file: PathBuf,
    /// What is wrong in it.
    pub problem: Problem,
}

/// Digests of definitions by name: what tells two sets of them apart.
pub type Digests = BTreeMap<String, String>;

/// Names of the definitions that only one of the two has, or that they have from different texts; in order.
pub fn differing(one: &Digests, other: &Digests) -> Vec<String> {
    let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    names.into_iter().filter(|name| one.get(*name) != other.get(*name)).cloned().collect()
}

/// All definitions by name. Cheap to clone; a reload makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    definitions: Arc<BTreeMap<String, Arc<Definition>>>,
    files: Arc<BTreeMap<String, PathBuf>>,
}

impl Catalog {
    /// The packages that come with settled.
    pub fn builtin() -> Result<Self, Vec<FileProblem>> {
        Self::default().with_texts(BUILTIN.iter().map(|&(file, text)| (PathBuf::from(file), text.to_owned())))
    }

    /// Adds the definitions of every `*.toml` in a folder; one of the same name takes the place of the earlier one.
    ///
    /// All or nothing: with a problem in any file the answer is the list of all problems in all files. Two files of the folder
    /// that define the same name are a problem too.
    pub fn with_dir(self, dir: &Path) -> Result<Self, Vec<FileProblem>> {
        let unreadable = |file: &Path, error: &std::io::Error| FileProblem {
            file: file.to_owned(),
            problem: Problem::whole(format!("cannot be read: {error}")),
        };
        let entries = std::fs::read_dir(dir).map_err(|error| vec![unreadable(dir, &error)])?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| vec![unreadable(dir, &error)])?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
        files.sort();
        let (mut texts, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            match std::fs::read_to_string(&file) {
                Ok(text) => texts.push((file, text)),
                Err(error) => problems.push(unreadable(&file, &error)),
            }
        }
        match self.with_texts(texts) {
            Ok(catalog) if problems.is_empty() => Ok(catalog),
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    /// The definition of a name.
    pub fn get(&self, name: &str) -> Option<Arc<Definition>> {
        self.definitions.get(name).cloned()
    }

    /// The file that the definition of a name was read from; for a built-in package its name in the sources.
    pub fn file(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }

    /// All definitions in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.definitions.values()
    }

    /// What is wrong with the requirements of a definition, were it loaded, and these texts with it. What is wrong with those themselves is
    /// not told.
    pub fn faults_of(&self, definition: Definition, others: &[String]) -> Vec<Problem> {
        let mut definitions = (*self.definitions).clone();
        let others = others.iter().filter_map(|text| parse(text).ok());
        let definition = Arc::new(definition);
        for one in others.map(Arc::new).chain([definition.clone()]) {
            definitions.insert(one.name.clone(), one);
        }
        requires::faults(&definitions, &definition)
    }

    /// Name and digest of all definitions.
    pub fn digests(&self) -> Digests {
        self.iter().map(|d| (d.name.clone(), d.digest.clone())).collect()
    }

    fn with_texts(
        self,
        texts: impl IntoIterator<Item = (PathBuf, String)>,
    ) -> Result<Self, Vec<FileProblem>> {
        let mut definitions = (*self.definitions).clone();
        let mut files = (*self.files).clone();
        let mut added: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut problems = Vec::new();
        for (file, text) in texts {
            match parse(&text) {
                Ok(definition) => {
                    if let Some(other) = added.insert(definition.name.clone(), file.clone()) {
                        let message = format!("`{}` is defined in {} too", definition.name, other.display());
                        let problem = Problem { line: 0, field: "name".to_owned(), message };
                        problems.push(FileProblem { file, problem });
                    }
                    definitions.insert(definition.name.clone(), Arc::new(definition));
                }
                Err(found) => {
                    problems
                        .extend(found.into_iter().map(|problem| FileProblem { file: file.clone(), problem }));
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        files.append(&mut added);
        let problems = requires::check(&definitions, &files);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { definitions: Arc::new(definitions), files: Arc::new(files) })
    }
}
