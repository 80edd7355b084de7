//! Masks known values in a stream.

use std::io::{self, Write};
use std::sync::Arc;

use super::matcher::Matcher;

/// The size of the blocks that are searched.
const BLOCK_BYTES: usize = 64 << 10;

/// A writer that replaces each byte of a known value with `*`, also across writes. Call [`finish`](Self::finish) at
/// the end.
pub(crate) struct MaskingWriter<W> {
    to: W,
    matcher: Arc<Matcher>,
    buffer: Vec<u8>,
    /// The length of the prefix of the buffer that belongs to a value that began before it.
    covered: usize,
}

impl<W: Write> MaskingWriter<W> {
    pub(crate) fn new(to: W, matcher: Arc<Matcher>) -> Self {
        Self { to, matcher, buffer: Vec::new(), covered: 0 }
    }

    /// Writes the rest of the buffer and returns the inner writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pass(self.buffer.len())?;
        Ok(self.to)
    }

    /// Masks and writes the first `count` bytes of the buffer.
    fn pass(&mut self, count: usize) -> io::Result<()> {
        let spans: Vec<_> = self.matcher.matches(&self.buffer, 0..count).collect();
        let mut covered = self.covered;
        self.buffer[..covered.min(count)].fill(b'*');
        for span in spans {
            self.buffer[span.start..span.end.min(count)].fill(b'*');
            covered = covered.max(span.end);
        }
        self.to.write_all(&self.buffer[..count])?;
        self.buffer.drain(..count);
        self.covered = covered.saturating_sub(count);
        Ok(())
    }
}

impl<W: Write> Write for MaskingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        let ahead = self.matcher.max_match_bytes();
        if self.buffer.len() >= BLOCK_BYTES + ahead {
            // Every match that begins before this point ends within the buffer.
            self.pass(self.buffer.len() - ahead)?;
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
        let mut masked = MaskingWriter::new(Vec::new(), Arc::new(matcher(values)));
        for piece in pieces {
            masked.write_all(piece).unwrap();
        }
        masked.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn masks_values_across_writes(at in 0..200_000_usize, cut in 0..200_000_usize, piece in 1..70_000_usize) {
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
    fn copies_other_bytes_unchanged() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        assert_eq!(masked(&["secret-value"], &[&bytes]), bytes);
        assert_eq!(masked(&[], &[&bytes, b"x"]).len(), bytes.len() + 1);
    }
}
