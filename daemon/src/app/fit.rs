//! Whether the packages fit the timings of the configuration (P13). Neither knows the other; here they meet, at the start, at every
//! reload, and when a file is checked.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalog::{Catalog, Definition, FileProblem, OperationDef, Problem};
use crate::config::{Config, Demand};

/// The built-in packages and those of the configured folder, if they are in order and all of them fit.
pub(super) fn read_catalog(config: &Config) -> Result<Catalog, Vec<FileProblem>> {
    let builtin = Catalog::builtin()?;
    let catalog = match config.packages.dir.as_deref() {
        Some(dir) => builtin.with_dir(dir)?,
        None => builtin,
    };
    let problems: Vec<_> = catalog
        .iter()
        .flat_map(|definition| {
            let file =
                catalog.file(&definition.name).map_or_else(|| PathBuf::from(&definition.name), PathBuf::from);
            let in_file = move |problem| FileProblem { file: file.clone(), problem };
            misfits(config, definition).into_iter().map(in_file)
        })
        .collect();
    if problems.is_empty() { Ok(catalog) } else { Err(problems) }
}

/// What of a definition does not fit, by operation.
pub(super) fn misfits(config: &Config, definition: &Definition) -> Vec<Problem> {
    let of = |(name, operation): (&String, &OperationDef)| {
        let steps: Vec<(Duration, Option<Duration>)> =
            operation.steps.iter().map(|step| (step.timeout, step.kill_grace)).collect();
        let found = config.misfits(Demand {
            steps: &steps,
            attempts: operation.attempts_max,
            queue_limit: operation.queue_limit,
        });
        let (line, field) = (operation.line, format!("operations.{name}"));
        found
            .into_iter()
            .map(move |message| Problem { line, field: field.clone(), message })
            .collect::<Vec<_>>()
    };
    definition.operations.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::parse;
    use crate::config::{Sources, Surroundings};

    /// What is found against an operation that says this, with the defaults.
    fn found(line: &str) -> Vec<String> {
        let config = Config::load(&Sources::default(), &Surroundings::bare("/home/ann")).unwrap();
        let text = format!(
            "name = \"hurried\"\nsummary = \"Hurries\"\n\
             [operations.install]\n{line}\nsteps = [{{ title = \"Hurry\", script = \"true\", timeout = \"1m\" }}]\n\
             [operations.remove]\nsteps = [{{ title = \"Forget\", script = \"true\", timeout = \"1m\" }}]\n"
        );
        misfits(&config, &parse(&text).unwrap())
            .into_iter()
            .map(|p| format!("{}: {}", p.field, p.message))
            .collect()
    }

    #[test]
    fn p13_the_queue_limit_of_an_operation_bears_what_a_server_may_need() {
        // Its own step may take 60 s, 30 s to end and 120 s of margin, and another run of it stand behind it.
        assert_eq!(found("queue_limit = \"211s\""), Vec::<String>::new());
        let [message] = &found("queue_limit = \"210s\"")[..] else { panic!("one fault") };
        for part in ["operations.install", "timeout = 60s", "its queue_limit = 210", "211"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let all = found("queue_limit = \"1s\"");
        for key in ["lane.lease_s = 30", "lane.unreachable_retry_s = ", "lane.busy_retry_s = "] {
            assert!(all.iter().any(|message| message.contains(key)), "{key}: {all:?}");
        }
    }
}
