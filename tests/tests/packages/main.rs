//! The scripts of the built-in packages, run for real by /bin/sh on this machine.
//!
//! `deployment` runs whole, in a directory of its own. `scheduled_task` runs with a folder of the test in the place of /etc/cron.d,
//! `firewall_rule` with a program in the place of ufw that keeps rules as ufw does, and changes no firewall.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop at what they cannot do")]

mod deployment;
mod firewall_rule;
mod hostile;
mod scheduled_task;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use settled::catalog::{Catalog, Definition, Given, ProbeReading, Proof, read_probe};
use settled::domain::operation::Operation;
use settled::domain::params::{Params, together};

/// How an operation went: the first step that failed, or the last.
#[derive(Debug)]
struct Went {
    step: String,
    code: i32,
    output: String,
    busy: bool,
    is_final: bool,
}

impl Went {
    fn well(&self) -> &Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    fn wrong(&self, step: &str, code: i32, words: &str) {
        assert_eq!((self.step.as_str(), self.code), (step, code), "{self:#?}");
        assert!(self.output.contains(words), "{self:#?}");
    }
}

/// A resource of a built-in package, whose steps run here and now.
struct Subject {
    definition: Arc<Definition>,
    name: String,
    params: Params,
    /// Fixed text of the scripts that the test replaces, so that they touch its own files only.
    replace: Vec<(String, String)>,
    /// A folder of programs that the scripts find before the machine's.
    programs: Option<PathBuf>,
    /// What the step wrote last that told anything.
    outputs: tempfile::NamedTempFile,
}

impl Subject {
    fn new(package: &str, name: &str, params: &[(&str, &str)]) -> Self {
        let definition = Catalog::builtin().unwrap().get(package).unwrap();
        let given: Params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let params = definition.check(&given, &BTreeMap::new(), Given::Install).unwrap();
        Self {
            definition,
            name: name.to_owned(),
            params,
            replace: Vec::new(),
            programs: None,
            outputs: tempfile::NamedTempFile::new().unwrap(),
        }
    }

    /// Sets parameters as an update would.
    fn with(&mut self, changes: &[(&str, &str)]) -> &mut Self {
        let changes: Params = changes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let given = Given::Update { current: &self.params, current_secrets: &[] };
        self.params = self.definition.check(&changes, &BTreeMap::new(), given).unwrap();
        self
    }

    fn run(&self, operation: &str) -> Went {
        self.run_with(operation, &[])
    }

    /// Runs an operation with what is given for this run alone.
    fn run_with(&self, operation: &str, given: &[(&str, &str)]) -> Went {
        let operation = Operation::from_word(operation);
        let given: Params = given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let given = self.definition.check_given(&operation, &given).unwrap();
        let values = together(&self.params, &given);
        let plan = self.definition.plan(&operation, &self.name, &values, None).unwrap();
        let mut all = String::new();
        let mut last = None;
        for step in plan.steps {
            let (code, output) = self.shell(&step.script, &step.env);
            all.push_str(&output);
            let went = Went {
                step: step.title.clone(),
                code,
                output: all.clone(),
                busy: step.is_busy(code, &output),
                is_final: step.final_codes.contains(&code),
            };
            if code != 0 {
                return went;
            }
            last = Some(went);
        }
        last.unwrap()
    }

    /// What the last step that told anything has told.
    fn told(&self) -> String {
        fs::read_to_string(self.outputs.path()).unwrap()
    }

    fn probe(&self) -> ProbeReading {
        let plan = self.definition.probe_plan(&self.name, &self.params).unwrap();
        let (code, output) = self.shell(&plan.script, &plan.env);
        assert_eq!(code, 0, "{output}");
        read_probe(output.as_bytes())
    }

    fn proof(&self, operation: &str) -> Proof {
        let plan = self.definition.plan(&Operation::from_word(operation), &self.name, &self.params, None);
        plan.unwrap().proof.unwrap()
    }

    fn proven(&self, operation: &str) -> bool {
        self.proof(operation).holds(&self.probe(), &self.params)
    }

    /// As the step protocol does it: the script from a file, standard input empty, one stream of output.
    fn shell(&self, script: &str, env: &[(String, String)]) -> (i32, String) {
        let mut script = script.to_owned();
        for (from, to) in &self.replace {
            assert!(script.contains(from.as_str()), "the scripts no longer have `{from}`");
            script = script.replace(from.as_str(), to);
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(script.as_bytes()).unwrap();
        let machine = std::env::var_os("PATH").unwrap();
        let path = self.programs.iter().cloned().chain(std::env::split_paths(&machine));
        let output = Command::new("/bin/sh")
            .arg(file.path())
            .env_clear()
            .env("PATH", std::env::join_paths(path).unwrap())
            .envs(env.iter().map(|(k, v)| (k, v)))
            .env("SETTLED_OUTPUT", self.outputs.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every path below a folder with its inode, kind and content.
fn snapshot(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut lines = Vec::new();
    for name in names(dir) {
        let path = dir.join(name);
        let meta = path.symlink_metadata().unwrap();
        let content = match meta.file_type() {
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
            kind if kind.is_file() => fs::read_to_string(&path).unwrap(),
            _ => String::new(),
        };
        lines.push(format!("{} {} {} {content}", path.display(), meta.ino(), meta.mode()));
        if meta.is_dir() {
            lines.extend(snapshot(&path));
        }
    }
    lines
}

fn fact<'r>(reading: &'r ProbeReading, name: &str) -> &'r str {
    reading.facts.get(name).map_or("", String::as_str)
}
