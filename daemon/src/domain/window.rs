//! Maintenance windows: when work may begin on a server, by the clock on the wall there.
//!
//! A window is open whenever that clock shows a time within it. That one sentence also says what happens when the clock is changed: an
//! hour that is skipped opens nothing, and one that is repeated counts twice. Zones come as values: looking one up by name reads the
//! machine's time zone data, and is not done here.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp as Moment, ToSpan as _};

use super::time::Timestamp;

/// Windows of one server, at most.
pub const WINDOWS_MAX: usize = 16;
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// How often windows and blackouts may follow upon one another before one that is open is given up.
const STEPS_MAX: usize = 64;
/// Days in which the next opening is looked for: a window within a skipped hour may have to wait for its second turn.
const DAYS_AHEAD: usize = 15;
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// Some days of the week, and from when to when on each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// By weekday, from Monday: on which days it opens.
    pub days: [bool; 7],
    /// Minute of the day at which it opens, below 1440.
    pub opens: u16,
    /// Minute of the day at which it closes, at most 1440; on the next day when it is not after `opens`.
    pub closes: u16,
}

/// When work may begin on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Now.
    Now,
    /// Not before this.
    At(Timestamp),
    /// No time at which one opens could be found.
    Unknown,
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a window: {why}; write it like `Mon-Fri 22:00-06:00`, `Sat,Sun 00:00-24:00` or `daily 02:00-04:30`"
)]
pub struct BadWindow {
    text: String,
    why: &'static str,
}

/// When work may begin on a server with these windows. Without any it may at all times.
pub fn opening(windows: &[Window], zone: &TimeZone, now: Timestamp) -> Opening {
    let Ok(instant) = Moment::from_microsecond(now.0) else { return Opening::Unknown };
    if windows.is_empty() || is_open(windows, zone.to_datetime(instant)) {
        return Opening::Now;
    }
    let next = moments(windows, zone, instant, |window| window.opens).into_iter().filter(|at| *at > instant);
    let next = next.filter(|at| is_open(windows, zone.to_datetime(*at))).min();
    next.map_or(Opening::Unknown, |at| Opening::At(Timestamp(at.as_microsecond())))
}

/// When work may begin that has windows, and blackouts in which it must not although a window is open.
pub fn opening_between(windows: &[Window], blackouts: &[Window], zone: &TimeZone, now: Timestamp) -> Opening {
    let mut at = now;
    for _ in 0..STEPS_MAX {
        match opening(windows, zone, at) {
            Opening::Now => {}
            Opening::At(opens) => at = opens,
            Opening::Unknown => return Opening::Unknown,
        }
        match closing(blackouts, zone, at) {
            Opening::Now if at == now => return Opening::Now,
            Opening::Now => return Opening::At(at),
            Opening::At(ends) => at = ends,
            Opening::Unknown => return Opening::Unknown,
        }
    }
    Opening::Unknown
}

/// Whether there is a minute of the week, by the clock on the wall, in which work may begin.
pub fn ever_open(windows: &[Window], blackouts: &[Window]) -> bool {
    let open = |day: usize, minute: u16| {
        let holds = |window: &Window| window.holds(day, minute);
        (windows.is_empty() || windows.iter().any(holds)) && !blackouts.iter().any(holds)
    };
    (0..7).any(|day| (0..DAY).any(|minute| open(day, minute)))
}

/// When none of them is open any more.
fn closing(windows: &[Window], zone: &TimeZone, now: Timestamp) -> Opening {
    let Ok(instant) = Moment::from_microsecond(now.0) else { return Opening::Unknown };
    if !is_open(windows, zone.to_datetime(instant)) {
        return Opening::Now;
    }
    let next = moments(windows, zone, instant, |window| window.closes % DAY);
    let next = next.into_iter().filter(|at| *at > instant && !is_open(windows, zone.to_datetime(*at))).min();
    next.map_or(Opening::Unknown, |at| Opening::At(Timestamp(at.as_microsecond())))
}

/// Whether one of them is open when the clock on the wall shows this.
fn is_open(windows: &[Window], wall: DateTime) -> bool {
    let minute = minute_of(wall);
    let today = day_of(wall.weekday());
    windows.iter().any(|window| window.holds(today, minute))
}

/// Every instant at which one may open or close: when the clock on the wall comes to that minute, on any day, and when the clock is changed.
fn moments(windows: &[Window], zone: &TimeZone, now: Moment, minute: impl Fn(&Window) -> u16) -> Vec<Moment> {
    let mut found = Vec::new();
    let today = zone.to_datetime(now).date();
    let Ok(first) = today.yesterday() else { return found };
    for day in first.series(1.day()).take(DAYS_AHEAD) {
        for window in windows {
            found.extend(begins(zone, day, minute(window)));
        }
    }
    let last = now + jiff::SignedDuration::from_hours(24 * i64::try_from(DAYS_AHEAD).unwrap_or(0));
    let changes = zone.following(now).map(|change| change.timestamp());
    found.extend(changes.take_while(|at| *at <= last));
    found
}

