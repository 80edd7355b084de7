//! What an action needs of the service beside the WebSocket: uploads, downloads, status.
//!
//! [`Uplink`] is the seam: the HTTP session is one side of it, a pair of folders (`pipe`) another, and actions know
//! neither.

use std::io::{self, Read, Write};

use tungstenite::Bytes;

use crate::net::CancelToken;
use crate::service::firmware::FirmwareOffer;
use crate::{Error, Result};

/// A picture on its way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload<'a> {
    /// The action that asked for it.
    pub(crate) action_id: i64,
    /// The last part of the service's own upload path, such as `lid_image`.
    pub(crate) kind: &'a str,
    /// The presigned address to put it to; none for the service's own.
    pub(crate) endpoint: Option<&'a str>,
    /// JPEG.
    pub(crate) picture: &'a Bytes,
}

/// What says that a download is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DownloadEnd {
    /// Its length in bytes, which the sender gave. Nothing is sized by it.
    Length(u64),
    /// The last of its chunks.
    LastChunk,
    /// Nothing: it goes on until the connection ends, for whatever reason.
    Unknown,
}

/// A file on its way in.
pub(crate) struct Download {
    /// Where from, without a query: for messages.
    pub(crate) from: String,
    pub(crate) reader: Box<dyn Read + Send>,
    pub(crate) end: DownloadEnd,
    /// Ends the reading.
    pub(crate) cancel: CancelToken,
}

/// What an action needs of the service.
pub(crate) trait Uplink: Send + Sync {
    fn upload(&self, upload: &Upload<'_>) -> Result<()>;
    fn fetch(&self, url: &str) -> Result<Download>;
    /// `POST /api/event` on the status host (1.x).
    fn post_event(&self, body: &str) -> Result<()>;
    /// `PUT /api/machines/status` (1.x).
    fn put_status(&self, body: &str) -> Result<()>;
    fn firmware(&self) -> Result<FirmwareOffer>;
    /// Ends whatever of the above is under way.
    fn cancel_token(&self) -> &CancelToken;
}

/// Copies all of `source`, up to `limit_bytes`; tells `on_bytes` how many have come so far, which may end it.
///
/// # Errors
///
/// That it was cut before its end. Where [`DownloadEnd::Unknown`] is all that is known of it, however the connection ended is its
/// end, and whoever uses what has come has to judge that.
pub(crate) fn copy_limited(
    source: &mut Download,
    to: &mut dyn Write,
    limit_bytes: u64,
    what: &str,
    on_bytes: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let read = source.reader.read(&mut buffer);
        if source.cancel.is_cancelled() {
            // Whatever the reader says of it: it was ended on purpose.
            return Err(Error::Interrupted);
        }
        let n = match read {
            Ok(0) if matches!(source.end, DownloadEnd::Length(length) if length != total) => {
                return Err(cut(source, total, &io::ErrorKind::UnexpectedEof.into()));
            }
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if source.end == DownloadEnd::Unknown && e.kind() != io::ErrorKind::TimedOut => {
                log::debug!("{}: the connection ended after {total} bytes ({e})", source.from);
                return Ok(total);
            }
            Err(e) => return Err(cut(source, total, &e)),
        };
        total += n as u64;
        if total > limit_bytes {
            return Err(Error::TooLarge { what: what.into(), limit_bytes });
        }
        to.write_all(&buffer[..n]).map_err(|source| Error::File { doing: "write", path: what.into(), source })?;
        on_bytes(total)?;
    }
}

fn cut(source: &Download, total: u64, e: &io::Error) -> Error {
    let so_far = match source.end {
        DownloadEnd::Length(length) => format!("{total} of {length} bytes"),
        DownloadEnd::LastChunk | DownloadEnd::Unknown => format!("{total} bytes"),
    };
    Error::Unreachable { host: source.from.clone(), reason: format!("cut before its end, after {so_far}: {e}") }
}
