//! Where results go: stdout, in the format that was asked for. The only place that prints results.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use serde_json::Value;

use super::table::Style;
use super::yaml;
use crate::args::Format;
use crate::errors::Error;

/// Stdout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    /// The format that was asked for.
    pub(crate) format: Format,
    /// How the terminal is.
    pub(crate) style: Style,
}

impl Out {
    /// Looks at stdout and the environment.
    pub(crate) fn new(format: Format) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Self { format, style: Style { color: terminal && !plain, fit: terminal } }
    }

    /// Whether programs read along.
    pub(crate) fn for_programs(self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Whether more columns are wanted.
    pub(crate) fn wide(self) -> bool {
        self.format == Format::Wide
    }

    /// Prints one message: for programs as a value, for people as text.
    pub(crate) fn show(self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Error> {
        match self.format {
            Format::Json => self.line(&value.to_string()),
            Format::Yaml => self.line(&format!("---\n{}", yaml::document(value).trim_end())),
            Format::Table | Format::Wide => self.line(&text()),
        }
    }

    /// Prints a line, or several.
    #[expect(clippy::unused_self, reason = "printing goes through the one who knows the format")]
    pub(crate) fn line(self, text: &str) -> Result<(), Error> {
        let mut stdout = std::io::stdout().lock();
        write_line(&mut stdout, text.as_bytes())
    }
}

/// Writes a line; a reader who went away is a quiet end, anything else is told.
fn write_line(to: &mut impl std::io::Write, text: &[u8]) -> Result<(), Error> {
    let written = to.write_all(text).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush());
    written.map_err(|e| match e.kind() {
        ErrorKind::BrokenPipe => Error::reader_gone(),
        _ => Error::output(&e),
    })
}

/// Prints a remark for people on stderr. Nothing can be done when stderr is gone.
pub(crate) fn remark(line: &str) {
    if writeln!(std::io::stderr(), "{line}").is_err() {
        // The reader of the remarks went away; the work and its exit code matter more.
    }
}
