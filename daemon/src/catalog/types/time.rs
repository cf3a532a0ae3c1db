//! Spans of time.

use std::time::Duration;

/// Unit, seconds, in falling order.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// Longest span, in seconds: ten years.
const SECONDS_MAX: u64 = 3_650 * 86_400;

/// A span like `90s` or `1h30m`: whole numbers with the units d, h, m and s, each at most once and in this order. Zero is refused.
pub(in crate::catalog) fn duration(raw: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = raw;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let unit = rest.get(digits..)?.chars().next()?;
        let (_, length) = units.find(|(name, _)| *name == unit)?;
        seconds = seconds.checked_add(number.checked_mul(*length)?)?;
        rest = rest.get(digits + 1..)?;
    }
    (1..=SECONDS_MAX).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// The canonical text of a span: `90s` is `1m30s`.
pub(in crate::catalog) fn shown(span: Duration) -> String {
    let mut seconds = span.as_secs();
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        if seconds >= length {
            parts.push(format!("{}{unit}", seconds / length));
            seconds %= length;
        }
    }
    parts.concat()
}
