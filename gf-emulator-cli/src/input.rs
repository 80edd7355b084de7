//! Lines from a reader, bounded: a line without an end must not fill the memory.

use std::io::{self, BufRead};

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its text, without the end.
    Text(String),
    /// It cannot be taken; this is why.
    Unusable(String),
}

/// The next line of at most `limit` bytes; nothing at the end. A longer one is read to its end and not kept.
pub(crate) fn next_line(reader: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut kept = Vec::new();
    let mut length = 0;
    loop {
        let available = match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() && length == 0 {
            return Ok(None);
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        let room = limit.saturating_sub(kept.len());
        kept.extend_from_slice(&part[..part.len().min(room)]);
        length += part.len();
        let is_last = end.is_some() || available.is_empty();
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if is_last {
            break;
        }
    }
    if length > limit {
        return Ok(Some(Line::Unusable(format!("it has {length} bytes; {limit} is the limit"))));
    }
    Ok(Some(match String::from_utf8(kept) {
        Ok(mut text) => {
            if text.ends_with('\r') {
                text.pop();
            }
            Line::Text(text)
        }
        Err(_) => Line::Unusable("it is not UTF-8".into()),
    }))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn lines(bytes: &[u8], limit: usize) -> Vec<Result<String, ()>> {
        // A buffer smaller than a line, so that lines come in parts.
        let mut reader = BufReader::with_capacity(3, bytes);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader, limit).unwrap() {
            lines.push(match line {
                Line::Text(text) => Ok(text),
                Line::Unusable(_) => Err(()),
            });
        }
        lines
    }

    #[test]
    fn reads_every_line_and_the_last_one_without_an_end() {
        let expected = ["one", "", "three3", "last"].map(|text| Ok(text.to_owned()));
        assert_eq!(lines(b"one\n\nthree3\r\nlast", 6 + 1), expected);
        assert_eq!(lines(b"", 6), []);
    }

    #[test]
    fn a_line_that_cannot_be_taken_costs_none_of_the_others() {
        let expected = [Ok("a".to_owned()), Err(()), Ok("bbbb".to_owned()), Err(()), Ok("c".to_owned()), Err(())];
        assert_eq!(lines(b"a\n12345\nbbbb\n\xff\nc\n1234567890", 4), expected);
    }

    #[test]
    fn an_endless_line_takes_no_more_memory_than_the_limit() {
        let mut reader = BufReader::new(io::Read::take(io::repeat(b'x'), 64 << 20));
        let Some(Line::Unusable(reason)) = next_line(&mut reader, 1000).unwrap() else { panic!("it is too long") };
        assert_eq!(reason, "it has 67108864 bytes; 1000 is the limit");
    }
}
