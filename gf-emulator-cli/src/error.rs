//! The error of a command: its message and exit code.

use std::fmt;
use std::process::ExitCode;

use gf_emulator_core::Error;

/// Why the program exits with a code other than 0.
#[derive(Debug)]
pub(crate) struct CliError {
    code: u8,
    message: String,
}

impl CliError {
    /// Something failed: exit code 1.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// Wrong usage or configuration: exit code 2.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Sums up errors that were printed already; has the highest of their exit codes.
    pub(crate) fn of_many(errors: &[Self], message: impl fmt::Display) -> Self {
        Self { code: errors.iter().map(|error| error.code).max().unwrap_or(1), message: message.to_string() }
    }

    /// Appends to the message.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        match error {
            Error::Config(_) | Error::Table { .. } => Self::usage(error),
            _ => Self::failed(error),
        }
    }
}
