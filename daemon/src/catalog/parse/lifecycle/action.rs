//! `[stages.action]`: an operation, a script, an approval, work for a worker or a webhook; and the values that they take.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeValue;

use super::super::reader::{Table, kind, sub_table};
use super::super::report::Report;
use super::super::values::integer;
use super::super::{NAME_RULE, is_name};
use super::{LABEL_RULE, is_label};
use crate::catalog::endpoint::{NoEndpoint, check_endpoint};
use crate::domain::expression::Expression;
use crate::domain::lifecycle::{Action, CALL_DEFAULT, Given, LEASE_DEFAULT, Target};
use crate::domain::operation::Operation;

/// Longest lease of a worker.
const LEASE_MAX: Duration = Duration::from_secs(86_400);
/// The keys that say what an action is.
const KINDS: [&str; 5] = ["operation", "script", "approval", "work", "webhook"];
/// Longest time of a webhook.
const CALL_MAX: Duration = Duration::from_secs(300);

/// The action of a stage.
pub(super) fn read(stage: &mut Table<'_>, report: &mut Report<'_>) -> Option<Action> {
    if !stage.has("action") {
        stage.take("action");
        stage.problem("action", "`action` is missing: say what the stage does, in [stages.action]", report);
    }
    let mut table = stage.table("action", report)?;
    let given: Vec<_> = KINDS.into_iter().filter(|key| table.has(key)).collect();
    let action = match given[..] {
        ["operation"] => operation(&mut table, report),
        ["script"] => script(&mut table, report),
        ["approval"] => approval(&mut table, report),
        ["work"] => work(&mut table, report),
        ["webhook"] => webhook(&mut table, report),
        _ => {
            let message = format!("needs exactly one of {}", KINDS.join(", "));
            report.add(table.start(), table.path(), message);
            return None;
        }
    };
    table.finish(report);
    action
}

fn operation(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Action> {
    let word = table.text("operation", report)?;
    if !is_name(&word) || matches!(word.as_str(), "register" | "adopt") {
        table.problem(
            "operation",
            "must be an operation of a package, like install, update, remove or its own",
            report,
        );
    }
    let target = target(table, report);
    if word == "install" && target.package.is_none() {
        table.problem("package", "an install needs the name of a package", report);
    }
    let set = table.table("set", report).map(|set| values(&set, report)).unwrap_or_default();
    if !set.is_empty() && matches!(word.as_str(), "pause" | "resume" | "probe") {
        table.problem("set", "pause, resume and probe take no parameters", report);
    }
    Some(Action::Operation { operation: Operation::from_word(&word), target, set })
}

fn script(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Action> {
    let script = table.script("script", true, report)?;
    let user = table.text("user", report).unwrap_or_else(|| "root".to_owned());
    let server = table.given("server", report);
    Some(Action::Script { script, user, server })
}

fn approval(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Action> {
    let question = table.line("approval", report)?;
    let by = table.texts("by", report).unwrap_or_default();
    Some(Action::Approval { question, by })
}

fn work(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Action> {
    let queue = table.text("work", report)?;
    if !is_label(&queue) {
        table.problem("work", LABEL_RULE, report);
    }
    let lease = table.span("lease", LEASE_MAX, report).unwrap_or(LEASE_DEFAULT);
    Some(Action::Work { queue, lease })
}

fn webhook(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Action> {
    let url = table.line("webhook", report)?;
    let plain = table.boolean("plain", report).unwrap_or(false);
    match check_endpoint(&url, plain) {
        Ok(()) => {}
        Err(NoEndpoint::Form) => table.problem("webhook", NoEndpoint::Form.to_string(), report),
        Err(NoEndpoint::Plain) => {
            table.problem(
                "webhook",
                format!("{}, so say `plain = true` to have that", NoEndpoint::Plain),
                report,
            );
        }
    }
    let secret = table.required_text("secret", report);
    if secret.as_deref().is_some_and(|secret| !is_label(secret)) {
        table.problem("secret", LABEL_RULE, report);
    }
    let timeout = table.span("timeout", CALL_MAX, report).unwrap_or(CALL_DEFAULT);
    Some(Action::Webhook { url, secret: secret?, timeout })
}

/// A table that names a resource and nothing else.
pub(super) fn read_target(mut table: Table<'_>, report: &mut Report<'_>) -> Target {
    let found = target(&mut table, report);
    table.finish(report);
    found
}

fn target(table: &mut Table<'_>, report: &mut Report<'_>) -> Target {
    let package = table.text("package", report);
    if package.as_deref().is_some_and(|package| !is_name(package)) {
        table.problem("package", NAME_RULE, report);
    }
    if package.is_none() && (table.has("server") || table.has("name")) {
        table.problem(
            "package",
            "is missing: without it the subject itself is meant, which has a server and a name",
            report,
        );
    }
    Target { package, server: table.given("server", report), name: table.given("name", report) }
}

fn values(table: &Table<'_>, report: &mut Report<'_>) -> BTreeMap<String, Given> {
    let read = |(name, value): (&str, &DeValue<'_>)| {
        let (at, field) = (table.place(name), table.field(name));
        Some((name.to_owned(), value_of(value, at, &field, report)?))
    };
    table.values().filter_map(read).collect()
}

/// A text, a number, true or false as they stand, or `{ from = "expression" }`.
fn value_of(value: &DeValue<'_>, at: Option<usize>, field: &str, report: &mut Report<'_>) -> Option<Given> {
    match value {
        DeValue::String(text) => Some(Given::Fixed(text.to_string())),
        DeValue::Boolean(word) => Some(Given::Fixed(word.to_string())),
        DeValue::Integer(_) => Some(Given::Fixed(integer(value)?.to_string())),
        DeValue::Table(_) => {
            let mut table = sub_table(value, field.to_owned(), at, report)?;
            let read = table.expression("from", report);
            if !table.has("from") {
                report.add(at, field, "must be a value, or { from = \"payload.NAME\" }");
            }
            table.finish(report);
            read.map(Given::From)
        }
        other => {
            report.add(
                at,
                field,
                format!("must be a value, or {{ from = \"payload.NAME\" }}, not {}", kind(other)),
            );
            None
        }
    }
}

impl Table<'_> {
    /// An expression.
    pub(super) fn expression(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Expression> {
        let text = self.text(key, report)?;
        match Expression::parse(&text) {
            Ok(expression) => Some(expression),
            Err(error) => {
                let rest: String = text.get(error.at..).unwrap_or("").chars().take(40).collect();
                let place = if rest.is_empty() { "at its end".to_owned() } else { format!("at `{rest}`") };
                self.problem(key, format!("is not an expression: {error} ({place})"), report);
                None
            }
        }
    }

    fn given(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Given> {
        let (at, field) = (self.place(key), self.field(key));
        let value = self.take(key)?;
        value_of(value, at, &field, report)
    }
}
