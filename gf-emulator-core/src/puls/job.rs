//! Reads a pulse file: its header, then its body as a stream.

use std::fmt;
use std::io::Read;

use super::source::DecodingReader;
use super::{Error, Header, MAX_TICKS, Result, layout};

/// The length of a chunk. The decompressor copies the last 32 KiB of each, so longer chunks cost less per byte.
const CHUNK_BYTES: usize = 64 * 1024;

/// How much of a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest body in bytes (ticks) after decompression; `None` is any length.
    ///
    /// The default is [`MAX_TICKS`](super::MAX_TICKS): 1 GiB, 30 hours at 10 kHz, which is also the longest job of a
    /// [`Builder`](super::Builder). Memory does not depend on it. It bounds the time, and the disk space of a copy,
    /// that a small compressed file can cost.
    pub body_bytes: Option<u64>,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self { body_bytes: None };

    /// Limits the body to a number of bytes.
    #[must_use]
    pub const fn body_bytes(bytes: u64) -> Self {
        Self { body_bytes: Some(bytes) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: Some(MAX_TICKS as u64) }
    }
}

/// A pulse file over any reader, plain or gzip-compressed, which is detected from its first bytes.
///
/// Uses about 150 KiB for any length. Reads are large, so that a file needs no `BufReader`.
///
/// Gzip members are concatenated. A damaged or truncated member is an error, and so is data after the last member: a
/// job must be exactly what was sent to be played.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Counts, Job};
///
/// let file = Builder::new().move_to(3.0, 0.0)?.to_gzip();
///
/// let mut job = Job::open(&file[..])?;
/// assert!(job.is_gzip());
/// assert_eq!(job.header().step_frequency_hz(), Some(10_000));
/// let mut counts = Counts::default();
/// while let Some(chunk) = job.next_chunk()? {
///     counts.add(chunk);
/// }
/// assert_eq!(counts.xp, 160);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
pub struct Job<R> {
    source: DecodingReader<R>,
    header: Header,
    limits: Limits,
    chunk: Vec<u8>,
    /// The length of the last chunk.
    chunk_bytes: usize,
    body_bytes_read: u64,
    too_large: bool,
}

impl<R: Read> Job<R> {
    /// Reads the header, with the default [`Limits`].
    ///
    /// # Errors
    /// Those of [`Job::with_limits`].
    pub fn open(reader: R) -> Result<Self> {
        Self::with_limits(reader, Limits::default())
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::HeaderLength`] or [`Error::HeaderCut`] if it is no pulse file; [`Error::Io`],
    /// [`Error::CompressedTooLarge`], and the `Gzip` variants.
    pub fn with_limits(reader: R, limits: Limits) -> Result<Self> {
        let mut source = DecodingReader::new(reader, limits.body_bytes)?;
        let mut bytes = Vec::new();
        read_up_to(&mut source, &mut bytes, layout::PREFIX_BYTES)?;
        let length = Header::decode_length(&bytes)?;
        read_up_to(&mut source, &mut bytes, length)?;
        let header = Header::decode(&bytes)?;
        Ok(Self {
            source,
            header,
            limits,
            chunk: vec![0; CHUNK_BYTES],
            chunk_bytes: 0,
            body_bytes_read: 0,
            too_large: false,
        })
    }

    /// Returns the header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns whether the file is gzip-compressed.
    #[must_use]
    pub fn is_gzip(&self) -> bool {
        self.source.is_gzip()
    }

    /// Returns the number of bytes (ticks) of the body read so far.
    #[must_use]
    pub fn body_bytes_read(&self) -> u64 {
        self.body_bytes_read
    }

    /// Returns how much of the file was read so far, in bytes as it is stored.
    pub(super) fn bytes_read(&self) -> u64 {
        self.source.bytes_read()
    }

    /// Reads the next part of the body, which is never empty. Returns `None` at its end, which for gzip means that all
    /// checksums match.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`], [`Error::CompressedTooLarge`], and the `Gzip` variants. After any but
    /// [`Error::Io`], every further call fails as well, so that a damaged file never seems complete.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>> {
        let limit_bytes = self.limits.body_bytes.unwrap_or(u64::MAX);
        self.chunk_bytes = 0;
        // After the limit, read no further and fail again.
        let read = if self.too_large { 0 } else { self.source.read(&mut self.chunk)? };
        let body_bytes = self.body_bytes_read + read as u64;
        if self.too_large || body_bytes > limit_bytes {
            self.too_large = true;
            return Err(Error::TooLarge { offset: self.header.len_bytes() as u64, limit_bytes });
        }
        self.body_bytes_read = body_bytes;
        self.chunk_bytes = read;
        Ok((read > 0).then(|| self.chunk()))
    }

    /// Takes the last chunk, and reads the next one into this buffer.
    pub(super) fn replace_chunk(&mut self, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.resize(CHUNK_BYTES, 0);
        let mut chunk = std::mem::replace(&mut self.chunk, buffer);
        chunk.truncate(std::mem::take(&mut self.chunk_bytes));
        chunk
    }

    /// Returns the last chunk; empty before the first one, at the end, and after an error.
    pub(super) fn chunk(&self) -> &[u8] {
        &self.chunk[..self.chunk_bytes]
    }
}

/// Reads until `bytes` has `length` bytes, or the file ends.
fn read_up_to<R: Read>(source: &mut DecodingReader<R>, bytes: &mut Vec<u8>, length: usize) -> Result<()> {
    let mut filled = bytes.len();
    bytes.resize(length, 0);
    while filled < length {
        match source.read(&mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(())
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("header", &self.header)
            .field("limits", &self.limits)
            .field("body_bytes_read", &self.body_bytes_read)
            .finish_non_exhaustive()
    }
}
