//! [`BoundedStream`]: the stream below tungstenite.
//!
//! Three things are changed here, below it: its `read` returns only with a whole message or an error, it reports a failed
//! write (it answers pings while it reads) instead of what could still be read, and its write buffer keeps the size of the
//! longest message.

use std::io::{self, Read, Write};

use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, Utf8Bytes, WebSocket};

use crate::net::Stream;

/// The largest frame and the largest message. An action has a few hundred bytes.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// The size of tungstenite's buffers: of what is read, and of control frames.
const BUFFER_BYTES: usize = 4 << 10;
/// Once this many bytes are pending, no more pongs are buffered: of the pings received meanwhile, only the last is
/// answered.
const MAX_PONG_BYTES: usize = 64 << 10;
/// How much one turn may read, so that a message without end does not block everything else.
const TURN_BYTES: usize = 64 << 10;
/// How much is still read after a write has failed: more than the default receive buffer of any system.
const MAX_BYTES_AFTER_FAILURE: usize = 8 << 20;

/// The machine's end of a WebSocket.
pub(super) type Socket<S = Stream> = WebSocket<BoundedStream<S>>;

/// A stream that limits how much is read per turn, that can still be read after a write has failed, and that has a buffer
/// for messages.
///
/// A failed write returns `WouldBlock`, as does every later one; [`failure`](Self::failure) is the actual error.
#[derive(Debug)]
pub(super) struct BoundedStream<S = Stream> {
    stream: S,
    /// Frames of messages. Has no memory when it is empty.
    unsent: Vec<u8>,
    /// The stream has not taken all of tungstenite's last write: the rest must be written first.
    rest_first: bool,
    message_bytes_taken: u64,
    turn_bytes_left: usize,
    turn_limit_reached: bool,
    failure: Option<io::Error>,
    bytes_left_after_failure: usize,
}

impl<S: Write> BoundedStream<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            unsent: Vec::new(),
            rest_first: false,
            message_bytes_taken: 0,
            turn_bytes_left: TURN_BYTES,
            turn_limit_reached: false,
            failure: None,
            bytes_left_after_failure: MAX_BYTES_AFTER_FAILURE,
        }
    }

    /// Returns how many bytes of messages, with their frame headers, the operating system has taken. Those of a TLS
    /// record count once it has taken the whole record: the peer cannot decrypt a part of one.
    pub(super) fn message_bytes_taken(&self) -> u64 {
        self.message_bytes_taken
    }

    pub(super) fn get_mut(&mut self) -> &mut S {
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

    /// Puts a message into the buffer.
    fn push(&mut self, text: Utf8Bytes) -> tungstenite::Result<()> {
        let mut frame = Frame::message(text, OpCode::Data(Data::Text), true);
        frame.header_mut().mask = Some(rand::random());
        frame.format(&mut self.unsent)
    }

    /// Writes the messages in the buffer.
    fn write_messages(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let written = self.write_through(&unsent);
            self.unsent = unsent;
            let written = written?;
            self.message_bytes_taken += written as u64;
            self.unsent.drain(..written);
        }
        self.unsent = Vec::new();
        Ok(())
    }

    fn write_through(&mut self, buf: &[u8]) -> io::Result<usize> {
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
}

impl<S: Read + Write> Read for BoundedStream<S> {
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

/// For tungstenite's control frames.
impl<S: Write> Write for BoundedStream<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if !self.rest_first {
            self.write_messages()?;
        }
        // OpenSSL, too, demands that a write that would block is repeated with the same bytes before any other.
        let result = self.write_through(buf);
        self.rest_first = !matches!(result, Ok(written) if written == buf.len());
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_messages()?;
        self.stream.flush()
    }
}

/// Wraps an upgraded connection; `early` is what arrived with the handshake's response.
pub(super) fn open<S: Read + Write>(stream: S, early: Vec<u8>) -> Socket<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
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

/// Writes a message, to a buffer if need be.
pub(super) fn write<S: Read + Write>(socket: &mut Socket<S>, message: Message) -> tungstenite::Result<()> {
    match message {
        Message::Text(text) if socket.can_write() => socket.get_mut().push(text),
        // On WouldBlock the message is in the buffer and must not be written again.
        message => ready(socket.write(message)).map(drop),
    }
}

