//! Hiding known values in what is written, as it is written.

use std::io::{self, Write};
use std::sync::Arc;

use super::matcher::Matcher;

/// So much is searched at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// Writes everything on, with a `*` in place of every byte of a value: also of one that comes in several pieces. What was
/// written is complete after [`finish`](Self::finish).
pub(crate) struct Masked<W> {
    to: W,
    matcher: Arc<Matcher>,
    held: Vec<u8>,
    /// So many bytes at the beginning of what is held belong to a value that began before them.
    covered: usize,
}

impl<W: Write> Masked<W> {
    pub(crate) fn new(to: W, matcher: Arc<Matcher>) -> Self {
        Self { to, matcher, held: Vec::new(), covered: 0 }
    }

    /// Writes what is still held, and gives back where everything went.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pass(self.held.len())?;
        Ok(self.to)
    }

    /// Writes the first `count` of the bytes that are held.
    fn pass(&mut self, count: usize) -> io::Result<()> {
        let spans: Vec<_> = self.matcher.spans(&self.held, 0..count).collect();
        let mut covered = self.covered;
        self.held[..covered.min(count)].fill(b'*');
        for span in spans {
            self.held[span.start..span.end.min(count)].fill(b'*');
            covered = covered.max(span.end);
        }
        self.to.write_all(&self.held[..count])?;
        self.held.drain(..count);
        self.covered = covered.saturating_sub(count);
        Ok(())
    }
}

impl<W: Write> Write for Masked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        let ahead = self.matcher.longest_bytes();
        if self.held.len() >= BLOCK_BYTES + ahead {
            // What begins before this ends in what is held.
            self.pass(self.held.len() - ahead)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::matcher::tests::matcher;
    use super::*;

    fn masked(values: &[&str], pieces: &[&[u8]]) -> Vec<u8> {
        let mut masked = Masked::new(Vec::new(), Arc::new(matcher(values)));
        for piece in pieces {
            masked.write_all(piece).unwrap();
        }
        masked.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn a_value_across_pieces_is_masked(at in 0..200_000_usize, cut in 0..200_000_usize, piece in 1..70_000_usize) {
            let mut text = vec![b'.'; 200_100];
            for (from, value) in [(at, &b"s\\u0065cret-value"[..]), (cut, b"other%2Dvalue")] {
                text[from..from + value.len()].copy_from_slice(value);
            }
            let pieces: Vec<_> = text.chunks(piece).collect();
            let out = masked(&["secret-value", "other-value"], &pieces);
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(out.iter().all(|byte| b".*".contains(byte)) || at.abs_diff(cut) < 20);
            prop_assert!(out.windows(13).any(|part| part == [b'*'; 13]));
        }
    }

    #[test]
    fn what_has_no_value_is_written_as_it_is() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        assert_eq!(masked(&["secret-value"], &[&bytes]), bytes);
        assert_eq!(masked(&[], &[&bytes, b"x"]).len(), bytes.len() + 1);
    }
}
