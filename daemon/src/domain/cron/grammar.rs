//! The grammar of cron(8) of Debian, as its crontab(5) tells it: numbers, names, ranges, lists and steps.

/// Longest part of a text that an error repeats, in characters.
const EXCERPT_CHARS_MAX: usize = 40;
/// Largest step that is worth writing; cron itself has no limit.
const STEP_MAX: u32 = 999;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Days of each month in a leap year.
const MONTH_DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// What one field takes.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Three-letter names; the first stands for `min`.
    names: &'static [&'static str],
}

/// The seconds, which a schedule may put in front, and cron(8) does not know.
const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of month", min: 1, max: 31, names: &[] },
    Field { name: "month", min: 1, max: 12, names: &MONTHS },
    Field { name: "day of week", min: 0, max: 7, names: &DAYS },
];

/// Five fields with single spaces, names in lower case, numbers without leading zeros. The text is in lower case.
pub(crate) fn five_fields(text: &str) -> Result<String, String> {
    let texts: Vec<_> = text.split_whitespace().collect();
    if texts.len() != FIELDS.len() {
        return Err(format!(
            "has {} fields; five are expected: minute, hour, day of month, month, day of week",
            texts.len()
        ));
    }
    fields(&texts)
}

/// The same, perhaps with the seconds in front.
pub(super) fn five_or_six_fields(text: &str) -> Result<String, String> {
    let texts: Vec<_> = text.split_whitespace().collect();
    match texts.len() {
        5 => fields(&texts),
        6 => {
            let (second, _) = SECOND.list(texts[0])?;
            Ok(format!("{second} {}", fields(&texts[1..])?))
        }
        n => Err(format!(
            "has {n} fields; five are expected: minute, hour, day of month, month, day of week; or six, with the second first"
        )),
    }
}

fn fields(texts: &[&str]) -> Result<String, String> {
    let mut canonical = Vec::new();
    let mut sets = Vec::new();
    for (field, text) in FIELDS.iter().zip(texts) {
        let (text, set) = field.list(text)?;
        canonical.push(text);
        sets.push(set);
    }
    // With a day of week that is restricted too, cron runs when either of the two days fits.
    if canonical[4].starts_with('*') && !some_day_exists(sets[2], sets[3]) {
        return Err("names a day that no month has, so it would never run".to_owned());
    }
    Ok(canonical.join(" "))
}

fn some_day_exists(days: u64, months: u64) -> bool {
    (1..=12).zip(MONTH_DAYS).any(|(month, last)| months >> month & 1 == 1 && days & ((2 << last) - 1) != 0)
}

impl Field {
    /// A comma-separated list: its canonical text, and its values as bits.
    fn list(&self, text: &str) -> Result<(String, u64), String> {
        let mut parts = Vec::new();
        let mut set = 0;
        for part in text.split(',') {
            let (part, values) = self.part(part)?;
            parts.push(part);
            set |= values;
        }
        Ok((parts.join(","), set))
    }

    /// `*`, a value, or a range; after `*` or a range perhaps a step.
    fn part(&self, text: &str) -> Result<(String, u64), String> {
        let (range, step) = match text.split_once('/') {
            None => (text, None),
            Some((range, step)) => (range, Some(step)),
        };
        let (range, first, last) = if range == "*" {
            ("*".to_owned(), self.min, self.max)
        } else if let Some((first, last)) = range.split_once('-') {
            self.range(first, last)?
        } else if step.is_some() {
            return Err(format!(
                "{}: a step needs `*` or a range before it: write {}-{}/...",
                self.name,
                excerpt(range),
                self.max
            ));
        } else {
            let value = self.value(range)?;
            (self.shown(range, value), value, value)
        };
        let Some(step) = step else { return Ok((range, bits(first, last, 1))) };
        let step = number(step).filter(|step| (1..=STEP_MAX).contains(step)).ok_or_else(|| {
            format!("{}: the step in `{}` must be a number from 1 on", self.name, excerpt(text))
        })?;
        Ok((format!("{range}/{step}"), bits(first, last, step)))
    }

    fn range(&self, first: &str, last: &str) -> Result<(String, u32, u32), String> {
        let (low, high) = (self.value(first)?, self.value(last)?);
        if low > high {
            return Err(format!(
                "{}: the range {first}-{last} ends before it begins; write a list of two",
                self.name
            ));
        }
        Ok((format!("{}-{}", self.shown(first, low), self.shown(last, high)), low, high))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = (self.min..).zip(self.names).find(|(_, name)| **name == text).map(|(value, _)| value);
        let value = named.or_else(|| number(text)).filter(|value| (self.min..=self.max).contains(value));
        value.ok_or_else(|| {
            let or_name = if self.names.is_empty() { "" } else { ", or a name of three letters" };
            let shown = excerpt(text);
            format!("{}: `{shown}` is not a number from {} to {}{or_name}", self.name, self.min, self.max)
        })
    }

    /// Names stay names.
    fn shown(&self, text: &str, value: u32) -> String {
        if self.names.contains(&text) { text.to_owned() } else { value.to_string() }
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn bits(first: u32, last: u32, step: u32) -> u64 {
    (first..=last).step_by(step as usize).fold(0, |set, value| set | 1 << value)
}

/// The beginning of a text, harmless in a message.
fn excerpt(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut shown: String = plain.take(EXCERPT_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
