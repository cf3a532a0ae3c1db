//! `[outputs.NAME]`: what the steps of a package may write to `SETTLED_OUTPUT`.

use super::super::outputs::{OUTPUT_BYTES_MAX, OUTPUTS_MAX, OutputDef};
use super::super::types::ParamType;
use super::reader::Table;
use super::report::Report;
use super::{NAME_RULE, is_name, parameter};

pub(super) fn all(table: &mut Table<'_>, report: &mut Report<'_>) -> Vec<OutputDef> {
    let Some(outputs) = table.table("outputs", report) else { return Vec::new() };
    let tables = outputs.into_tables(report);
    if tables.len() > OUTPUTS_MAX {
        let message = format!("has {} outputs; at most {OUTPUTS_MAX} are allowed", tables.len());
        report.add(tables[OUTPUTS_MAX].1.start(), "outputs", message);
    }
    tables.into_iter().filter_map(|(name, table)| read(name, table, report)).collect()
}

fn read(name: String, mut table: Table<'_>, report: &mut Report<'_>) -> Option<OutputDef> {
    if !is_name(&name) {
        report.add(table.start(), table.path(), NAME_RULE);
    }
    let word = table.required_text("type", report);
    let summary = table.line("summary", report);
    let kind = word.and_then(|word| parameter::read_kind(&word, &mut table, report))?;
    if let Some(message) = unfit(&kind) {
        table.problem("type", message, report);
    }
    table.finish(report);
    Some(OutputDef { name, summary: summary?, kind })
}

/// An output is shown to everyone, and stands on one line.
fn unfit(kind: &ParamType) -> Option<String> {
    match kind {
        ParamType::Secret { .. } => Some("an output is shown, so it cannot be a secret".to_owned()),
        ParamType::RelativePaths | ParamType::Text { multiline: true, .. } => {
            Some("an output stands on one line".to_owned())
        }
        ParamType::Text { bytes_max, .. } if *bytes_max > OUTPUT_BYTES_MAX => {
            Some(format!("an output has at most {OUTPUT_BYTES_MAX} bytes: set max to that or less"))
        }
        _ => None,
    }
}
