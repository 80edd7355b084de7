//! The bytes of a pulse file, decompressed if necessary.
//!
//! Parses the gzip framing itself, so that every defect has an error with an offset. Memory is constant.

use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{Error, Result, layout};

/// The first two bytes of a gzip member. The second byte of a pulse file is `G`.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How a pulse file is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Plain: `GF1` after one byte.
    Plain,
    /// Gzip-compressed. Whether it contains a pulse file shows when it is decompressed.
    Gzip,
}

impl Encoding {
    /// Detects the encoding from a file's first four bytes. Returns `None` if it is no pulse file.
    #[must_use]
    pub fn detect(start: &[u8]) -> Option<Self> {
        if start.starts_with(&GZIP_MAGIC) {
            Some(Self::Gzip)
        } else {
            (start.get(layout::MAGIC)? == layout::MAGIC_BYTES).then_some(Self::Plain)
        }
    }
}

/// The only compression method that RFC 1952 defines.
const GZIP_DEFLATE: u8 = 8;
/// Flags of a gzip header (RFC 1952).
mod flag {
    pub(super) const HEADER_CRC: u8 = 0b0000_0010;
    pub(super) const EXTRA: u8 = 0b0000_0100;
    pub(super) const NAME: u8 = 0b0000_1000;
    pub(super) const COMMENT: u8 = 0b0001_0000;
    pub(super) const RESERVED: u8 = 0b1110_0000;
}

const BUFFER_BYTES: usize = 32 * 1024;
/// The longest gzip member header that is accepted; name, comment and extra field are skipped.
const MAX_MEMBER_HEADER_BYTES: u64 = 128 * 1024;
/// The greatest growth of incompressible data, plus 1/64 of their length.
const MAX_OVERHEAD_BYTES: u64 = 1 << 20;

/// Reads a pulse file, plain or gzip-compressed.
pub(super) struct DecodingReader<R> {
    input: CountingReader<R>,
    gzip: Option<Gzip>,
}

struct Gzip {
    inflate: Decompress,
    /// The checksum of the current member.
    crc: Crc,
    phase: Phase,
    /// The limit on the decompressed length, which the caller enforces. Here it bounds the compressed length, so that
    /// members without data cannot go on forever.
    limit_bytes: u64,
}

enum Phase {
    Data,
    Ended,
    /// After an error every read fails: an end of file would look like success.
    Failed,
}

impl<R: Read> DecodingReader<R> {
    /// Detects the encoding and reads the gzip header, if any. Compressed input may not be longer than a body of
    /// `limit_bytes` compresses to.
    pub(super) fn new(reader: R, limit_bytes: Option<u64>) -> Result<Self> {
        let mut input =
            CountingReader { reader, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, offset: 0, ended: false };
        input.fill(GZIP_MAGIC.len())?;
        let gzip = if Encoding::detect(input.buffered()) == Some(Encoding::Gzip) {
            read_member_header(&mut input)?;
            let limit_bytes = limit_bytes.unwrap_or(u64::MAX);
            Some(Gzip { inflate: Decompress::new(false), crc: Crc::new(), phase: Phase::Data, limit_bytes })
        } else {
            None
        };
        Ok(Self { input, gzip })
    }

    pub(super) fn is_gzip(&self) -> bool {
        self.gzip.is_some()
    }

    /// Returns how many bytes of the file were read, before decompression.
    pub(super) fn bytes_read(&self) -> u64 {
        self.input.offset
    }

    /// Reads bytes into `out`, which must not be empty. Returns 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let Some(gzip) = &mut self.gzip else { return self.input.read(out) };
        match gzip.phase {
            Phase::Data => {
                let result = gzip.read(&mut self.input, out);
                if result.is_err() {
                    gzip.phase = Phase::Failed;
                }
                result
            }
            Phase::Ended => Ok(0),
            Phase::Failed => Err(Error::GzipDamaged { offset: self.input.offset }),
        }
    }
}

impl Gzip {
    fn read<R: Read>(&mut self, input: &mut CountingReader<R>, out: &mut [u8]) -> Result<usize> {
        let most_bytes = self.limit_bytes.saturating_add(self.limit_bytes / 64).saturating_add(MAX_OVERHEAD_BYTES);
        loop {
            if input.offset > most_bytes {
                return Err(Error::CompressedTooLarge { limit_bytes: self.limit_bytes });
            }
            input.fill(1)?;
            let (total_in, total_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input.buffered(), out, FlushDecompress::None)
                .map_err(|_| Error::GzipDamaged { offset: input.offset })?;
            // At most the length of a buffer.
            let consumed = usize::try_from(self.inflate.total_in() - total_in).unwrap_or(usize::MAX);
            let produced = usize::try_from(self.inflate.total_out() - total_out).unwrap_or(usize::MAX);
            input.consume(consumed);
            self.crc.update(&out[..produced]);
            if matches!(status, Status::StreamEnd) {
                self.end_member(input)?;
            }
            if produced > 0 || matches!(self.phase, Phase::Ended) {
                return Ok(produced);
            }
            if consumed == 0 && !matches!(status, Status::StreamEnd) {
                return Err(if input.buffered().is_empty() {
                    Error::GzipCut { offset: input.offset, expected: "more gzip data" }
                } else {
                    Error::GzipDamaged { offset: input.offset }
                });
            }
        }
    }

