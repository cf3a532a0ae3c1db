//! The kinds of values that a table holds, each with its limits and with what to write instead.

use std::time::Duration;

use toml::de::DeValue;

use super::reader::{Table, kind};
use super::report::Report;
use super::{duration, span_in_words};

/// Longest one-line text for people, in bytes.
const LINE_BYTES_MAX: usize = 200;
/// Longest script, in bytes.
const SCRIPT_BYTES_MAX: usize = 64 * 1024;
/// Longest timeout.
const TIMEOUT_MAX: Duration = Duration::from_hours(24);
/// Longest time between TERM and KILL.
const GRACE_MAX: Duration = Duration::from_hours(1);
/// Longest time that an operation is expected to take.
const RUNTIME_MAX: Duration = Duration::from_hours(50 * 24);

impl Table<'_> {
    /// Text of any kind.
    pub(super) fn text(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        match self.take(key)? {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => {
                self.problem(key, format!("must be text in quotes, not {}", kind(other)), report);
                None
            }
        }
    }

    /// Text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        if !self.has(key) {
            self.take(key);
            self.problem(key, format!("`{key}` is missing"), report);
        }
        self.text(key, report)
    }

    /// One line for people; must be there.
    pub(super) fn line(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        let line = self.required_text(key, report)?;
        if line.trim().is_empty() || line.len() > LINE_BYTES_MAX || line.chars().any(char::is_control) {
            self.problem(key, format!("must be one line of 1 to {LINE_BYTES_MAX} bytes"), report);
        }
        Some(line)
    }

    /// Shell text.
    pub(super) fn script(
        &mut self,
        key: &'static str,
        required: bool,
        report: &mut Report<'_>,
    ) -> Option<String> {
        let script = if required { self.required_text(key, report) } else { self.text(key, report) }?;
        if script.trim().is_empty() || script.len() > SCRIPT_BYTES_MAX {
            self.problem(key, format!("must be shell text of 1 to {SCRIPT_BYTES_MAX} bytes"), report);
        }
        if script.contains(['\0', '\r']) {
            self.problem(key, "must not have carriage returns or zero bytes in it", report);
        }
        let end = if script.ends_with('\n') { "" } else { "\n" };
        Some(script + end)
    }

    pub(super) fn boolean(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<bool> {
        match self.take(key)? {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.problem(key, format!("must be true or false, not {}", kind(other)), report);
                None
            }
        }
    }

    /// A value as text: a number or true and false may stand without quotes.
    pub(super) fn scalar(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<String> {
        match self.take(key)? {
            DeValue::String(text) => Some(text.clone().into_owned()),
            DeValue::Boolean(value) => Some(value.to_string()),
            value => {
                let number = integer(value).map(|number| number.to_string());
                if number.is_none() {
                    self.problem(key, format!("must be text in quotes, not {}", kind(value)), report);
                }
                number
            }
        }
    }

    /// A whole number within limits.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        min: i64,
        max: i64,
        report: &mut Report<'_>,
    ) -> Option<i64> {
        let value = self.take(key)?;
        let number = integer(value).filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.problem(key, format!("must be a whole number from {min} to {max}"), report);
        }
        number
    }

    /// A timeout: 1 second to 1 day.
    pub(super) fn timeout(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Duration> {
        self.span(key, TIMEOUT_MAX, report)
    }

    /// From TERM to KILL: 1 second to 1 hour.
    pub(super) fn grace(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Duration> {
        self.span(key, GRACE_MAX, report)
    }

    /// How long a whole operation takes: as many timeouts as it may have steps.
    pub(super) fn runtime(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Duration> {
        self.span(key, RUNTIME_MAX, report)
    }

    pub(super) fn span(
        &mut self,
        key: &'static str,
        max: Duration,
        report: &mut Report<'_>,
    ) -> Option<Duration> {
        let text = self.text(key, report)?;
        let span = duration(&text).filter(|span| *span <= max);
        if span.is_none() {
            let max = span_in_words(max);
            self.problem(
                key,
                format!("must be a span of time from 1s to {max}, like 90s, 10m or 1h30m"),
                report,
            );
        }
        span
    }

    /// A list of texts, each with its text in place.
    pub(super) fn texts(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<String>> {
        let values = self.take(key)?;
        let texts = texts(values);
        if texts.is_none() {
            self.problem(key, "must be a list of texts, like [\"one\", \"two\"]", report);
        }
        texts
    }

    /// Exit codes, 1 to 255.
    pub(super) fn codes(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Vec<i32>> {
        let DeValue::Array(values) = self.take(key)? else {
            self.problem(key, "must be a list of exit codes, like [75]", report);
            return None;
        };
        let code = |value: &DeValue<'_>| {
            integer(value).and_then(|n| i32::try_from(n).ok()).filter(|n| (1..=255).contains(n))
        };
        let codes: Option<Vec<i32>> = values.iter().map(|value| code(value.get_ref())).collect();
        if codes.is_none() {
            self.problem(key, "must be a list of exit codes from 1 to 255", report);
        }
        codes
    }
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

pub(super) fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    let DeValue::Array(values) = value else { return None };
    values
        .iter()
        .map(|value| match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => None,
        })
        .collect()
}
