//! The bytes of a pulse file, from a reader that holds it plain or gzip-compressed.
//!
//! The gzip framing is read here rather than by a ready-made decoder, so that each way in which it can be broken has an
//! error of its own, with its place. Memory does not depend on what is read.

use std::io::{self, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::header::field;
use super::{Error, Result};

/// The first two bytes of a gzip member. A pulse file has a `G` in the second place.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How a pulse file comes, by its first bytes and never by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is: `GF1` behind one byte.
    Plain,
    /// Gzip-compressed. What is in it is known once it is read.
    Gzip,
}

impl Kind {
    /// What a file is that begins with these bytes; `None` where it is no pulse file. Four bytes are enough.
    #[must_use]
    pub fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&GZIP_MAGIC) {
            Some(Self::Gzip)
        } else {
            (start.get(field::MAGIC)? == field::MAGIC_BYTES).then_some(Self::Plain)
        }
    }
}

/// The only compression method there is.
const GZIP_DEFLATE: u8 = 8;
/// Flags of a gzip header.
mod flag {
    pub(super) const HEADER_CRC: u8 = 0b0000_0010;
    pub(super) const EXTRA: u8 = 0b0000_0100;
    pub(super) const NAME: u8 = 0b0000_1000;
    pub(super) const COMMENT: u8 = 0b0001_0000;
    pub(super) const RESERVED: u8 = 0b1110_0000;
}

const BUFFER_BYTES: usize = 32 * 1024;
/// The longest header of a gzip member: name, comment and extra field (64 KiB at most) are not used, and have to end.
const MAX_MEMBER_HEADER_BYTES: u64 = 128 * 1024;
/// Data that cannot be compressed become a little longer: by less than this, and a 64th.
const MAX_OVERHEAD_BYTES: u64 = 1 << 20;

/// A pulse file's bytes, inflated where need be.
pub(super) struct Source<R> {
    input: Input<R>,
    gzip: Option<Gzip>,
}

struct Gzip {
    inflate: Decompress,
    /// Of the current member's data.
    crc: Crc,
    phase: Phase,
    /// What the data may inflate to; whoever reads them counts those. Compressed data are not longer than that by more
    /// than some overhead, so that members without any data do not go on for ever.
    limit_bytes: u64,
}

enum Phase {
    Data,
    Ended,
    /// After an error there is nothing more to be had; the end would look like a whole file.
    Failed,
}

impl<R: Read> Source<R> {
    /// Looks at the first bytes, and reads the gzip header if there is one. Compressed input may not be longer than what
    /// holds a body of `limit_bytes`.
    pub(super) fn new(reader: R, limit_bytes: Option<u64>) -> Result<Self> {
        let mut input = Input { reader, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, offset: 0, ended: false };
        input.want(GZIP_MAGIC.len())?;
        let gzip = if Kind::of(input.buffered()) == Some(Kind::Gzip) {
            member_header(&mut input)?;
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

    /// Reads some bytes into `out` (which must have room); 0 is the end.
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
    fn read<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8]) -> Result<usize> {
        let most_bytes = self.limit_bytes.saturating_add(self.limit_bytes / 64).saturating_add(MAX_OVERHEAD_BYTES);
        loop {
            if input.offset > most_bytes {
                return Err(Error::CompressedTooLarge { limit_bytes: self.limit_bytes });
            }
            input.want(1)?;
            let (total_in, total_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(input.buffered(), out, FlushDecompress::None)
                .map_err(|_| Error::GzipDamaged { offset: input.offset })?;
            // Both are at most the length of a buffer.
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

    /// Checks the trailer, then looks for another member.
    fn end_member<R: Read>(&mut self, input: &mut Input<R>) -> Result<()> {
        let offset = input.offset;
        let found = input.take_u32("the checksum that ends the gzip data")?;
        let expected = self.crc.sum();
        if found != expected {
            return Err(Error::GzipChecksum { offset, found, expected });
        }
        let offset = input.offset;
        let found = input.take_u32("the length that ends the gzip data")?;
        let expected = self.crc.amount();
        if found != expected {
            return Err(Error::GzipLength { offset, found, expected });
        }
        input.want(GZIP_MAGIC.len())?;
        if input.buffered().is_empty() {
            self.phase = Phase::Ended;
        } else if input.buffered().starts_with(&GZIP_MAGIC) {
            member_header(input)?;
            self.inflate.reset(false);
            self.crc.reset();
        } else {
            return Err(Error::GzipTrailing { offset: input.offset });
        }
        Ok(())
    }
}

/// Reads a gzip member's header (RFC 1952) to its end; name, comment and extra field are passed over.
fn member_header<R: Read>(input: &mut Input<R>) -> Result<()> {
    const EXPECTED: &str = "the rest of the gzip header";
    let offset = input.offset;
    let wrong = |problem| Err(Error::GzipHeader { offset, problem });
    let mut crc = Crc::new();
    let mut next = |input: &mut Input<R>| {
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
        return wrong("an unknown compression method, expected 8 (deflate)");
    }
    let flags = next(input)?;
    if flags & flag::RESERVED != 0 {
        return wrong("reserved flags are set, expected none");
    }
    // Time, extra flags, operating system.
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
            return wrong("its checksum does not fit, expected that of the bytes before it");
        }
    }
    Ok(())
}

/// A reader with a buffer that knows how far it has got.
struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many bytes have been consumed.
    offset: u64,
    ended: bool,
}

impl<R: Read> Input<R> {
    fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Has at least that many bytes buffered, or all that are left.
    fn want(&mut self, bytes: usize) -> Result<()> {
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

    /// Reads past the buffer once that is empty.
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
        self.want(1)?;
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

/// One read that was not merely interrupted by a signal.
fn read_some(reader: &mut impl Read, out: &mut [u8], offset: u64) -> Result<usize> {
    loop {
        match reader.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A reader that claims more than it was given room for would have the caller believe in bytes it never got.
            Ok(read) if read > out.len() => {
                return Err(Error::Io { offset, source: io::Error::other("the reader returned more than was asked") });
            }
            result => return result.map_err(|source| Error::Io { offset, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn four_bytes_say_how_a_pulse_file_comes() {
        for (start, kind) in [
            (&b"\x80GF1"[..], Some(Kind::Plain)),
            (b"\0GF1 and more", Some(Kind::Plain)),
            (b"\x1f\x8b", Some(Kind::Gzip)),
            (b"\x1f\x8b\x08\0", Some(Kind::Gzip)),
            (b"", None),
            (b"\x1f", None),
            (b"\x80GF", None),
            (b"\x80GF2", None),
            (b"GF1\0", None),
        ] {
            assert_eq!(Kind::of(start), kind, "{start:?}");
        }
    }
}
