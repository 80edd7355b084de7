//! Bounds what a JSON parser gets from a file that is not trusted.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// Where a [`Guard`] is. Shared with the code that uses the parser.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The line being read, counted from 1.
    pub(super) line: Cell<u64>,
    /// Bytes passed on since the last time that this was set to 0.
    pub(super) bytes: Cell<u64>,
}

/// Passes JSON on with long strings cut off. Fails if `max_bytes` were passed on since [`Progress::bytes`] was reset.
pub(super) struct Guard<R> {
    from: R,
    progress: Rc<Progress>,
    max_string: usize,
    max_bytes: u64,
    state: State,
    /// Bytes of the current string.
    length: usize,
    is_cut: bool,
}

/// What a byte is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Anything but a string.
    Outside,
    /// A string, between two characters.
    InString,
    /// After a backslash.
    Escape,
    /// An escape such as `\u00e9`; has the number of digits that are missing.
    Hex(u8),
}

impl<R: BufRead> Guard<R> {
    pub(super) fn new(mut from: R, max_string: usize, max_bytes: u64) -> io::Result<Self> {
        let start = from.fill_buf()?;
        let mark = if start.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        from.consume(mark);
        let progress = Rc::<Progress>::default();
        progress.line.set(1);
        Ok(Self { from, progress, max_string, max_bytes, state: State::Outside, length: 0, is_cut: false })
    }

    pub(super) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// Returns whether a byte is passed on.
    fn keeps(&mut self, byte: u8) -> bool {
        let before = self.state;
        self.state = match (before, byte) {
            (State::Outside, b'"') => {
                (self.length, self.is_cut) = (0, false);
                State::InString
            }
            (State::Outside, _) => State::Outside,
            (State::InString, b'"') => {
                self.is_cut = false;
                State::Outside
            }
            (State::InString, b'\\') => State::Escape,
            (State::Escape, b'u') => State::Hex(4),
            (State::Hex(missing), _) if missing > 1 => State::Hex(missing - 1),
            _ => State::InString,
        };
        if before != State::Outside {
            self.length += 1;
        }
        // Never within an escape or a UTF-8 character.
        if before == State::InString
            && self.state != State::Outside
            && self.length > self.max_string
            && byte & 0xc0 != 0x80
        {
            self.is_cut = true;
        }
        !self.is_cut
    }
}

impl<R: BufRead> Read for Guard<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut count = 0;
        while count < to.len() {
            let Some(&byte) = self.from.fill_buf()?.first() else { break };
            self.from.consume(1);
            if byte == b'\n' {
                self.progress.line.set(self.progress.line.get() + 1);
            }
            if self.keeps(byte) {
                to[count] = byte;
                count += 1;
            }
        }
        let bytes = self.progress.bytes.get() + count as u64;
        self.progress.bytes.set(bytes);
        if bytes > self.max_bytes {
            let reason = format!("an entry has more than {} bytes", self.max_bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn guarded(text: &str, max_string: usize) -> io::Result<String> {
        let mut clean = String::new();
        Guard::new(text.as_bytes(), max_string, 1000)?.read_to_string(&mut clean).map(|_| clean)
    }

    #[test]
    fn cuts_long_strings_between_characters() {
        assert_eq!(guarded(r#"{"ab":"abcdefg","abcd":12345678}"#, 4).unwrap(), r#"{"ab":"abcd","abcd":12345678}"#);
        assert_eq!(guarded(r#"["abc\u00e9\"x\\",1]"#, 4).unwrap(), r#"["abc\u00e9",1]"#);
        assert_eq!(guarded("[\"abcéé\",\"\\\"\"]", 4).unwrap(), "[\"abcé\",\"\\\"\"]");
        assert_eq!(guarded("\u{feff}{}", 4).unwrap(), "{}");
    }

    #[test]
    fn counts_lines_and_stops_at_the_limit() {
        let mut guard = Guard::new(&b"{\n\"a\n\"}\n"[..], 100, 1000).unwrap();
        io::copy(&mut guard, &mut io::sink()).unwrap();
        assert_eq!(guard.progress().line.get(), 4);
        let error = guarded(&" ".repeat(1001), 4).unwrap_err().to_string();
        assert!(error.contains("more than 1000 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn json_stays_json(text in "\\PC{0,20}", other in "\\PC{0,3}", max in 0_usize..12) {
            let json = serde_json::json!({"a": [text, 1, "x"], "b": other}).to_string();
            let clean = guarded(&json, max).unwrap();
            prop_assert!(serde_json::from_str::<Value>(&clean).is_ok(), "{json} -> {clean}");
            prop_assert_eq!(guarded(&json, 100).unwrap(), json);
        }
    }
}
