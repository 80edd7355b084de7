//! How a subcommand ends that does not end well: words for people, a code for scripts.

use std::fmt;
use std::process::ExitCode;

/// Why the program ends with another code than 0.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Something went wrong: 1.
    pub(crate) fn failed(message: impl fmt::Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// It was asked for in a way, or with a configuration, that cannot work: 2.
    pub(crate) fn misused(message: impl fmt::Display) -> Self {
        Self { code: 2, message: message.to_string() }
    }

    /// Of many, each told already: as bad as the worst of them, in these words.
    pub(crate) fn of(all: &[Self], message: impl fmt::Display) -> Self {
        Self { code: all.iter().map(|one| one.code).max().unwrap_or(1), message: message.to_string() }
    }

    /// The same, with a word more.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<gf_emulator_core::Error> for Failure {
    fn from(error: gf_emulator_core::Error) -> Self {
        use gf_emulator_core::Error;
        match error {
            Error::Config(_) | Error::Table { .. } => Self::misused(error),
            _ => Self::failed(error),
        }
    }
}
