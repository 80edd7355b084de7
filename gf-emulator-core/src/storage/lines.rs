//! Reading lines of bounded length.

use std::io::{self, BufRead, Read};

/// Why a line cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableLine {
    /// It is longer than the limit, in bytes.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// It is not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// Reads the next line, without its end. Returns `None` at the end of the input. A line of more than `limit_bytes` is
/// skipped to its end; at most the limit is held in memory.
///
/// # Errors
///
/// An error of `reader`.
pub fn read_line(reader: &mut impl BufRead, limit_bytes: u64) -> io::Result<Option<Result<String, UnusableLine>>> {
    let mut line = Vec::new();
    reader.by_ref().take(limit_bytes.saturating_add(1)).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 > limit_bytes {
        reader.skip_until(b'\n')?;
        return Ok(Some(Err(UnusableLine::TooLong(limit_bytes))));
    }
    line.pop_if(|last| *last == b'\r');
    Ok(Some(String::from_utf8(line).map_err(|_| UnusableLine::NotUtf8)))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(bytes: &[u8], limit_bytes: u64) -> Vec<Result<String, UnusableLine>> {
        // A buffer shorter than a line, so that lines arrive in parts.
        let mut reader = BufReader::with_capacity(3, bytes);
        std::iter::from_fn(|| read_line(&mut reader, limit_bytes).unwrap()).collect()
    }

    #[test]
    fn reads_every_line_and_a_last_one_without_an_end() {
        let expected = ["one", "", "three3", "last"].map(|text| Ok(text.to_owned()));
        assert_eq!(lines(b"one\n\nthree3\r\nlast", 7), expected);
        assert_eq!(lines(b"", 6), []);
    }

    #[test]
    fn skips_only_the_lines_that_cannot_be_used() {
        use UnusableLine::{NotUtf8, TooLong};
        let [a, b, c] = ["a", "bbbb", "c"].map(|text| Ok(text.to_owned()));
        let expected = [a, Err(TooLong(4)), b, Err(NotUtf8), c, Err(TooLong(4))];
        assert_eq!(lines(b"a\n12345\nbbbb\n\xff\nc\n1234567890", 4), expected);
    }

    #[test]
    fn holds_no_more_than_the_limit() {
        let mut reader = BufReader::new(io::repeat(b'x').take(64 << 20));
        assert_eq!(read_line(&mut reader, 1000).unwrap(), Some(Err(UnusableLine::TooLong(1000))));
        assert_eq!(read_line(&mut reader, 1000).unwrap(), None);
    }
}