    /// Checks the trailer and starts the next member, if any.
    fn end_member<R: Read>(&mut self, input: &mut CountingReader<R>) -> Result<()> {
        let offset = input.offset;
        let found = input.take_u32("the checksum after the gzip data")?;
        let expected = self.crc.sum();
        if found != expected {
            return Err(Error::GzipChecksum { offset, found, expected });
        }
        let offset = input.offset;
        let found = input.take_u32("the length after the gzip data")?;
        let expected = self.crc.amount();
        if found != expected {
            return Err(Error::GzipLength { offset, found, expected });
        }
        input.fill(GZIP_MAGIC.len())?;
        if input.buffered().is_empty() {
            self.phase = Phase::Ended;
        } else if input.buffered().starts_with(&GZIP_MAGIC) {
            read_member_header(input)?;
            self.inflate.reset(false);
            self.crc.reset();
        } else {
            return Err(Error::GzipTrailing { offset: input.offset });
        }
        Ok(())
    }
}

/// Reads a gzip member header (RFC 1952). Skips name, comment and extra field.
fn read_member_header<R: Read>(input: &mut CountingReader<R>) -> Result<()> {
    const EXPECTED: &str = "the rest of the gzip header";
    let offset = input.offset;
    let invalid = |problem| Err(Error::GzipHeader { offset, problem });
    let mut crc = Crc::new();
    let mut next = |input: &mut CountingReader<R>| {
        if input.offset - offset == MAX_MEMBER_HEADER_BYTES {
            return Err(Error::GzipHeader { offset, problem: "it is longer than 131072 bytes" });
        }
        let byte = input.take_byte(EXPECTED)?;
        crc.update(&[byte]);
        Ok::<u8, Error>(byte)
    };
    for _ in GZIP_MAGIC {
        next(input)?;
    }
    if next(input)? != GZIP_DEFLATE {
        return invalid("an unknown compression method, expected 8 (deflate)");
    }
    let flags = next(input)?;
    if flags & flag::RESERVED != 0 {
        return invalid("reserved flags are set, expected none");
    }
    // Modification time, extra flags, operating system.
    for _ in 0..6 {
        next(input)?;
    }
    if flags & flag::EXTRA != 0 {
        for _ in 0..u16::from_le_bytes([next(input)?, next(input)?]) {
            next(input)?;
        }
    }
    for text in [flag::NAME, flag::COMMENT] {
        if flags & text != 0 {
            while next(input)? != 0 {}
        }
    }
    if flags & flag::HEADER_CRC != 0 {
        let [low, high, ..] = crc.sum().to_le_bytes();
        if [input.take_byte(EXPECTED)?, input.take_byte(EXPECTED)?] != [low, high] {
            return invalid("its checksum does not match");
        }
    }
    Ok(())
}

/// A buffered reader that counts the bytes consumed.
struct CountingReader<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    ended: bool,
}

impl<R: Read> CountingReader<R> {
    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Buffers at least that many bytes, or all that are left.
    fn fill(&mut self, bytes: usize) -> Result<()> {
        while self.end - self.start < bytes && !self.ended {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let offset = self.offset + self.end as u64;
            let read = read_some(&mut self.reader, &mut self.buffer[self.end..], offset)?;
            self.ended = read == 0;
            self.end += read;
        }
        Ok(())
    }

    /// Reads from the buffer, or directly if that is empty.
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let buffered = self.buffered();
        let read = if buffered.is_empty() {
            read_some(&mut self.reader, out, self.offset)?
        } else {
            let read = buffered.len().min(out.len());
            out[..read].copy_from_slice(&buffered[..read]);
            self.start += read;
            read
        };
        self.offset += read as u64;
        Ok(read)
    }

    fn take_byte(&mut self, expected: &'static str) -> Result<u8> {
        self.fill(1)?;
        let Some(&byte) = self.buffered().first() else {
            return Err(Error::GzipCut { offset: self.offset, expected });
        };
        self.consume(1);
        Ok(byte)
    }

    fn take_u32(&mut self, expected: &'static str) -> Result<u32> {
        let mut bytes = [0; 4];
        for byte in &mut bytes {
            *byte = self.take_byte(expected)?;
        }
        Ok(u32::from_le_bytes(bytes))
    }
}

/// Reads once, and again if a signal interrupts it.
fn read_some(reader: &mut impl Read, out: &mut [u8], offset: u64) -> Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A wrong length from a faulty reader would make the caller use bytes that were never read.
            Ok(read) if read > out.len() => {
                return Err(Error::Io {
                    offset,
                    source: io::Error::other("the reader returned more bytes than requested"),
                });
            }
            result => return result.map_err(|source| Error::Io { offset, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Encoding;

    #[test]
    fn detects_the_encoding_from_four_bytes() {
        for (start, encoding) in [
            (&b"\x80GF1"[..], Some(Encoding::Plain)),
            (b"\0GF1 and more", Some(Encoding::Plain)),
            (b"\x1f\x8b", Some(Encoding::Gzip)),
            (b"\x1f\x8b\x08\0", Some(Encoding::Gzip)),
            (b"", None),
            (b"\x1f", None),
            (b"\x80GF", None),
            (b"\x80GF2", None),
            (b"GF1\0", None),
        ] {
            assert_eq!(Encoding::detect(start), encoding, "{start:?}");
        }
    }
}
