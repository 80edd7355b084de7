//! Splits lines of G-code into words: a letter and a number each. Skips comments and spaces, and what is meant for a
//! controller alone: the real-time commands `?` `!` `~`, a leading `/` (block delete), and a checksum after `*`.

use super::super::super::{Error, Result};
use super::super::text_position::{TextPosition, quoted};
use super::lines::Line;

/// The largest number.
const MAX_NUMBER: f64 = 1e9;

const NO_VARIABLES: &str = "numbers: variables and expressions are not supported";

/// A letter and its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Word<'a> {
    /// In upper case.
    pub(super) letter: u8,
    /// `None` if no number follows.
    pub(super) number: Option<f64>,
    /// The word as written; with the rest of the line if it has no number.
    pub(super) text: &'a [u8],
    pub(super) position: TextPosition,
}

impl Word<'_> {
    /// Returns the error that something else than this word is expected.
    pub(super) fn error(&self, expected: impl Into<String>) -> Error {
        self.position.error(quoted(self.text), expected)
    }

    /// Returns the number, or the error that there is none.
    pub(super) fn value(&self) -> Result<f64> {
        self.number.ok_or_else(|| self.error("a number after the letter"))
    }
}

/// The words of one line.
pub(super) struct Words<'a> {
    line: &'a [u8],
    /// Of the first byte.
    position: TextPosition,
    /// How many bytes have been read.
    offset: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(Line { text, indent }: Line<'a>, line_number: u64) -> Self {
        let offset = usize::from(text.starts_with(b"/"));
        Self { line: text, position: TextPosition { line: line_number, column: indent as u64 + 1 }, offset }
    }

    fn position_at(&self, offset: usize) -> TextPosition {
        TextPosition { column: self.position.column + offset as u64, ..self.position }
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.offset..).unwrap_or_default()
    }

    fn skip(&mut self, is: impl Fn(u8) -> bool) {
        self.offset += self.rest().iter().take_while(|&&byte| is(byte)).count();
    }

    fn skip_whitespace(&mut self) {
        self.skip(|byte| byte.is_ascii_whitespace() || b"?!~".contains(&byte));
    }

    fn skip_comments(&mut self) {
        loop {
            self.skip_whitespace();
            match self.rest().first() {
                Some(b';' | b'*') => self.offset = self.line.len(),
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
            let expected = match letter {
                b'#' | b'[' | b'<' => NO_VARIABLES,
                b',' => "a decimal point in place of the comma",
                _ => "a word such as G1 or X20, or a comment",
            };
            return Err(self.position_at(start).error(quoted(text), expected));
        }
        self.offset += 1;
        self.skip_whitespace();
        let number_start = self.offset;
        if let Some(b'+' | b'-') = self.rest().first() {
            self.offset += 1;
        }
        self.skip(|byte| byte.is_ascii_digit() || byte == b'.');
        let (text, digits) = (&self.line[start..self.offset], &self.line[number_start..self.offset]);
        let word = |number, text| {
            Ok(Some(Word { letter: letter.to_ascii_uppercase(), number, text, position: self.position_at(start) }))
        };
        if let (true, Some(b'#' | b'[')) = (digits.is_empty(), self.rest().first()) {
            return Err(self.position_at(start).error(quoted(&self.line[start..]), NO_VARIABLES));
        }
        if digits.is_empty() {
            return word(None, self.line[start..].trim_ascii_end());
        }
        match str::from_utf8(digits).ok().and_then(|digits| digits.parse::<f64>().ok()) {
            Some(number) if number.abs() <= MAX_NUMBER => word(Some(number), text),
            Some(_) => Err(self.position_at(start).error(quoted(text), "a number from -1000000000 to 1000000000")),
            None => Err(self.position_at(start).error(quoted(text), "a number after the letter")),
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
    use super::super::lines::lines;
    use super::*;

    fn words(line: &str) -> std::result::Result<Vec<(char, f64)>, String> {
        let (_, line) = lines(line.as_bytes()).unwrap().next().unwrap();
        Words::new(line, 7)
            .map(|word| word.and_then(|word| Ok((char::from(word.letter), word.value()?))).map_err(|e| e.to_string()))
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
            ("N3 G1 X1*57", &[('N', 3.0), ('G', 1.0), ('X', 1.0)]),
            ("/G1 X1", &[('G', 1.0), ('X', 1.0)]),
            ("?!~", &[]),
            ("G1 !X1?", &[('G', 1.0), ('X', 1.0)]),
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
            ("G1 $H", "line 7, column 4: \"$H\", expected a word such as G1 or X20, or a comment"),
            (" X#5", "line 7, column 2: \"X#5\", expected numbers: variables and expressions are not supported"),
            ("#1=5", "line 7, column 1: \"#1=5\", expected numbers: variables and expressions are not supported"),
            ("X1,5", "line 7, column 3: \",5\", expected a decimal point in place of the comma"),
            ("X1 /", "line 7, column 4: \"/\", expected a word such as G1 or X20, or a comment"),
            ("X1 \u{e4} Y", "line 7, column 4: \"\\xc3\\xa4\", expected a word such as G1 or X20, or a comment"),
            ("X99999999999", "line 7, column 1: \"X99999999999\", expected a number from -1000000000 to 1000000000"),
        ] {
            assert_eq!(words(line), Err(message.to_owned()), "{line}");
        }
    }
}
