//! Collects problems with their lines.

use super::Problem;

/// Problems reported at most; more would help nobody.
const PROBLEMS_MAX: usize = 100;

/// The problems found so far.
pub(super) struct Report<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, problems: Vec::new() }
    }

    /// Adds a problem at a byte of the text; `None` is the whole.
    pub(super) fn add(&mut self, at: Option<usize>, field: &str, message: impl Into<String>) {
        let line = self.line(at);
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { line, field: field.to_owned(), message: message.into() });
        }
    }

    /// The line of a byte of the text, from 1; 0 is the whole.
    pub(super) fn line(&self, at: Option<usize>) -> u32 {
        at.map_or(0, |at| {
            let before = self.text.get(..at).unwrap_or(self.text);
            u32::try_from(before.matches('\n').count() + 1).unwrap_or(0)
        })
    }

    /// The problems in order of line, if there are any.
    pub(super) fn check(&mut self) -> Result<(), Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(());
        }
        let mut problems = std::mem::take(&mut self.problems);
        problems.sort();
        problems.dedup();
        Err(problems)
    }
}
