//! Cron expressions: which times they name on the clock on the wall, and at which instants those are due.
//!
//! croner searches the calendar and knows nothing of time zones here; what a change of the clock does to a due time stands in this file
//! alone, and for people in docs/schedules.md. An expression is *fixed* when none of its second, minute and hour has a `*`: it names
//! times of the day. Each of those is due once: the first time in an hour that is repeated, and right after a gap that skips it. All
//! others count real time, so they are due whenever the clock on the wall shows what they name: twice in a repeated hour, and not at
//! all in a gap.

mod grammar;

pub(crate) use grammar::five_fields;

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp as Moment;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::time::Timestamp;

/// Longest expression, in bytes.
const BYTES_MAX: usize = 200;
/// Words that stand for expressions.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// Changes of the clock that a search passes: a hundred years with four in each. A day of February on a given day of the week comes at
/// least every forty.
const CHANGES_MAX: usize = 400;
/// Times on the wall that a search passes because they are over: every second of a skipped or repeated day.
const PASSED_MAX: usize = 86_400;

/// A cron expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    fixed: bool,
    calendar: croner::Cron,
}

/// Why a text is no cron expression: what is wrong, with the name of the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadCron(String);

impl Cron {
    /// Reads an expression: five fields, six with the second first, or a word like `@daily`.
    pub fn parse(text: &str) -> Result<Self, BadCron> {
        if text.len() > BYTES_MAX {
            return Err(BadCron(format!("must have at most {BYTES_MAX} bytes")));
        }
        let text = text.trim().to_ascii_lowercase();
        if text.is_empty() {
            return Err(BadCron("is missing: write for instance `30 2 * * *`, or @daily".to_owned()));
        }
        let fields = if text.starts_with('@') {
            word(&text)?.to_owned()
        } else {
            grammar::five_or_six_fields(&text).map_err(BadCron)?
        };
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let calendar = parser.parse(&fields).map_err(|error| BadCron(error.to_string()))?;
        let parts: Vec<_> = fields.split(' ').collect();
        let times = &parts[..parts.len() - 3];
        let fixed = !times.iter().any(|part| part.contains('*'));
        let text = if text.starts_with('@') { text } else { fields };
        Ok(Self { text, fixed, calendar })
    }

    /// Its text, in one form for all that mean the same.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first due time after this one in a zone; `None`: there is none that anyone could name.
    pub fn next(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let after = Moment::from_microsecond(after.0).ok()?;
        let next = if self.fixed { self.next_fixed(zone, after) } else { self.next_real(zone, after) };
        next.map(|at| Timestamp(at.as_microsecond()))
    }

    /// Every time on the wall is due once, so time on the wall is walked.
    fn next_fixed(&self, zone: &TimeZone, after: Moment) -> Option<Moment> {
        let mut wall = zone.to_datetime(after);
        for _ in 0..PASSED_MAX {
            wall = self.on_the_wall(wall, false)?;
            // In the second turn of a repeated hour all that the first turn had is over.
            let at = instant(zone, wall)?;
            if at > after {
                return Some(at);
            }
        }
        None
    }

    /// Every instant counts, so real time is walked, from one change of the clock to the next.
    fn next_real(&self, zone: &TimeZone, after: Moment) -> Option<Moment> {
        let (mut from, mut inclusive) = (after, false);
        for _ in 0..CHANGES_MAX {
            let change = zone.following(from).next().map(|change| change.timestamp());
            let offset = zone.to_offset(from);
            let wall = self.on_the_wall(offset.to_datetime(from), inclusive)?;
            let at = offset.to_timestamp(wall).ok()?;
            match change {
                Some(change) if at >= change => (from, inclusive) = (change, true),
                _ => return Some(at),
            }
        }
        None
    }

    /// The next time that it names on a wall whose clock is never changed.
    fn on_the_wall(&self, from: DateTime, inclusive: bool) -> Option<DateTime> {
        self.calendar.find_next_occurrence(&from, inclusive).ok()
    }
}

fn word(text: &str) -> Result<&'static str, BadCron> {
    let known = WORDS.iter().find(|(word, _)| *word == text).map(|(_, fields)| *fields);
    known.ok_or_else(|| {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
        BadCron(format!("the words of schedules are {}", words.join(", ")))
    })
}

/// When a time on the wall is due: the first time that it is shown, or right after the gap that skips it.
fn instant(zone: &TimeZone, wall: DateTime) -> Option<Moment> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(wall).ok()
        }
        AmbiguousOffset::Gap { after, .. } => {
            let before_the_gap = after.to_timestamp(wall).ok()?;
            let mut changes = zone.following(before_the_gap).map(|change| change.timestamp());
            changes.find(|change| zone.to_datetime(*change) > wall)
        }
    }
}

#[cfg(test)]
mod tests;
