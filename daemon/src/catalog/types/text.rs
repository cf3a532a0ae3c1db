//! Text, numbers and names.

use regex::Regex;

/// Longest part of a bad value that is shown back, in characters.
const EXCERPT_CHARS_MAX: usize = 60;

/// Refuses control characters; with `lines`, line feed and tab are allowed.
pub(super) fn no_controls(raw: &str, lines: bool) -> Result<(), String> {
    match raw.chars().find(|&c| c.is_control() && !(lines && (c == '\n' || c == '\t'))) {
        None => Ok(()),
        Some('\n') => Err("has a line break; only one line is allowed".to_owned()),
        Some(c) => Err(format!("has the control character U+{:04X}, which is not allowed", u32::from(c))),
    }
}

/// Text within its limits. It is its own canonical form.
pub(super) fn text(raw: &str, bytes_max: usize, pattern: Option<&Regex>) -> Result<String, String> {
    if raw.len() > bytes_max {
        return Err(format!("has {} bytes; at most {bytes_max} are allowed", raw.len()));
    }
    match pattern {
        Some(pattern) if !pattern.is_match(raw) => {
            Err(format!("`{}` does not fit: it must match {}", excerpt(raw), shown(pattern)))
        }
        _ => Ok(raw.to_owned()),
    }
}

/// A pattern for the whole text.
pub(in crate::catalog) fn pattern(source: &str) -> Result<Regex, String> {
    let whole = format!(r"\A(?:{source})\z");
    let built = regex::RegexBuilder::new(&whole).size_limit(1 << 20).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "this pattern is too large".to_owned(),
        other => format!("is not a pattern: {}", other.to_string().lines().last().unwrap_or_default()),
    })
}

/// A pattern as its author wrote it.
pub(super) fn shown(pattern: &Regex) -> &str {
    let whole = pattern.as_str();
    whole.strip_prefix(r"\A(?:").and_then(|rest| rest.strip_suffix(r")\z")).unwrap_or(whole)
}

/// A whole number in decimal digits.
pub(super) fn integer(raw: &str, min: i64, max: i64) -> Option<String> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    let number = raw.parse::<i64>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    (min..=max).contains(&number).then(|| number.to_string())
}

/// `true` or `false`, and the words that people use for them.
pub(super) fn boolean(raw: &str) -> Option<String> {
    let value = match raw.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => "true",
        "false" | "no" | "off" | "0" => "false",
        _ => return None,
    };
    Some(value.to_owned())
}

/// A name that useradd(8) and a crontab accept: begins with a letter or `_`, so never with a dash or a digit.
pub(super) fn unix_user(raw: &str) -> Option<String> {
    let mut bytes = raw.bytes();
    let first = bytes.next()?;
    let fits = raw.len() <= 32
        && (first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    fits.then(|| raw.to_owned())
}

/// The beginning of a bad value, for the message about it.
pub(super) fn excerpt(raw: &str) -> String {
    let mut shown: String =
        raw.chars().take(EXCERPT_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.len() < raw.len() {
        shown.push('…');
    }
    shown
}
