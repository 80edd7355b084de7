//! Errors with a position in the text of a drawing.

use std::fmt::Write;

use super::super::Error;

/// A line and a column in bytes, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextPosition {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl TextPosition {
    /// Counts the lines before a byte offset.
    pub(super) fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset];
        let line = before.split(|&byte| byte == b'\n').count() as u64;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() as u64 + 1;
        Self { line, column }
    }

    pub(super) fn error(self, found: impl Into<String>, expected: impl Into<String>) -> Error {
        Error::Drawing { line: self.line, column: self.column, found: found.into(), expected: expected.into() }
    }

    /// Adds this position to an error that has none.
    pub(super) fn locate(self, error: Error) -> Error {
        match error {
            Error::Make { what, value, expected } => self.error(format!("{what} {value}"), expected),
            other => other,
        }
    }
}

/// Longer excerpts are truncated.
const MAX_QUOTED_BYTES: usize = 24;

/// Quotes an excerpt, with everything but printable ASCII escaped.
pub(super) fn quoted(text: &[u8]) -> String {
    let (shown, rest) = text.split_at(text.len().min(MAX_QUOTED_BYTES));
    let mut quoted = String::new();
    let _ = write!(quoted, "\"{}{}\"", shown.escape_ascii(), if rest.is_empty() { "" } else { ".." });
    quoted
}
