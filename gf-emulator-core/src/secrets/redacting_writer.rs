//! Redacts a stream of text by field names and URLs.

use std::io::{self, Write};

use super::patterns::{redact_named, redact_urls, stable_prefix};

/// The size of the blocks that are searched.
const BLOCK_BYTES: usize = 128 << 10;
/// The maximum length of a word or a secret value.
const MAX_WORD_BYTES: usize = 4 << 20;

/// A writer that redacts URL queries and the values of secret fields, also across writes. Invalid UTF-8 becomes
/// U+FFFD. Call [`finish`](Self::finish) at the end.
pub(crate) struct RedactingWriter<W> {
    to: W,
    /// An incomplete UTF-8 character.
    bytes: Vec<u8>,
    buffer: String,
    block: usize,
    /// The buffer is searched once it has this length.
    threshold: usize,
}

impl<W: Write> RedactingWriter<W> {
    pub(crate) fn new(to: W) -> Self {
        Self::in_blocks(to, BLOCK_BYTES)
    }

    fn in_blocks(to: W, block: usize) -> Self {
        Self { to, bytes: Vec::new(), buffer: String::new(), block, threshold: block }
    }

    /// Writes the rest of the buffer and returns the inner writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.buffer.push_str(&String::from_utf8_lossy(&self.bytes));
        self.pass(self.buffer.len())?;
        Ok(self.to)
    }

    /// Redacts and writes the first `count` bytes of the buffer.
    fn pass(&mut self, count: usize) -> io::Result<()> {
        self.to.write_all(redact_urls(&redact_named(&self.buffer[..count])).as_bytes())?;
        self.buffer.drain(..count);
        Ok(())
    }

    /// Moves decoded text to the buffer, and leaves an incomplete character.
    fn decode(&mut self) {
        let mut taken = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.buffer.push_str(chunk.valid());
            taken += chunk.valid().len();
            let invalid = chunk.invalid();
            let is_last = taken + invalid.len() == self.bytes.len();
            if is_last && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none()) {
                break;
            }
            if !invalid.is_empty() {
                self.buffer.push(char::REPLACEMENT_CHARACTER);
            }
            taken += invalid.len();
        }
        self.bytes.drain(..taken);
    }
}

impl<W: Write> Write for RedactingWriter<W> {
    /// Fails if a word or a value is longer than 4 MiB: secrets in it could not be recognised.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.decode();
        if self.buffer.len() >= self.threshold {
            let end = stable_prefix(&self.buffer);
            if end == 0 && self.buffer.len() > MAX_WORD_BYTES {
                return Err(io::Error::other("cannot search it for secrets: a word is longer than 4 MiB"));
            }
            self.pass(end)?;
            // Do not search the rest again for each small write.
            self.threshold = self.block.max(2 * self.buffer.len());
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

    use super::*;

    fn cleaned(text: &[u8], block: usize, piece: usize) -> Vec<u8> {
        let mut cleaned = RedactingWriter::in_blocks(Vec::new(), block);
        for piece in text.chunks(piece) {
            cleaned.write_all(piece).unwrap();
        }
        cleaned.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]
        #[test]
        fn the_result_does_not_depend_on_block_boundaries(
            pieces in proptest::collection::vec(
                prop_oneof![
                    4 => "password|WS_Token|auth_token|Authorization|Bearer |Basic |https://a:b@c/d\\?e",
                    4 => "[:=,;&\"'\\\\ \n\t<>?#@]{1,3}",
                    2 => "[a-z]{1,6}",
                    1 => "\\PC{0,3}",
                ],
                0..30,
            ),
            broken in proptest::collection::vec(any::<u8>(), 0..3),
            block in 1..60_usize,
            piece in 1..20_usize,
        ) {
            let text = [pieces.concat().as_bytes(), &broken, pieces.concat().as_bytes()].concat();
            let whole = redact_urls(&redact_named(&String::from_utf8_lossy(&text)));
            let cut = cleaned(&text, block, piece);
            prop_assert_eq!(String::from_utf8(cut).unwrap(), whole);
        }
    }

    #[test]
    fn rejects_an_endless_word_without_buffering_it() {
        let mut cleaned = RedactingWriter::new(io::sink());
        let error = (0..1000).find_map(|_| cleaned.write_all(&[b'x'; 16 << 10]).err()).unwrap();
        assert!(error.to_string().contains("longer than 4 MiB"), "{error}");
        assert!(cleaned.buffer.len() <= 3 * MAX_WORD_BYTES, "{}", cleaned.buffer.len());
    }
}
