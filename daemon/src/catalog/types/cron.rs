//! When something runs on a server, as cron(8) of Debian takes it: five fields, or one of its words.

use crate::domain::cron::five_fields;

const WORDS: [&str; 8] =
    ["@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Five fields with single spaces, or one of the words; names in lower case, numbers without leading zeros.
pub(super) fn canonical(raw: &str) -> Result<String, String> {
    let raw = raw.trim().to_ascii_lowercase();
    if !raw.starts_with('@') {
        return five_fields(&raw);
    }
    if WORDS.contains(&raw.as_str()) {
        Ok(raw)
    } else {
        Err(format!("the words that cron knows are {}", WORDS.join(", ")))
    }
}
