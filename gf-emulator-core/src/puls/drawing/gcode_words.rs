//! Splits lines of G-code into words: a letter and a number each. Skips comments and spaces.

use super::super::Result;
use super::text_position::{TextPosition, quoted};

/// The largest number.
const MAX_NUMBER: f64 = 1e9;

/// A letter and its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Word<'a> {
    /// In upper case.
    pub(super) letter: u8,
    pub(super) number: f64,
    /// The word as written.
    pub(super) text: &'a [u8],
    pub(super) position: TextPosition,
}

/// The words of one line.
pub(super) struct Words<'a> {
    line: &'a [u8],
    line_number: u64,
    /// How many bytes have been read.
    offset: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a [u8], line_number: u64) -> Self {
        // A tape marker, which is a line of its own.
        let line = if line.trim_ascii_start().starts_with(b"%") { b"" } else { line };
        Self { line, line_number, offset: 0 }
    }

    fn position_at(&self, offset: usize) -> TextPosition {
        TextPosition { line: self.line_number, column: offset as u64 + 1 }
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.offset..).unwrap_or_default()
    }

    fn skip(&mut self, is: impl Fn(u8) -> bool) {
        self.offset += self.rest().iter().take_while(|&&byte| is(byte)).count();
    }

    fn skip_whitespace(&mut self) {
        self.skip(|byte| byte.is_ascii_whitespace());
    }

    fn skip_comments(&mut self) {
        loop {
            self.skip_whitespace();
            match self.rest().first() {
                Some(b';') => self.offset = self.line.len(),
                Some(b'(') => {
                    self.skip(|byte| byte != b')');
                    self.offset = self.line.len().min(self.offset + 1);
                }
                _ => return,
            }
        }
    }

    fn next_word(&mut self) -> Result<Option<Word<'a>>> {
        self.skip_comments();
        let start = self.offset;
        let Some(&letter) = self.rest().first() else { return Ok(None) };
        if !letter.is_ascii_alphabetic() {
            let text = self.rest().split(u8::is_ascii_whitespace).next().unwrap_or_default();
            return Err(self.position_at(start).error(quoted(text), "a word such as G1 or X20, or a comment"));
        }
        self.offset += 1;
        self.skip_whitespace();
        let number_start = self.offset;
        if let Some(b'+' | b'-') = self.rest().first() {
            self.offset += 1;
        }
        self.skip(|byte| byte.is_ascii_digit() || byte == b'.');
        let text = &self.line[start..self.offset];
        let number =
            str::from_utf8(&self.line[number_start..self.offset]).ok().and_then(|text| text.parse::<f64>().ok());
        match number {
            Some(number) if number.abs() <= MAX_NUMBER => {
                Ok(Some(Word { letter: letter.to_ascii_uppercase(), number, text, position: self.position_at(start) }))
            }
            Some(_) => Err(self.position_at(start).error(quoted(text), "a number from -1000000000 to 1000000000")),
            None => {
                let shown = if self.offset == number_start { &self.line[start..] } else { text };
                Err(self.position_at(start).error(quoted(shown.trim_ascii_end()), "a number after the letter"))
            }
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Result<Word<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let word = self.next_word().transpose();
        if matches!(word, Some(Err(_))) {
            self.offset = self.line.len();
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> std::result::Result<Vec<(char, f64)>, String> {
        Words::new(line.as_bytes(), 7)
            .map(|word| word.map(|word| (char::from(word.letter), word.number)).map_err(|e| e.to_string()))
            .collect()
    }

    #[test]
    fn reads_lines_of_common_programs() {
        for (line, expected) in [
            ("", &[][..]),
            ("%", &[]),
            ("  % tape 12", &[]),
            ("; (x) all of it", &[]),
            ("G1 X10 Y-2.5 F1200 ; go", &[('G', 1.0), ('X', 10.0), ('Y', -2.5), ('F', 1200.0)]),
            ("g1x10y-2.5", &[('G', 1.0), ('X', 10.0), ('Y', -2.5)]),
            ("N0010G00X.5Y+1.", &[('N', 10.0), ('G', 0.0), ('X', 0.5), ('Y', 1.0)]),
            ("(go) X 1 (and\u{e4}) Y\t2 (never closed", &[('X', 1.0), ('Y', 2.0)]),
            ("M5\r", &[('M', 5.0)]),
            // G-code has no exponents.
            ("X1e5", &[('X', 1.0), ('E', 5.0)]),
        ] {
            assert_eq!(words(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn reports_malformed_words_with_their_position() {
        for (line, message) in [
            ("X", "line 7, column 1: \"X\", expected a number after the letter"),
            ("G1 XY2", "line 7, column 4: \"XY2\", expected a number after the letter"),
            ("G1 X1.2.3", "line 7, column 4: \"X1.2.3\", expected a number after the letter"),
            ("G1 X- Y2", "line 7, column 4: \"X-\", expected a number after the letter"),
            ("$H", "line 7, column 1: \"$H\", expected a word such as G1 or X20, or a comment"),
            ("X1 \u{e4} Y", "line 7, column 4: \"\\xc3\\xa4\", expected a word such as G1 or X20, or a comment"),
            ("X99999999999", "line 7, column 1: \"X99999999999\", expected a number from -1000000000 to 1000000000"),
        ] {
            assert_eq!(words(line), Err(message.to_owned()), "{line}");
        }
    }
}