/// Flushes; returns whether the buffers are empty.
pub(super) fn flush<S: Read + Write>(socket: &mut Socket<S>) -> tungstenite::Result<bool> {
    // Twice, for a pong or the answer to a Close that did not fit before the first.
    Ok(ready(socket.flush())?.is_some() && ready(socket.flush())?.is_some())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::Cursor;

    use proptest::prelude::*;
    use tungstenite::protocol::frame::FrameHeader;

    use super::*;
    use crate::websocket::outbox::frame_bytes;

    /// The other end, which has room for so many bytes.
    #[derive(Default)]
    struct Peer {
        room: usize,
        wire: Vec<u8>,
        /// What a write has offered that would block.
        refused: Vec<u8>,
        inbox: VecDeque<u8>,
    }

    impl Read for Peer {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.inbox.read(buf)? {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                count => Ok(count),
            }
        }
    }

    impl Write for Peer {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            assert!(buf.starts_with(&self.refused), "a write that would block is repeated before any other");
            self.refused.clear();
            if self.room == 0 {
                self.refused = buf.to_vec();
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = self.room.min(buf.len());
            self.room -= count;
            self.wire.extend(&buf[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// How many bytes of text frames there are.
    fn message_bytes(wire: &[u8]) -> u64 {
        let (mut cursor, mut bytes) = (Cursor::new(wire), 0);
        while let Some((header, payload)) = FrameHeader::parse(&mut cursor).unwrap() {
            let frame = header.len(payload) as u64 + payload;
            let start = cursor.position() + payload - frame;
            if header.opcode == OpCode::Data(Data::Text) {
                bytes += frame.min(wire.len() as u64 - start);
            }
            cursor.set_position(start + frame);
        }
        let begun = usize::try_from(cursor.position()).ok().and_then(|at| wire.get(at..)).unwrap_or_default();
        bytes + if begun.first() == Some(&0x81) { begun.len() as u64 } else { 0 }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Message(usize),
        Ping,
        /// The service sends a ping.
        Pinged,
        Flush,
        Room(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..300usize).prop_map(Step::Message),
            Just(Step::Message(70_000)),
            Just(Step::Ping),
            Just(Step::Pinged),
            Just(Step::Flush),
            (0..200usize).prop_map(Step::Room),
        ];
        proptest::collection::vec(step, 1..60)
    }

    proptest! {
        #[test]
        fn messages_arrive_whole_and_in_order_and_are_counted(steps in steps()) {
            let mut socket = open(Peer::default(), Vec::new());
            let mut sent = Vec::new();
            for step in steps {
                match step {
                    Step::Message(length) => {
                        sent.push(format!("{}{}", sent.len(), "x".repeat(length)));
                        write(&mut socket, Message::text(sent.last().unwrap())).unwrap();
                    }
                    Step::Ping => write(&mut socket, Message::Ping(b"machine".to_vec().into())).unwrap(),
                    Step::Pinged => {
                        socket.get_mut().get_mut().inbox.extend(b"\x89\x04ping");
                        socket.get_mut().begin_turn();
                        while ready(socket.read()).unwrap().is_some() {}
                    }
                    Step::Flush => {
                        flush(&mut socket).unwrap();
                    }
                    Step::Room(bytes) => socket.get_mut().get_mut().room = bytes,
                }
                let taken = socket.get_ref().message_bytes_taken();
                prop_assert_eq!(taken, message_bytes(&socket.get_ref().stream.wire));
            }
            socket.get_mut().get_mut().room = usize::MAX;
            prop_assert!(flush(&mut socket).unwrap());
            prop_assert_eq!(socket.get_ref().unsent.capacity(), 0);
            let all = sent.iter().map(|text| frame_bytes(text.len())).sum::<u64>();
            prop_assert_eq!(socket.get_ref().message_bytes_taken(), all);

            let wire = std::mem::take(&mut socket.get_mut().get_mut().wire);
            let peer = Peer { inbox: wire.into(), room: usize::MAX, ..Peer::default() };
            let mut service = WebSocket::from_raw_socket(peer, Role::Server, None);
            let received = std::iter::from_fn(|| service.read().ok());
            let texts: Vec<_> = received.filter(Message::is_text).map(|message| message.to_string()).collect();
            prop_assert_eq!(texts, sent);
        }
    }
}
