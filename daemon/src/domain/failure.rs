//! An error that people can act on.

use super::id::RunId;
use super::time::Timestamp;

/// Longest tail of output kept with a failure, in bytes.
pub const LAST_LINES_BYTES_MAX: usize = 2_000;

/// What went wrong, where, and the last words of the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Title of the step; empty when none had started.
    pub step: String,
    /// Its exit code, when it ended with one.
    pub exit_code: Option<i32>,
    /// What happened, in a sentence.
    pub message: String,
    /// Last lines of output, secrets masked, at most [`LAST_LINES_BYTES_MAX`].
    pub last_lines: String,
    /// The run that failed.
    pub run: RunId,
    /// When.
    pub at: Timestamp,
}
