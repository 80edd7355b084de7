//! A pulse file being read: its header, then its body as a stream.

use std::fmt;
use std::io::Read;

use super::header::field;
use super::source::Source;
use super::{Error, Header, MAX_TICKS, Result};

/// How much is handed out at a time. The inflater keeps a copy of the last 32 KiB of each, which costs less a byte the more
/// that is.
const CHUNK_BYTES: usize = 64 * 1024;

/// How much of a file is read at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest body in bytes (ticks), after inflating; `None` is any length.
    ///
    /// The default is [`MAX_TICKS`](super::MAX_TICKS): 1 GiB, thirty hours at 10 kHz, which is also the longest job that a
    /// [`Builder`](super::Builder) makes. Memory does not depend on the limit, since a body is never held as a whole. The
    /// limit bounds the time, and the disk space of whoever writes the body down, that a small compressed file can take.
    pub body_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: Some(MAX_TICKS as u64) }
    }
}

/// A pulse file over any reader, plain or gzip-compressed, told apart by its first bytes.
///
/// Memory is the same for any length: about 150 KiB. Reads are large, so a file needs no buffering in between.
///
/// Gzip is held to its standard. Several members count as one file, one after the other. A damaged, cut or wrongly
/// ended member is an error, and so is anything that follows the last one: a job that is not exactly what was sent is
/// not to be played.
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
    source: Source<R>,
    header: Header,
    limits: Limits,
    chunk: Vec<u8>,
    /// How much of the chunk is the part of the body handed out last.
    chunk_bytes: usize,
    body_bytes_read: u64,
    too_large: bool,
}

impl<R: Read> Job<R> {
    /// Reads the header, with the default [`Limits`].
    ///
    /// # Errors
    /// As [`Job::with_limits`].
    pub fn open(reader: R) -> Result<Self> {
        Self::with_limits(reader, Limits::default())
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::HeaderLength`], [`Error::HeaderCut`] where it is no pulse file, [`Error::Io`],
    /// [`Error::CompressedTooLarge`], and the `Gzip` variants.
    pub fn with_limits(reader: R, limits: Limits) -> Result<Self> {
        let mut source = Source::new(reader, limits.body_bytes)?;
        let mut bytes = Vec::new();
        read_up_to(&mut source, &mut bytes, field::PREFIX_BYTES)?;
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

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the file came compressed.
    #[must_use]
    pub fn is_gzip(&self) -> bool {
        self.source.is_gzip()
    }

    /// How many bytes of the body have been handed out: ticks, one byte each.
    #[must_use]
    pub fn body_bytes_read(&self) -> u64 {
        self.body_bytes_read
    }

    /// The next part of the body, never empty; `None` once it is over and, for gzip, was found whole.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::TooLarge`], [`Error::CompressedTooLarge`], and the `Gzip` variants. After any but the first every further call is an error
    /// too: a broken file never seems to end well.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>> {
        let limit_bytes = self.limits.body_bytes.unwrap_or(u64::MAX);
        self.chunk_bytes = 0;
        // Asking again after the limit must neither go on reading nor seem to end well.
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

    /// What was handed out last; empty before the first chunk, at the end, and after an error.
    pub(super) fn chunk(&self) -> &[u8] {
        &self.chunk[..self.chunk_bytes]
    }
}

/// Reads until there are `length` bytes, or fewer where the file ends before that.
fn read_up_to<R: Read>(source: &mut Source<R>, bytes: &mut Vec<u8>, length: usize) -> Result<()> {
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
