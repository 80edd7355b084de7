//! Text for people.

use std::fmt::Display;

/// Formats a count with its noun, appending an "s" unless the count is 1.
///
/// ```
/// use gf_emulator_core::words::count;
///
/// assert_eq!([count(0, "job"), count(1, "job"), count(21_u64, "job")], ["0 jobs", "1 job", "21 jobs"]);
/// ```
#[must_use]
pub fn count(n: impl Display, what: &str) -> String {
    let n = n.to_string();
    let s = if n == "1" { "" } else { "s" };
    format!("{n} {what}{s}")
}
