//! Text for people, and pieces of it.

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

/// Formats a size in bytes. Kilobytes (1000 bytes) are rounded up.
///
/// ```
/// use gf_emulator_core::words::size;
///
/// assert_eq!([0, 999, 1001, 999_001, 4_200_000].map(size), ["0 bytes", "999 bytes", "2 kB", "1.0 MB", "4.2 MB"]);
/// ```
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => count(bytes, "byte"),
        1000..=999_000 => format!("{} kB", bytes.div_ceil(1000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Returns the start of `text` up to `max` bytes, without the part of a character at its end.
pub(crate) fn prefix(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_whole_characters() {
        let prefixes = [0, 1, 2, 3, 4, 5, 9].map(|max| prefix("a\u{e9}\u{4e00}", max));
        assert_eq!(prefixes, ["", "a", "a", "a\u{e9}", "a\u{e9}", "a\u{e9}", "a\u{e9}\u{4e00}"]);
    }
}
