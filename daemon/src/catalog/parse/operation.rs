//! `[operations.NAME]`, its steps, and `[probe]`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::operation::Operation;
use crate::domain::resource::{Declared, Presence, ResourceStatus};

use super::super::definition::{OperationDef, Parameter, ProbeDef, StepDef};
use super::reader::Table;
use super::references::{Context, check_proof};
use super::report::Report;
use super::{NAME_RULE, Placed, is_name, read_parameters, span_in_words};

/// Timeout of a step when the definition sets none (DESIGN, rules of state).
const STEP_TIMEOUT: Duration = Duration::from_mins(10);
/// From TERM to KILL of a step that needs dpkg, when the definition says nothing: dpkg that is killed in the middle leaves the server
/// broken for every later step.
const DPKG_KILL_GRACE: Duration = Duration::from_mins(10);
/// Timeout of a probe when the definition sets none.
const PROBE_TIMEOUT: Duration = Duration::from_mins(1);
/// `EX_TEMPFAIL`: another program is at it.
const BUSY_CODE: i32 = 75;
/// `EX_CONFIG`: the server or the parameters must change first.
const FINAL_CODE: i32 = 78;
/// Messages of one step that mean that another program is at it, at most, and the longest, in bytes.
const BUSY_SAYS_MAX: usize = 16;
const BUSY_WORDS_MAX: usize = 200;
/// Steps of one operation, at most.
const STEPS_MAX: usize = 50;

/// Statuses when the definition sets none.
pub(super) const DEFAULT: Declared =
    Declared { in_progress: ResourceStatus::Installing, success: ResourceStatus::Active };

/// `in_progress` and `success`, of the package or of one operation.
pub(super) fn declared(table: &mut Table<'_>, report: &mut Report<'_>, default: Declared) -> Declared {
    use ResourceStatus as S;
    let in_progress = status(table, "in_progress", [S::Installing, S::Updating], report);
    let success = status(table, "success", [S::Active, S::Success], report);
    Declared {
        in_progress: in_progress.unwrap_or(default.in_progress),
        success: success.unwrap_or(default.success),
    }
}

fn status(
    table: &mut Table<'_>,
    key: &'static str,
    allowed: [ResourceStatus; 2],
    report: &mut Report<'_>,
) -> Option<ResourceStatus> {
    let word = table.text(key, report)?;
    let status = ResourceStatus::parse(&word).filter(|status| allowed.contains(status));
    if status.is_none() {
        let [one, other] = allowed;
        table.problem(key, format!("`{word}` does not fit here: write `{one}` or `{other}`"), report);
    }
    status
}

/// `[probe]`.
pub(super) fn probe(
    table: &mut Table<'_>,
    context: &Context<'_>,
    report: &mut Report<'_>,
) -> Option<ProbeDef> {
    let mut table = table.table("probe", report)?;
    let script = table.script("script", true, report);
    let timeout = table.timeout("timeout", report).unwrap_or(PROBE_TIMEOUT);
    let line = report.line(table.start());
    let shows = table.table("shows", report).and_then(|shows| context.proof(shows, report));
    if shows.as_ref().is_some_and(|shows| shows.state != Presence::Present) {
        table.problem("shows", "must be `present`: what is asked for is there", report);
    }
    table.finish(report);
    Some(ProbeDef { line, script: script?, timeout, shows })
}

/// `[operations.*]`, and the operation `probe` made of `[probe]`.
pub(super) fn all(
    table: &mut Table<'_>,
    report: &mut Report<'_>,
    context: &Context<'_>,
    probe: Option<&ProbeDef>,
) -> BTreeMap<String, OperationDef> {
    let tables = table.table("operations", report).map(|table| table.into_tables(report)).unwrap_or_default();
    let names: Vec<String> = tables.iter().map(|(name, _)| name.clone()).collect();
    let mut operations = BTreeMap::new();
    let mut copies = Vec::new();
    for (name, mut table) in tables {
        check_name(&name, &table, report);
        match table.text("same_as", report) {
            Some(other) => copies.push((name, other, table)),
            None => operations.extend(context.operation(&name, table, report).map(|read| (name, read))),
        }
    }
    for (name, other, table) in copies {
        match operations.get(&other).cloned() {
            Some(operation) if !operation.exclusive && !is_own(&name) => {
                let message =
                    format!("[operations.{other}] only looks, beside the lane: this one changes things");
                table.problem("same_as", message, report);
            }
            Some(operation) => {
                check_proof(&name, operation.proof.as_ref(), &table, report);
                operations.insert(name, OperationDef { line: report.line(table.start()), ..operation });
            }
            None if names.contains(&other) && name != other => {}
            None => table.problem("same_as", format!("there is no [operations.{other}]"), report),
        }
        table.finish(report);
    }
    for needed in ["install", "remove"].into_iter().filter(|needed| !names.iter().any(|name| name == needed))
    {
        let message = format!("[operations.{needed}] is missing: every package has it");
        table.problem("operations", message, report);
    }
    operations.extend(probe.map(|probe| ("probe".to_owned(), probe_operation(probe, context.defaults))));
    operations
}

