//! `[[rules]]`.

use super::super::definition::Rule;
use super::reader::Table;
use super::references::Context;
use super::report::Report;

/// Rules of a package, at most.
const RULES_MAX: usize = 64;

pub(super) fn read(table: &mut Table<'_>, context: &Context<'_>, report: &mut Report<'_>) -> Vec<Rule> {
    let tables = table.tables("rules", report);
    if tables.len() > RULES_MAX {
        table.problem("rules", format!("are {}; at most {RULES_MAX} are allowed", tables.len()), report);
    }
    tables.into_iter().map(|rule| context.rule(rule, report)).collect()
}

impl Context<'_> {
    fn rule(&self, mut table: Table<'_>, report: &mut Report<'_>) -> Rule {
        let when = table.table("when", report).map(|when| self.conditions(&when, report)).unwrap_or_default();
        let needs = table.texts("needs", report).unwrap_or_default();
        let excludes = table.texts("excludes", report).unwrap_or_default();
        let say = table.has("say").then(|| table.line("say", report)).flatten();
        table.take("say");
        for name in needs.iter().chain(&excludes) {
            let key = if needs.contains(name) { "needs" } else { "excludes" };
            if let Some(message) = self.why_not(name, key) {
                table.problem(key, message, report);
            }
        }
        if let Some(name) = needs.iter().find(|name| excludes.contains(name)) {
            table.problem("excludes", format!("`{name}` cannot be needed and left out"), report);
        }
        if needs.is_empty() && excludes.is_empty() && (say.is_none() || !table.has("when")) {
            let message = "asks for nothing: name parameters in `needs` or `excludes`; or give `when` and `say`, for values that are refused";
            report.add(table.start(), table.path(), message);
        }
        table.finish(report);
        Rule { when, needs, excludes, say }
    }

    /// What makes no sense in a rule.
    fn why_not(&self, name: &str, key: &str) -> Option<String> {
        let Some(parameter) = self.parameter(name) else {
            return Some(self.unknown(name));
        };
        if parameter.required || parameter.default.is_some() {
            return Some(format!(
                "`{name}` always has a value: a rule is for parameters with `required = false`"
            ));
        }
        (key == "excludes" && parameter.secret())
            .then(|| format!("`{name}` is a secret: it cannot be taken back, so it cannot be left out"))
    }
}
