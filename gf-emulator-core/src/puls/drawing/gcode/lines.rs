//! Splits a program into lines.

use super::super::super::Result;
use super::super::text_position::TextPosition;

/// Returns the lines with their numbers. They end with LF, CR LF or CR, and have no spaces, Ctrl-Z or NUL around them.
/// A byte order mark and a tape marker (a line that starts with `%`) are removed.
///
/// # Errors
/// If the text is UTF-16.
pub(super) fn lines(gcode: &[u8]) -> Result<impl Iterator<Item = (u64, Line<'_>)>> {
    // Half the bytes of such a text are 0, even if it has no byte order mark.
    let is_wide = |start: &[u8]| matches!(start, [0, 1..=255, 0, 1..=255, ..] | [1..=255, 0, 1..=255, 0, ..]);
    if gcode.starts_with(b"\xff\xfe") || gcode.starts_with(b"\xfe\xff") || is_wide(gcode) {
        let found = "text in UTF-16";
        return Err(TextPosition { line: 1, column: 1 }.error(found, "UTF-8: save it as that"));
    }
    let mut rest = Some(gcode);
    let mut number = 0;
    let next = move || {
        let text = rest?;
        let end = text.iter().position(|&byte| byte == b'\n' || byte == b'\r').unwrap_or(text.len());
        let (line, after) = text.split_at(end);
        let break_bytes = if after.starts_with(b"\r\n") { 2 } else { 1 };
        rest = after.get(break_bytes..);
        number += 1;
        Some((number, Line::new(line)))
    };
    Ok(std::iter::from_fn(next))
}

/// A line, and where in it the text begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    /// What is removed before the text, in bytes.
    pub(super) indent: usize,
}

impl<'a> Line<'a> {
    fn new(line: &'a [u8]) -> Self {
        let is_space = |byte: &u8| byte.is_ascii_whitespace() || [0, 0x1a].contains(byte);
        let mark = if line.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let indent = mark + line[mark..].iter().take_while(|byte| is_space(byte)).count();
        let text = &line[indent..];
        let text = &text[..text.len() - text.iter().rev().take_while(|byte| is_space(byte)).count()];
        let text = if text.starts_with(b"%") { b"" } else { text };
        Self { text, indent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_end_in_all_ways_and_have_rubbish_around_them() {
        for (text, expected) in [
            (&b"G0\nG1\r\nG2\rG3"[..], &["G0", "G1", "G2", "G3"][..]),
            (b"\xef\xbb\xbfG0\n\r\n", &["G0", "", ""]),
            (b"%\nG0 X1\n %\n\x1a\0\0", &["", "G0 X1", "", ""]),
            (b"\0\0 G0 \0\r\r", &["G0", "", ""]),
        ] {
            let split: Vec<_> = lines(text).unwrap().collect();
            assert!(split.iter().map(|(number, _)| *number).eq(1..=expected.len() as u64), "{split:?}");
            assert!(
                split.iter().map(|(_, line)| line.text).eq(expected.iter().map(|text| text.as_bytes())),
                "{split:?}"
            );
        }
        assert_eq!(lines(b"\xef\xbb\xbf G0").unwrap().next().unwrap().1.indent, 4);
    }

    #[test]
    fn utf_16_is_refused_by_name() {
        for text in [&b"\xff\xfeG\0"[..], b"\xfe\xff\0G", b"G\x000\0", b"\0G\x000"] {
            let error = lines(text).err().unwrap().to_string();
            assert_eq!(error, "line 1, column 1: text in UTF-16, expected UTF-8: save it as that");
        }
    }
}
