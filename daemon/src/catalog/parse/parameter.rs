//! `[parameters.NAME]`.

use super::super::definition::Parameter;
use super::super::suggest::did_you_mean;
use super::super::types::{ParamType, VALUE_BYTES_MAX, pattern};
use super::reader::Table;
use super::report::Report;

/// Longest text when the definition sets no `max`, in bytes.
const TEXT_BYTES_DEFAULT: i64 = 1024;
/// Longest secret when the definition sets no `max`, in bytes.
const SECRET_BYTES_DEFAULT: i64 = 16 * 1024;

/// Stands in for a type that could not be read, so that what refers to the parameter is not reported too.
const ANYTHING: ParamType = ParamType::Text { bytes_max: VALUE_BYTES_MAX, pattern: None, multiline: true };

pub(super) fn read(name: String, mut table: Table<'_>, report: &mut Report<'_>) -> Parameter {
    let word = table.required_text("type", report);
    let summary = table.line("summary", report);
    let kind = word.and_then(|word| read_kind(&word, &mut table, report));
    let default = read_default(&mut table, kind.as_ref(), report);
    let required = table.boolean("required", report);
    let key = table.boolean("key", report).unwrap_or(false);
    let fixed = table.boolean("fixed", report).unwrap_or(false);
    if required == Some(true) && table.has("default") {
        table.problem(
            "required",
            "a parameter with a default is never missing: leave one of the two out",
            report,
        );
    }
    if key && matches!(kind, Some(ParamType::Secret { .. } | ParamType::Text { multiline: true, .. })) {
        table.problem("key", "a secret or a text of many lines cannot be a key", report);
    }
    if kind.is_some() {
        table.finish(report);
    }
    let required = required.unwrap_or(default.is_none());
    let (summary, kind) = (summary.unwrap_or_default(), kind.unwrap_or(ANYTHING));
    Parameter { name, summary, kind, required, default, key, fixed }
}

/// The type, with the keys that only this type has.
pub(super) fn read_kind(word: &str, table: &mut Table<'_>, report: &mut Report<'_>) -> Option<ParamType> {
    let bytes_largest = i64::try_from(VALUE_BYTES_MAX).unwrap_or(i64::MAX);
    let bytes_max = |table: &mut Table<'_>, default, report: &mut Report<'_>| {
        let max = table.integer("max", 1, bytes_largest, report).unwrap_or(default);
        usize::try_from(max).unwrap_or(VALUE_BYTES_MAX)
    };
    Some(match word {
        "text" => ParamType::Text {
            bytes_max: bytes_max(table, TEXT_BYTES_DEFAULT, report),
            pattern: read_pattern(table, report),
            multiline: table.boolean("multiline", report).unwrap_or(false),
        },
        "integer" => {
            let min = table.integer("min", i64::MIN, i64::MAX, report).unwrap_or(i64::MIN);
            let max = table.integer("max", i64::MIN, i64::MAX, report).unwrap_or(i64::MAX);
            if min > max {
                table.problem("max", format!("is below `min`, which is {min}"), report);
            }
            ParamType::Integer { min, max }
        }
        "enum" => ParamType::Enum { values: read_values(table, report)? },
        "secret" => ParamType::Secret { bytes_max: bytes_max(table, SECRET_BYTES_DEFAULT, report) },
        "boolean" => ParamType::Boolean,
        "port" => ParamType::Port,
        "port_range" => ParamType::PortRange,
        "cidr" => ParamType::Cidr,
        "cidr_or_any" => ParamType::CidrOrAny,
        "hostname" => ParamType::Hostname,
        "hostnames" => ParamType::Hostnames,
        "address" => ParamType::Address,
        "addresses" => ParamType::Addresses,
        "cidrs" => ParamType::Cidrs,
        "words" => ParamType::Words { pattern: read_pattern(table, report) },
        "size" => ParamType::Size,
        "debian_package" => ParamType::DebianPackage,
        "debian_version" => ParamType::DebianVersion,
        "sql_name" => ParamType::SqlName,
        "email" => ParamType::Email,
        "path" => ParamType::Path,
        "relative_paths" => ParamType::RelativePaths,
        "unix_user" => ParamType::UnixUser,
        "cron" => ParamType::Cron,
        "duration" => ParamType::Duration,
        "url" => ParamType::Url,
        "git_url" => ParamType::GitUrl,
        "path_or_git_url" => ParamType::PathOrGitUrl,
        other => {
            let hint = did_you_mean(other, ParamType::WORDS);
            let known = ParamType::WORDS.join(", ");
            table.problem("type", format!("`{other}` is not a type{hint}; types are {known}"), report);
            return None;
        }
    })
}

fn read_pattern(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<regex::Regex> {
    let source = table.text("pattern", report)?;
    pattern(&source).map_err(|message| table.problem("pattern", message, report)).ok()
}

fn read_values(table: &mut Table<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    if !table.has("values") {
        table.problem("values", "`values` is missing: an enum lists its words", report);
    }
    let values = table.texts("values", report)?;
    let word = |value: &String| {
        (1..=64).contains(&value.len())
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b))
    };
    let mut distinct = values.clone();
    distinct.sort();
    distinct.dedup();
    if values.is_empty() || !values.iter().all(word) || distinct.len() < values.len() {
        let message = "must be different words of 1 to 64 letters, digits, `_`, `-`, `.` and `:`";
        table.problem("values", message, report);
    }
    Some(values)
}

/// The default in canonical form. Written as text, as every value; a number or true and false may stand without quotes.
fn read_default(table: &mut Table<'_>, kind: Option<&ParamType>, report: &mut Report<'_>) -> Option<String> {
    let raw = table.scalar("default", report)?;
    match kind? {
        ParamType::Secret { .. } => table.problem("default", "a secret has no default", report),
        kind => match kind.canonical(&raw) {
            Ok(value) if !value.is_empty() => return Some(value),
            Ok(_) => table.problem("default", "is empty: write `required = false` instead", report),
            Err(message) => table.problem("default", message, report),
        },
    }
    None
}
