//! What is ignored, or looks wrong.

use std::fmt;

/// Something in a program that is ignored, or that may not be meant so. One for each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remark {
    /// What was found, and what is done about it. Names options of `puls make` that may help.
    pub text: String,
    /// The first line with it, counted from 1. `None` if it concerns the whole program.
    pub line: Option<u64>,
    /// The number of lines or words with it.
    pub count: u64,
}

impl Remark {
    pub(super) fn of_program(text: String) -> Self {
        Self { text, line: None, count: 1 }
    }
}

/// `line 3: the text (7 times)`
impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.text)?;
        if self.count > 1 {
            write!(f, " ({} times)", self.count)?;
        }
        Ok(())
    }
}

/// The remarks so far, in the order of their first lines.
#[derive(Default)]
pub(super) struct Remarks(pub(super) Vec<Remark>);

impl Remarks {
    /// Counts something of which there are few kinds.
    pub(super) fn add(&mut self, text: &'static str, line: u64) {
        match self.0.iter_mut().find(|remark| remark.text == text) {
            Some(remark) => remark.count += 1,
            None => self.0.push(Remark { text: text.to_owned(), line: Some(line), count: 1 }),
        }
    }
}