/// When the clock on the wall shows this minute of this day: twice when it is repeated.
fn begins(zone: &TimeZone, day: Date, minute: u16) -> Vec<Moment> {
    let at = DateTime::from(day).checked_add(i64::from(minute).minutes());
    let Ok(at) = at else { return Vec::new() };
    let ambiguous = || zone.to_ambiguous_timestamp(at);
    [ambiguous().earlier(), ambiguous().later()].into_iter().flatten().collect()
}

fn minute_of(wall: DateTime) -> u16 {
    u16::try_from(wall.hour()).unwrap_or(0) * 60 + u16::try_from(wall.minute()).unwrap_or(0)
}

fn day_of(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

impl Window {
    const fn over_midnight(&self) -> bool {
        self.closes <= self.opens
    }

    fn holds(&self, today: usize, minute: u16) -> bool {
        let yesterday = (today + 6) % 7;
        if self.over_midnight() {
            self.days[today] && minute >= self.opens || self.days[yesterday] && minute < self.closes
        } else {
            self.days[today] && (self.opens..self.closes).contains(&minute)
        }
    }
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        parse(text).map_err(|why| BadWindow { text: text.chars().take(80).collect(), why })
    }
}

fn parse(text: &str) -> Result<Window, &'static str> {
    let (days, times) = text.split_once(' ').ok_or("it needs days, a blank and times")?;
    let (opens, closes) = times.split_once('-').ok_or("it needs a time to open and a time to close")?;
    let (opens, closes) = (minute(opens)?, minute(closes)?);
    if opens == DAY {
        return Err("a day begins at 00:00");
    }
    if opens == closes {
        return Err("it opens and closes at the same time; a whole day is 00:00-24:00");
    }
    Ok(Window { days: parse_days(days)?, opens, closes })
}

fn parse_days(text: &str) -> Result<[bool; 7], &'static str> {
    if text == "daily" {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        if part.contains('-') && first == last {
            return Err("a range of days has two different ends");
        }
        // `Sat-Mon` goes over the end of the week.
        for day in (first..).take((last + 7 - first) % 7 + 1) {
            if std::mem::replace(&mut days[day % 7], true) {
                return Err("a day is named twice");
            }
        }
    }
    Ok(days)
}

fn weekday(text: &str) -> Result<usize, &'static str> {
    let known = WEEKDAYS.iter().position(|(name, _)| *name == text);
    known.ok_or("days are Mon, Tue, Wed, Thu, Fri, Sat, Sun, ranges and lists of them, or `daily`")
}

/// `HH:MM`, from 00:00 to 24:00.
fn minute(text: &str) -> Result<u16, &'static str> {
    let why = "times are HH:MM, from 00:00 to 24:00";
    let bytes = text.as_bytes();
    let [h1, h2, b':', m1, m2] = bytes else { return Err(why) };
    if ![h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) {
        return Err(why);
    }
    let number = |tens: u8, ones: u8| u16::from(tens - b'0') * 10 + u16::from(ones - b'0');
    let (hour, minute) = (number(*h1, *h2), number(*m1, *m2));
    if minute > 59 || hour * 60 + minute > DAY {
        return Err(why);
    }
    Ok(hour * 60 + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_days(f, self.days)?;
        let (o, c) = (self.opens, self.closes);
        write!(f, " {:02}:{:02}-{:02}:{:02}", o / 60, o % 60, c / 60, c % 60)
    }
}

/// Days in order of the week; three and more in a row as a range.
fn write_days(f: &mut fmt::Formatter<'_>, days: [bool; 7]) -> fmt::Result {
    if days == [true; 7] {
        return f.write_str("daily");
    }
    let mut day = 0;
    let mut comma = "";
    while day < 7 {
        let row = days[day..].iter().take_while(|set| **set).count();
        match row {
            0 => {}
            1 => write!(f, "{comma}{}", WEEKDAYS[day].0)?,
            2 => write!(f, "{comma}{},{}", WEEKDAYS[day].0, WEEKDAYS[day + 1].0)?,
            _ => write!(f, "{comma}{}-{}", WEEKDAYS[day].0, WEEKDAYS[day + row - 1].0)?,
        }
        if row > 0 {
            comma = ",";
        }
        day += row.max(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
