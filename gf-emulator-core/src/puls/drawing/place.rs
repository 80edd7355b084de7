//! Where in a drawing something stands.

use std::fmt::Write;

use super::super::Error;

/// A line and a column, both counted from 1, columns in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Place {
    pub(super) fn error(self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Drawing { line: self.line, column: self.column, found: found.into(), expected: expected.into() }
    }

    /// The same error with this place, where it has none.
    pub(super) fn of(self, error: Error) -> Error {
        match error {
            Error::Make { what, value, expected } => self.error(format!("{what} {value}"), expected),
            other => other,
        }
    }
}

/// No more of what is wrong is shown than so many bytes.
const SHOWN_BYTES: usize = 24;

/// What stands there, in quotes, with whatever is not printable ASCII escaped.
pub(super) fn quoted(text: &[u8]) -> String {
    let (shown, rest) = text.split_at(text.len().min(SHOWN_BYTES));
    let mut quoted = String::new();
    let _ = write!(quoted, "\"{}{}\"", shown.escape_ascii(), if rest.is_empty() { "" } else { ".." });
    quoted
}