/// A probe as an operation: beside the lane, one step, nothing to prove.
fn probe_operation(probe: &ProbeDef, declared: Declared) -> OperationDef {
    let step = StepDef {
        title: "Look".to_owned(),
        script: probe.script.clone(),
        when: Vec::new(),
        secrets: Vec::new(),
        timeout: probe.timeout,
        kill_grace: None,
        needs_dpkg: false,
        busy_codes: vec![BUSY_CODE],
        busy_says: Vec::new(),
        final_codes: vec![FINAL_CODE],
    };
    OperationDef {
        line: probe.line,
        exclusive: false,
        declared,
        parameters: Vec::new(),
        changes: false,
        attempts_max: None,
        queue_limit: None,
        expected_runtime: None,
        retry_on_timeout: false,
        proof: None,
        steps: vec![step],
    }
}

fn check_name(name: &str, table: &Table<'_>, report: &mut Report<'_>) {
    let message = match Operation::from_word(name) {
        Operation::Probe => "a probe is written [probe], not as an operation",
        Operation::Register => "this name belongs to servers",
        Operation::Adopt => "this name belongs to settled: it looks, by [probe] and the proof of the install",
        Operation::Own(_) if !is_name(name) => NAME_RULE,
        _ => return,
    };
    report.add(table.start(), table.path(), message);
}

/// What an operation says for all its steps.
#[derive(Clone, Copy)]
struct Limits {
    timeout: Duration,
    kill_grace: Option<Duration>,
    exclusive: bool,
}

/// Keys of an operation, and of its step, that mean nothing where a script only looks and is answered at once.
const ONLY_IN_THE_LANE: [&str; 7] =
    ["attempts", "changes", "in_progress", "kill_grace", "proof", "retry_on_timeout", "success"];
const ONLY_OF_STEPS_IN_THE_LANE: [&str; 6] = ["busy", "busy_says", "dpkg", "final", "kill_grace", "secrets"];

fn is_own(name: &str) -> bool {
    matches!(Operation::from_word(name), Operation::Own(_))
}

/// `exclusive`: whether the operation takes the lane. One that only looks need not, and then says nothing that is about changes.
fn exclusive(operation: &Operation, table: &mut Table<'_>, report: &mut Report<'_>) -> bool {
    let exclusive = table.boolean("exclusive", report).unwrap_or(true);
    if exclusive {
        return true;
    }
    if !is_own(operation.as_str()) {
        table.problem(
            "exclusive",
            "only an operation of your own may run beside the lane: this one changes things",
            report,
        );
    }
    say_nothing_of(&ONLY_IN_THE_LANE, table, report);
    false
}

fn say_nothing_of(keys: &[&str], table: &Table<'_>, report: &mut Report<'_>) {
    for key in keys.iter().filter(|key| table.has(key)) {
        let message = "means nothing where `exclusive = false`: such an operation only looks; leave it out";
        table.problem(key, message, report);
    }
}

/// What usually takes longer than its timeouts allow would usually fail (P13).
fn check_runtime(expected: Option<Duration>, steps: &[StepDef], table: &Table<'_>, report: &mut Report<'_>) {
    let longest = steps.iter().map(|step| step.timeout).sum();
    let Some(expected) = expected.filter(|expected| *expected > longest && !steps.is_empty()) else { return };
    let message = format!(
        "{} is longer than the `timeout` of all its steps together, so that it would usually fail: \
         set expected_runtime to {} or less, or raise timeout",
        span_in_words(expected),
        span_in_words(longest)
    );
    table.problem("expected_runtime", message, report);
}

