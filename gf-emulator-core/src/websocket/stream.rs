//! [`BoundedStream`]: the stream that tungstenite reads and writes.
//!
//! tungstenite's `read` returns only once it has a whole message or an error, and it reports a failed write (it answers
//! pings as it reads) in place of what it could still read. Both are changed here, underneath it.

use std::io::{self, Read, Write};

use tungstenite::WebSocket;
use tungstenite::protocol::{Role, WebSocketConfig};

use crate::net::Stream;

/// The largest frame and the largest message. An action is a few hundred bytes.
const LARGEST_FRAME: usize = 1 << 20;
const READ_BYTES: usize = 4 << 10;
/// Messages are collected up to this many bytes before they are written.
pub(super) const WRITE_BYTES: usize = 4 << 10;
/// Bytes that wait to be written before no more pongs are put behind them: of the pings that come then, only the last is
/// answered.
pub(super) const LARGEST_PONG_QUEUE: usize = 64 << 10;
/// Bytes read in one turn; then it is the turn of everything else that the thread does.
const TURN_BYTES: usize = 64 << 10;
/// Bytes still read once a write has failed: more than the receive buffer of an operating system holds by default.
const BYTES_AFTER_FAILURE: usize = 8 << 20;

/// The machine's end of a WebSocket.
pub(crate) type Socket = WebSocket<BoundedStream>;

/// A stream with a limit on how much is read in one turn, and one that can still be read after a write has failed.
///
/// A failed write shows as `WouldBlock`, then and ever after; [`failure`](Self::failure) is how it really failed.
#[derive(Debug)]
pub(crate) struct BoundedStream {
    stream: Stream,
    left_in_turn: usize,
    turn_is_over: bool,
    failure: Option<io::Error>,
    left_after_failure: usize,
}

impl BoundedStream {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            left_in_turn: TURN_BYTES,
            turn_is_over: false,
            failure: None,
            left_after_failure: BYTES_AFTER_FAILURE,
        }
    }

    pub(super) fn get_ref(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn get_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(super) fn begin_turn(&mut self) {
        self.left_in_turn = TURN_BYTES;
        self.turn_is_over = false;
    }

    /// Whether a read was refused because of the turn's limit: more may be there to be read.
    pub(super) fn turn_is_over(&self) -> bool {
        self.turn_is_over
    }

    /// Why nothing can be written any more, once that is so.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }
}

impl Read for BoundedStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() && self.left_after_failure == 0 {
            return Ok(0);
        }
        if self.left_in_turn == 0 {
            self.turn_is_over = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = buf.len().min(self.left_in_turn);
        let count = self.stream.read(&mut buf[..most])?;
        self.left_in_turn -= count;
        if self.failure.is_some() {
            self.left_after_failure = self.left_after_failure.saturating_sub(count);
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

/// A WebSocket on a connection that has been upgraded; `early` is what came with the answer.
pub(super) fn open(stream: Stream, early: Vec<u8>) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(LARGEST_PONG_QUEUE)
        .max_message_size(Some(LARGEST_FRAME))
        .max_frame_size(Some(LARGEST_FRAME));
    WebSocket::from_partially_read(BoundedStream::new(stream), early, Role::Client, Some(config))
}

/// What a non-blocking call gave: none where it has to wait.
pub(super) fn ready<T>(result: tungstenite::Result<T>) -> tungstenite::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(e) => Err(e),
    }
}
