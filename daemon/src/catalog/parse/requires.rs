//! `requires`: a list of names, and of `{ package = "php", when = { kind = "php" } }`. Whether there are such packages shows when all are read.

use toml::de::DeValue;

use super::super::requires::Requirement;
use super::reader::{Table, kind, sub_table};
use super::references::Context;
use super::report::Report;
use super::{NAME_RULE, is_name};

/// Packages that one requires, at most.
const REQUIRES_MAX: usize = 16;

pub(super) fn all(table: &mut Table<'_>, context: &Context<'_>, report: &mut Report<'_>) -> Vec<Requirement> {
    let Some(value) = table.take("requires") else { return Vec::new() };
    let DeValue::Array(values) = value else {
        table.problem("requires", "must be a list, like [\"nginx\"]", report);
        return Vec::new();
    };
    if values.len() > REQUIRES_MAX {
        table.problem(
            "requires",
            format!("names {} packages; at most {REQUIRES_MAX} are allowed", values.len()),
            report,
        );
    }
    let mut requirements: Vec<Requirement> = Vec::new();
    for (n, value) in values.iter().enumerate() {
        let (at, field) = (value.span().start, format!("requires[{n}]"));
        let line = report.line(Some(at));
        let read = match value.get_ref() {
            DeValue::String(name) => Some(Requirement { package: name.to_string(), when: Vec::new(), line }),
            DeValue::Table(_) => sub_table(value.get_ref(), field.clone(), Some(at), report)
                .and_then(|table| one(table, context, line, report)),
            other => {
                let message = format!("must be the name of a package or a table, not {}", kind(other));
                report.add(Some(at), &field, message);
                None
            }
        };
        if read.as_ref().is_some_and(|read| !is_name(&read.package)) {
            report.add(Some(at), &field, NAME_RULE);
        }
        requirements.extend(read);
    }
    requirements
}

fn one(
    mut table: Table<'_>,
    context: &Context<'_>,
    line: u32,
    report: &mut Report<'_>,
) -> Option<Requirement> {
    let package = table.required_text("package", report);
    let when = table.table("when", report).map(|when| context.conditions(&when, report)).unwrap_or_default();
    table.finish(report);
    Some(Requirement { package: package?, when, line })
}