impl Context<'_> {
    fn operation(&self, name: &str, mut table: Table<'_>, report: &mut Report<'_>) -> Option<OperationDef> {
        let operation = Operation::from_word(name);
        let exclusive = exclusive(&operation, &mut table, report);
        let declared = match operation {
            Operation::Install | Operation::Update | Operation::Own(_) => {
                declared(&mut table, report, self.defaults)
            }
            _ => self.defaults,
        };
        let parameters = self.own_parameters(&operation, &mut table, report);
        let timeout = table.timeout("timeout", report).unwrap_or(STEP_TIMEOUT);
        let kill_grace = table.grace("kill_grace", report);
        let expected_runtime = table.runtime("expected_runtime", report);
        let attempts = table.integer("attempts", 1, 100, report);
        let queue_limit = table.timeout("queue_limit", report);
        let retry_on_timeout = table.boolean("retry_on_timeout", report).unwrap_or(false);
        let changes = table.boolean("changes", report);
        if changes == Some(false) && !matches!(operation, Operation::Own(_)) {
            table.problem("changes", "only an operation of your own may change nothing", report);
        }
        let proof = table.table("proof", report).and_then(|proof| self.proof(proof, report));
        check_proof(name, proof.as_ref(), &table, report);
        let steps = table.tables("steps", report);
        if steps.is_empty() || steps.len() > STEPS_MAX {
            let message = format!("needs 1 to {STEPS_MAX} steps, written [[{}]]", table.field("steps"));
            table.problem("steps", message, report);
        }
        if !exclusive && steps.len() > 1 {
            table.problem("steps", "must be one step where `exclusive = false`", report);
        }
        let limits = Limits { timeout, kill_grace, exclusive };
        let within = self.with(&parameters);
        let within = Context { parameters: &within, ..*self };
        let steps: Vec<_> = steps.into_iter().map(|step| within.step(step, limits, report)).collect();
        check_runtime(expected_runtime, &steps, &table, report);
        let line = report.line(table.start());
        table.finish(report);
        let attempts_max = attempts.and_then(|attempts| u32::try_from(attempts).ok());
        let operation = OperationDef {
            line,
            exclusive,
            declared,
            changes: exclusive && changes.unwrap_or(true),
            parameters: parameters.into_iter().map(|(_, parameter)| parameter).collect(),
            attempts_max: if exclusive { attempts_max } else { Some(1) },
            queue_limit,
            expected_runtime,
            retry_on_timeout,
            proof,
            steps,
        };
        Some(operation).filter(|operation| !operation.steps.is_empty())
    }

    /// What is given with the operation: it holds for one run, so nothing of it can be kept by the resource.
    fn own_parameters(
        &self,
        operation: &Operation,
        table: &mut Table<'_>,
        report: &mut Report<'_>,
    ) -> Vec<Placed> {
        let parameters = read_parameters(table, report);
        if !parameters.is_empty() && !matches!(operation, Operation::Remove | Operation::Own(_)) {
            let message = "only a removal and operations of your own take parameters: write those of the package as [parameters.*]";
            table.problem("parameters", message, report);
        }
        for (at, parameter) in &parameters {
            let message = if self.parameter(&parameter.name).is_some() {
                "is a parameter of the package already: choose another name"
            } else if parameter.secret() {
                "a secret belongs to the resource: write it as [parameters.*] of the package"
            } else if parameter.key || parameter.fixed {
                "`key` and `fixed` are for parameters of the package: this one holds for one run"
            } else {
                continue;
            };
            report.add(*at, &format!("{}.{}", table.field("parameters"), parameter.name), message);
        }
        parameters
    }

    /// The parameters of the package, and those of one operation.
    fn with(&self, own: &[Placed]) -> Vec<Placed> {
        self.parameters.iter().chain(own).cloned().collect()
    }

    /// A step with problems is answered too: they are reported, and what refers to it should not be.
    fn step(&self, mut table: Table<'_>, limits: Limits, report: &mut Report<'_>) -> StepDef {
        if !limits.exclusive {
            say_nothing_of(&ONLY_OF_STEPS_IN_THE_LANE, &table, report);
        }
        let title = table.line("title", report);
        let script = table.script("script", true, report);
        let when = table.table("when", report).map(|when| self.conditions(&when, report)).unwrap_or_default();
        let secrets = table.texts("secrets", report).unwrap_or_default();
        for name in &secrets {
            if !self.parameter(name).is_some_and(Parameter::secret) {
                table.problem("secrets", format!("`{name}` is not a parameter of type secret"), report);
            }
        }
        let timeout = table.timeout("timeout", report).unwrap_or(limits.timeout);
        let needs_dpkg = table.boolean("dpkg", report).unwrap_or(false);
        let kill_grace = table.grace("kill_grace", report).or(limits.kill_grace);
        let kill_grace = kill_grace.or_else(|| needs_dpkg.then_some(DPKG_KILL_GRACE));
        let busy_codes = table.codes("busy", report).unwrap_or_else(|| vec![BUSY_CODE]);
        let busy_says = table.texts("busy_says", report).unwrap_or_default();
        if busy_says.len() > BUSY_SAYS_MAX
            || busy_says.iter().any(|words| words.is_empty() || words.len() > BUSY_WORDS_MAX)
        {
            let message = format!("must be at most {BUSY_SAYS_MAX} texts of 1 to {BUSY_WORDS_MAX} bytes");
            table.problem("busy_says", message, report);
        }
        let final_codes = table.codes("final", report).unwrap_or_else(|| vec![FINAL_CODE]);
        if let Some(code) = busy_codes.iter().find(|code| final_codes.contains(code)) {
            let key = if table.has("final") { "final" } else { "busy" };
            table.problem(key, format!("exit code {code} cannot mean both busy and final"), report);
        }
        table.finish(report);
        StepDef {
            title: title.unwrap_or_default(),
            script: script.unwrap_or_default(),
            when,
            secrets,
            timeout,
            kill_grace,
            needs_dpkg,
            busy_codes,
            busy_says,
            final_codes,
        }
    }
}
