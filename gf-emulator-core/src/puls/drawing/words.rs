//! A line of G-code as words: a letter and a number each, with comments and spaces left out.

use super::super::Result;
use super::place::{Place, quoted};

/// No number of G-code that makes sense is larger.
const MAX_NUMBER: f64 = 1e9;

/// A letter and its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Word<'a> {
    /// In upper case.
    pub(super) letter: u8,
    pub(super) number: f64,
    /// As it stands there.
    pub(super) text: &'a [u8],
    pub(super) place: Place,
}

/// Reads the words of one line.
pub(super) struct Words<'a> {
    line: &'a [u8],
    number: u64,
    at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a [u8], number: u64) -> Self {
        // A line of its own that begins a tape, or ends it.
        let line = if line.trim_ascii_start().starts_with(b"%") { b"" } else { line };
        Self { line, number, at: 0 }
    }

    pub(super) fn place(&self, at: usize) -> Place {
        Place { line: self.number, column: at as u64 + 1 }
    }

    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, is: impl Fn(u8) -> bool) {
        self.at += self.rest().iter().take_while(|&&byte| is(byte)).count();
    }

    fn skip_spaces(&mut self) {
        self.skip(|byte| byte.is_ascii_whitespace());
    }

    fn skip_comments(&mut self) {
        loop {
            self.skip_spaces();
            match self.rest().first() {
                Some(b';') => self.at = self.line.len(),
                Some(b'(') => {
                    self.skip(|byte| byte != b')');
                    self.at = self.line.len().min(self.at + 1);
                }
                _ => return,
            }
        }
    }

    fn next_word(&mut self) -> Result<Option<Word<'a>>> {
        self.skip_comments();
        let begin = self.at;
        let Some(&letter) = self.rest().first() else { return Ok(None) };
        if !letter.is_ascii_alphabetic() {
            let text = self.rest().split(u8::is_ascii_whitespace).next().unwrap_or_default();
            return Err(self.place(begin).error(quoted(text), "a word such as G1 or X20, or a comment"));
        }
        self.at += 1;
        self.skip_spaces();
        let number_at = self.at;
        if let Some(b'+' | b'-') = self.rest().first() {
            self.at += 1;
        }
        self.skip(|byte| byte.is_ascii_digit() || byte == b'.');
        let text = &self.line[begin..self.at];
        let number = str::from_utf8(&self.line[number_at..self.at]).ok().and_then(|text| text.parse::<f64>().ok());
        match number {
            Some(number) if number.abs() <= MAX_NUMBER => {
                Ok(Some(Word { letter: letter.to_ascii_uppercase(), number, text, place: self.place(begin) }))
            }
            Some(_) => Err(self.place(begin).error(quoted(text), "a number within 1000000000")),
            None => {
                let shown = if self.at == number_at { &self.line[begin..] } else { text };
                Err(self.place(begin).error(quoted(shown.trim_ascii_end()), "a number behind the letter"))
            }
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Result<Word<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let word = self.next_word().transpose();
        if matches!(word, Some(Err(_))) {
            self.at = self.line.len();
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
    fn lines_as_programs_write_them() {
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
            // G-code knows no exponents.
            ("X1e5", &[('X', 1.0), ('E', 5.0)]),
        ] {
            assert_eq!(words(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_no_word_is_named_with_its_place() {
        for (line, message) in [
            ("X", "line 7, column 1: \"X\", expected a number behind the letter"),
            ("G1 XY2", "line 7, column 4: \"XY2\", expected a number behind the letter"),
            ("G1 X1.2.3", "line 7, column 4: \"X1.2.3\", expected a number behind the letter"),
            ("G1 X- Y2", "line 7, column 4: \"X-\", expected a number behind the letter"),
            ("$H", "line 7, column 1: \"$H\", expected a word such as G1 or X20, or a comment"),
            ("X1 \u{e4} Y", "line 7, column 4: \"\\xc3\\xa4\", expected a word such as G1 or X20, or a comment"),
            ("X99999999999", "line 7, column 1: \"X99999999999\", expected a number within 1000000000"),
        ] {
            assert_eq!(words(line), Err(message.to_owned()), "{line}");
        }
    }
}
