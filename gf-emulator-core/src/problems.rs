//! What is wrong with a configuration. Below both `error` and `config`, which re-exports these types.

use std::fmt;

/// Everything that is wrong with a configuration, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problems {
    /// The file name, or another description of where the configuration is from.
    pub source: String,
    /// One or more problems.
    pub list: Vec<Problem>,
    /// Warnings about the same source: a misspelt key often explains a missing one.
    pub warnings: Vec<Warning>,
}

/// A single problem.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line number, counted from 1; `None` if something is missing, or if the configuration was built in code.
    pub line: Option<usize>,
    /// What is wrong, and what would be valid. Never contains a password.
    pub what: String,
}

/// Something in a configuration that is valid but probably a mistake, such as an unknown key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// The line number, counted from 1.
    pub line: usize,
    /// What is unusual. Never contains a value.
    pub what: String,
}

impl Problems {
    /// Creates the error for a single problem.
    pub(crate) fn one(source: &str, line: Option<usize>, what: impl Into<String>) -> Self {
        Self { source: source.into(), list: vec![Problem { line, what: what.into() }], warnings: Vec::new() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            match problem.line {
                Some(line) => write!(f, "{}:{line}: {}", self.source, problem.what)?,
                None => write!(f, "{}: {}", self.source, problem.what)?,
            }
        }
        for warning in &self.warnings {
            write!(f, "\nremark: {}:{}: {}", self.source, warning.line, warning.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}
