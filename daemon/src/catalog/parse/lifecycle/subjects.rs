//! `[subjects.TYPE]` and `strict_subjects`: which subjects a lifecycle takes.

use super::super::reader::Table;
use super::super::report::Report;
use crate::domain::lifecycle::{IdForm, SubjectType, Subjects, is_subject_type};

const TYPE_RULE: &str = "must be 1 to 40 lower case letters, digits, '-' and '_', and begin with a letter";

pub(super) fn read(table: &mut Table<'_>, report: &mut Report<'_>) -> Subjects {
    let strict = table.boolean("strict_subjects", report).unwrap_or(false);
    let mut subjects = Subjects { strict, ..Subjects::default() };
    let declared = table.table("subjects", report).map(|table| table.into_tables(report)).unwrap_or_default();
    for (name, mut table) in declared {
        let linked = matches!(name.as_str(), "server" | "resource");
        if !is_subject_type(&name) {
            report.add(table.start(), table.path(), TYPE_RULE);
        }
        if linked && table.has("id") {
            table.problem("id", "servers and resources are known to settled: leave this away", report);
        }
        let form = table.word("id", IdForm::ALL, IdForm::parse, report).unwrap_or(IdForm::String);
        let aliases = table.texts("aliases", report).unwrap_or_default();
        if aliases.iter().any(|alias| !is_subject_type(alias)) {
            table.problem("aliases", format!("each {TYPE_RULE}"), report);
        }
        let mut taken =
            subjects.types.iter().flat_map(|(name, one)| std::iter::once(name).chain(&one.aliases));
        if taken.any(|taken| *taken == name || aliases.contains(taken)) {
            table.problem("aliases", "a name stands for one type only", report);
        }
        table.finish(report);
        subjects.types.insert(name, SubjectType { form, aliases });
    }
    if strict && subjects.types.is_empty() {
        table.problem(
            "strict_subjects",
            "with no type declared nothing could be enrolled: write [subjects.TYPE]",
            report,
        );
    }
    subjects
}
