//! What an action needs of the service beside the WebSocket: uploads, downloads, status.
//!
//! [`Uplink`] is the seam: the HTTP session is one side of it, a pair of folders (`pipe`) another, and actions know
//! neither.

use std::io::{self, Read, Write};

use tungstenite::Bytes;

use crate::firmware::Offer;
use crate::net::Interrupt;
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

/// A file on its way in.
pub(crate) struct Source {
    /// Where from, without a query: for messages.
    pub(crate) from: String,
    pub(crate) reader: Box<dyn Read + Send>,
    /// What the sender says; nothing is sized by it.
    pub(crate) claimed_bytes: Option<u64>,
    /// Ends the reading.
    pub(crate) interrupt: Interrupt,
}

/// What an action needs of the service.
pub(crate) trait Uplink: Send + Sync {
    fn upload(&self, upload: &Upload<'_>) -> Result<()>;
    fn fetch(&self, url: &str) -> Result<Source>;
    /// `POST /api/event` on the status host (1.x).
    fn post_event(&self, body: &str) -> Result<()>;
    /// `PUT /api/machines/status` (1.x).
    fn put_status(&self, body: &str) -> Result<()>;
    fn firmware(&self) -> Result<Offer>;
    /// Ends whatever of the above is under way.
    fn interrupt(&self) -> &Interrupt;
}

/// Copies all of `source`, up to `limit_bytes`; tells `on_bytes` how many have come so far, which may end it.
pub(crate) fn copy_limited(
    source: &mut Source,
    to: &mut dyn Write,
    limit_bytes: u64,
    what: &str,
    on_bytes: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let read = source.reader.read(&mut buffer);
        if source.interrupt.is_raised() {
            // Whatever the reader says of it: the connection was shut on purpose.
            return Err(Error::Interrupted);
        }
        let n = match read {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::Unreachable { host: source.from.clone(), reason: e.to_string() }),
        };
        total += n as u64;
        if total > limit_bytes {
            return Err(Error::TooLarge { what: what.into(), limit_bytes });
        }
        to.write_all(&buffer[..n]).map_err(|source| Error::File { doing: "write", path: what.into(), source })?;
        on_bytes(total)?;
    }
}
