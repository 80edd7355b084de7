//! Hiding what is secret by where it stands in a text that is written on, as it is written.

use std::io::{self, Write};

use super::words::{settled, without_named, without_queries};

/// So much is looked through at a time.
const BLOCK_BYTES: usize = 128 << 10;
/// No word is longer, and no value of a name that is secret.
const LONGEST_BYTES: usize = 4 << 20;

/// Writes text on, without the queries of URLs and without what is called a password: also where these come in several
/// pieces. What is no UTF-8 is written as U+FFFD. What was written is complete after [`finish`](Self::finish).
pub(crate) struct Cleaned<W> {
    to: W,
    /// The beginning of a character.
    bytes: Vec<u8>,
    held: String,
    /// How much is looked through at a time, and how much has to be held for the next time.
    block: usize,
    enough: usize,
}

impl<W: Write> Cleaned<W> {
    pub(crate) fn new(to: W) -> Self {
        Self::in_blocks(to, BLOCK_BYTES)
    }

    fn in_blocks(to: W, block: usize) -> Self {
        Self { to, bytes: Vec::new(), held: String::new(), block, enough: block }
    }

    /// Writes what is still held, and gives back where everything went.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.held.push_str(&String::from_utf8_lossy(&self.bytes));
        self.pass(self.held.len())?;
        Ok(self.to)
    }

    /// Writes the first `count` of the bytes that are held.
    fn pass(&mut self, count: usize) -> io::Result<()> {
        self.to.write_all(without_queries(&without_named(&self.held[..count])).as_bytes())?;
        self.held.drain(..count);
        Ok(())
    }

    /// Takes what is text of the bytes, and leaves half a character.
    fn decode(&mut self) {
        let mut taken = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.held.push_str(chunk.valid());
            taken += chunk.valid().len();
            let invalid = chunk.invalid();
            let may_go_on = taken + invalid.len() == self.bytes.len();
            if may_go_on && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none()) {
                break;
            }
            if !invalid.is_empty() {
                self.held.push(char::REPLACEMENT_CHARACTER);
            }
            taken += invalid.len();
        }
        self.bytes.drain(..taken);
    }
}

impl<W: Write> Write for Cleaned<W> {
    /// An error where a word or a value is longer than 4 MiB: what is secret of it cannot be told.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.decode();
        if self.held.len() >= self.enough {
            let end = settled(&self.held);
            if end == 0 && self.held.len() > LONGEST_BYTES {
                return Err(io::Error::other("its text cannot be searched for secrets: a word has more than 4 MiB"));
            }
            self.pass(end)?;
            // What is left is not looked through again for each piece that comes.
            self.enough = self.block.max(2 * self.held.len());
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
        let mut cleaned = Cleaned::in_blocks(Vec::new(), block);
        for piece in text.chunks(piece) {
            cleaned.write_all(piece).unwrap();
        }
        cleaned.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]
        #[test]
        fn it_says_the_same_wherever_it_is_cut(
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
            let whole = without_queries(&without_named(&String::from_utf8_lossy(&text)));
            let cut = cleaned(&text, block, piece);
            prop_assert_eq!(String::from_utf8(cut).unwrap(), whole);
        }
    }

    #[test]
    fn a_word_that_has_no_end_is_an_error_and_not_held() {
        let mut cleaned = Cleaned::new(io::sink());
        let error = (0..1000).find_map(|_| cleaned.write_all(&[b'x'; 16 << 10]).err()).unwrap();
        assert!(error.to_string().contains("more than 4 MiB"), "{error}");
        assert!(cleaned.held.len() <= 3 * LONGEST_BYTES, "{}", cleaned.held.len());
    }
}
