//! Lists: words, addresses, networks.

use regex::Regex;

/// Longest list, in bytes.
const LIST_BYTES_MAX: usize = 4096;
/// Longest word of a list of words, in bytes.
const WORD_BYTES_MAX: usize = 64;

/// What stands between spaces and commas, each in its own canonical form, with single spaces between them. Nothing is there twice.
pub(super) fn of(
    raw: &str,
    each: impl Fn(&str) -> Result<Option<String>, String>,
) -> Result<Option<String>, String> {
    if raw.len() > LIST_BYTES_MAX {
        return Err(format!("has {} bytes; at most {LIST_BYTES_MAX} are allowed", raw.len()));
    }
    let mut kept: Vec<String> = Vec::new();
    for part in raw.split([' ', ',']).filter(|part| !part.is_empty()) {
        let Some(one) = each(part)? else { return Ok(None) };
        if kept.contains(&one) {
            return Err(format!("`{one}` is there twice"));
        }
        kept.push(one);
    }
    Ok(Some(kept.join(" ")).filter(|joined| !joined.is_empty()))
}

/// A word of letters, digits and `. _ + : -`, that begins with a letter or a digit.
pub(super) fn word(raw: &str, pattern: Option<&Regex>) -> Option<String> {
    let fits = raw.len() <= WORD_BYTES_MAX
        && raw.starts_with(|first: char| first.is_ascii_alphanumeric())
        && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+:-".contains(&b))
        && pattern.is_none_or(|pattern| pattern.is_match(raw));
    fits.then(|| raw.to_owned())
}
