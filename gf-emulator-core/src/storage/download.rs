//! A download: its bytes, and how its end is recognised.

use std::fmt;
use std::io::{self, Read, Write};

use crate::{Error, Result};

/// How the end of a download is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownloadEnd {
    /// After this many bytes, as the sender announced. The number is not trusted: no memory is reserved for it.
    Length(u64),
    /// By the last chunk of a chunked transfer.
    LastChunk,
    /// Only by the end of the connection, which may also be a failure.
    Unknown,
}

/// A file that is being downloaded.
pub struct Download {
    from: String,
    reader: Box<dyn Read + Send>,
    end: DownloadEnd,
    is_cancelled: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Download {
    /// Creates a download from its bytes. `from` names the source in messages and must not have a query.
    #[must_use]
    pub fn new(from: impl Into<String>, end: DownloadEnd, reader: impl Read + Send + 'static) -> Self {
        Self { from: from.into(), reader: Box::new(reader), end, is_cancelled: Box::new(|| false) }
    }

    /// Sets the cancellation check. Once it returns true, the download ends with
    /// [`Error::Interrupted`](crate::Error::Interrupted), whatever the reader returns.
    #[must_use]
    pub fn cancelled_by(mut self, is_cancelled: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.is_cancelled = Box::new(is_cancelled);
        self
    }

    pub(crate) fn from(&self) -> &str {
        &self.from
    }

    pub(crate) fn end(&self) -> DownloadEnd {
        self.end
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        (self.is_cancelled)()
    }

    /// Copies the download to `to`. Calls `on_bytes` with the number of bytes so far; its error ends the copy.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] after `limit_bytes`; [`Error::Unreachable`] if the connection ends before the download does;
    /// [`Error::Interrupted`] if it was cancelled. With [`DownloadEnd::Unknown`] every end of the connection counts as
    /// the end: the caller has to check whether the file is complete.
    pub(crate) fn copy_to(
        &mut self,
        to: &mut dyn Write,
        limit_bytes: u64,
        what: &str,
        on_bytes: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<u64> {
        let mut buffer = vec![0; 16 << 10];
        let mut total = 0;
        loop {
            let read = self.reader.read(&mut buffer);
            if self.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let n = match read {
                Ok(0) if matches!(self.end, DownloadEnd::Length(length) if length != total) => {
                    return Err(self.cut(total, &io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(0) => return Ok(total),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if self.end == DownloadEnd::Unknown && e.kind() != io::ErrorKind::TimedOut => {
                    log::debug!("{}: the connection ended after {total} bytes ({e})", self.from);
                    return Ok(total);
                }
                Err(e) => return Err(self.cut(total, &e)),
            };
            total += n as u64;
            if total > limit_bytes {
                return Err(Error::TooLarge { what: what.into(), limit_bytes });
            }
            to.write_all(&buffer[..n]).map_err(|source| Error::File { doing: "write", path: what.into(), source })?;
            on_bytes(total)?;
        }
    }

    fn cut(&self, total: u64, e: &io::Error) -> Error {
        let received = match self.end {
            DownloadEnd::Length(length) => format!("{total} of {length} bytes"),
            DownloadEnd::LastChunk | DownloadEnd::Unknown => format!("{total} bytes"),
        };
        let reason = format!("the download was cut off after {received}: {e}");
        Error::Unreachable { host: self.from.clone(), reason }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("from", &self.from).field("end", &self.end).finish_non_exhaustive()
    }
}
