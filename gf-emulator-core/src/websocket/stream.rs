//! [`BoundedStream`]: the stream below tungstenite.
//!
//! tungstenite's `read` returns only with a whole message or an error, and it reports a failed write (it answers pings
//! while it reads) instead of what could still be read. Both are changed here, below it.

use std::io::{self, Read, Write};

use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::outbox::BATCH_BYTES;
use crate::net::Stream;

/// The largest frame and the largest message. An action has a few hundred bytes.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Once this many bytes are pending, no more pongs are buffered: of the pings received meanwhile, only the last is
/// answered.
const MAX_PONG_BYTES: usize = 64 << 10;
/// How much one turn may read, so that a message without end does not block everything else.
const TURN_BYTES: usize = 64 << 10;
/// How much is still read after a write has failed: more than the default receive buffer of any system.
const MAX_BYTES_AFTER_FAILURE: usize = 8 << 20;

/// The machine's end of a WebSocket.
pub(super) type Socket = WebSocket<BoundedStream>;

/// A stream that limits how much is read per turn, and that can still be read after a write has failed.
///
/// A failed write returns `WouldBlock`, as does every later one; [`failure`](Self::failure) is the actual error.
#[derive(Debug)]
pub(super) struct BoundedStream {
    stream: Stream,
    turn_bytes_left: usize,
    turn_limit_reached: bool,
    failure: Option<io::Error>,
    bytes_left_after_failure: usize,
}

impl BoundedStream {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            turn_bytes_left: TURN_BYTES,
            turn_limit_reached: false,
            failure: None,
            bytes_left_after_failure: MAX_BYTES_AFTER_FAILURE,
        }
    }

    /// Returns how many bytes the operating system has taken.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.stream.bytes_written()
    }

    pub(super) fn get_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(super) fn begin_turn(&mut self) {
        self.turn_bytes_left = TURN_BYTES;
        self.turn_limit_reached = false;
    }

    /// Returns whether the turn's limit ended a read: there may be more to read.
    pub(super) fn turn_limit_reached(&self) -> bool {
        self.turn_limit_reached
    }

    /// Returns the error of the first write that has failed.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }
}

impl Read for BoundedStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() && self.bytes_left_after_failure == 0 {
            return Ok(0);
        }
        if self.turn_bytes_left == 0 {
            self.turn_limit_reached = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let limit = buf.len().min(self.turn_bytes_left);
        let count = self.stream.read(&mut buf[..limit])?;
        self.turn_bytes_left -= count;
        if self.failure.is_some() {
            self.bytes_left_after_failure = self.bytes_left_after_failure.saturating_sub(count);
        }
        Ok(count)
    }
}

impl Write for BoundedStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let failure = match self.stream.write(buf) {
            Ok(0) if !buf.is_empty() => io::ErrorKind::WriteZero.into(),
            Err(e) if !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => e,
            other => return other,
        };
        self.failure = Some(failure);
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Wraps an upgraded connection; `early` is what arrived with the handshake's response.
pub(super) fn open(stream: Stream, early: Vec<u8>) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(BATCH_BYTES)
        .max_write_buffer_size(MAX_PONG_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    WebSocket::from_partially_read(BoundedStream::new(stream), early, Role::Client, Some(config))
}

/// Maps `WouldBlock` and `Interrupted` to `None`.
pub(super) fn ready<T>(result: tungstenite::Result<T>) -> tungstenite::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes a message of any size: the limit of the write buffer is for pongs alone.
pub(super) fn write(socket: &mut Socket, message: Message) -> tungstenite::Result<()> {
    socket.set_config(|config| config.max_write_buffer_size = usize::MAX);
    // On WouldBlock the message is in the buffer and must not be written again.
    let written = ready(socket.write(message));
    socket.set_config(|config| config.max_write_buffer_size = MAX_PONG_BYTES);
    written.map(drop)
}

/// Flushes; returns whether the buffer is empty.
pub(super) fn flush(socket: &mut Socket) -> tungstenite::Result<bool> {
    // Twice, for a pong or the answer to a Close that did not fit before the first.
    Ok(ready(socket.flush())?.is_some() && ready(socket.flush())?.is_some())
}
