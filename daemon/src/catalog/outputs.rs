//! Outputs: what the steps of an operation tell beyond how they ended. A step writes `name=value` lines to the file that
//! `SETTLED_OUTPUT` names; what the package does not declare, or what does not fit its type, is a mistake that is told.

use crate::domain::params::Outputs;

use super::parse::is_name;
use super::suggest::did_you_mean;
use super::types::ParamType;

/// Most outputs of a package.
pub const OUTPUTS_MAX: usize = 16;
/// Longest value of an output, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 1024;

/// An output that a package declares.
#[derive(Debug, Clone)]
pub struct OutputDef {
    /// Lower case with underscores; later steps find it as `OUT_<NAME>`.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Which values it takes.
    pub kind: ParamType,
}

/// Reads what a step wrote: the outputs by name in canonical form, an empty one for a value that is taken away. The error tells what does
/// not fit, as the end of a sentence about the step. `free`: names that are not declared are taken, too, with one line of text each.
/// What a look has written to `SETTLED_OUTPUT` for whoever asked for it: any names. The error is the end of a sentence.
pub fn read_told(written: &[u8]) -> Result<Outputs, String> {
    read(&[], true, written)
}

pub(super) fn read(declared: &[OutputDef], free: bool, written: &[u8]) -> Result<Outputs, String> {
    let text = std::str::from_utf8(written).map_err(|_| "text that is not UTF-8".to_owned())?;
    let mut outputs = Outputs::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("the line `{}`, which is not of the form name=value", shown(line)))?;
        let kind = declared.iter().find(|output| output.name == name).map(|output| &output.kind);
        let kind = kind.or_else(|| (free && is_name(name)).then_some(&LINE)).ok_or_else(|| {
            let hint = did_you_mean(name, declared.iter().map(|output| output.name.as_str()));
            let why = if free { "which is no name" } else { "which its package does not declare" };
            format!("`{}`, {why}{hint}", shown(name))
        })?;
        outputs.insert(name.to_owned(), fitting(name, kind, value)?);
    }
    Ok(outputs)
}

/// One line of text.
const LINE: ParamType = ParamType::Text { bytes_max: OUTPUT_BYTES_MAX, pattern: None, multiline: false };

fn fitting(name: &str, kind: &ParamType, value: &str) -> Result<String, String> {
    let misfit = |message: String| format!("`{name}={}`: {message}", shown(value));
    if value.len() > OUTPUT_BYTES_MAX {
        return Err(misfit(format!("has {} bytes; at most {OUTPUT_BYTES_MAX} are allowed", value.len())));
    }
    if value.is_empty() { Ok(String::new()) } else { kind.canonical(value).map_err(misfit) }
}

/// What a step wrote, safe to show and not endless.
fn shown(text: &str) -> String {
    let cut = text.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c });
    cut.chain(text.chars().nth(64).map(|_| '\u{2026}')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> Vec<OutputDef> {
        let output = |name: &str, kind| OutputDef { name: name.to_owned(), summary: String::new(), kind };
        vec![
            output("port", ParamType::Port),
            output("release", ParamType::Text { bytes_max: 2_000, pattern: None, multiline: false }),
        ]
    }

    #[test]
    fn outputs_are_read_line_by_line_in_canonical_form_and_the_last_one_counts() {
        let read = |text: &str| {
            let outputs = read(&declared(), false, text.as_bytes())?;
            Ok::<_, String>(outputs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(read("").as_deref(), Ok(""));
        assert_eq!(read("port=080\n\nrelease=a=b c\n").as_deref(), Ok("port=80 release=a=b c"));
        assert_eq!(read("port=1\nport=2").as_deref(), Ok("port=2"));
        assert_eq!(read("port=\n").as_deref(), Ok("port="), "taken away");
        let long = format!("release={}", "x".repeat(OUTPUT_BYTES_MAX + 1));
        for (text, part) in [
            ("port", "is not of the form name=value"),
            ("prot=80", "does not declare (did you mean `port`?)"),
            ("port=70000", "`port=70000`"),
            (long.as_str(), "at most 1024"),
            ("release=a\u{7}b", "`release=a\u{fffd}b`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(super::read(&declared(), false, b"release=\xff").is_err_and(|e| e.contains("UTF-8")));
    }

    #[test]
    fn free_outputs_take_any_name_with_one_line_of_text() {
        let read = |text: &str| super::read(&declared(), true, text.as_bytes());
        let told = [("color", "red"), ("port", "80")];
        let told = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read("port=080\ncolor=red\n"), Ok(told.into()));
        for (text, part) in
            [("port=x", "`port=x`"), ("Color=red", "which is no name"), ("color=a\u{7}", "`color=")]
        {
            assert!(read(text).is_err_and(|error| error.contains(part)), "{text}");
        }
    }
}
