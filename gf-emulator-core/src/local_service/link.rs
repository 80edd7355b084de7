//! One WebSocket connection with a machine, from the service's side. It knows nothing of machines or of the service:
//! what it reads goes to a callback.
//!
//! One thread waits for input; every other thread sends directly. The stream between them is detached
//! (see [`http_server::stream`](crate::http_server::stream)), so that neither waits for the other.

use std::fmt;
use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use socket2::SockRef;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Error as WsError, Message, WebSocket};

use crate::ParseError;
use crate::http_server::response::linger;
use crate::http_server::socket::ServerSocket;
use crate::http_server::stream::ServerStream;
use crate::sync::{lock, wait};

/// How long a machine may take to close its side after a cut or a Close frame.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a message. A full settings report is about 10 kB (measured on hardware).
const MESSAGE_LIMIT_BYTES: usize = 1 << 20;
/// Size of the header of an unmasked frame of up to 64 KiB, in bytes (RFC 6455, section 5.2).
const FRAME_HEADER_BYTES: usize = 4;
/// Maximum size of the pongs queued for a machine that does not read.
const PONGS_LIMIT_BYTES: usize = 1 << 20;

/// How a WebSocket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WsEnd {
    /// It is cut.
    Cut(Cut),
    /// The service sends a Close frame with this code.
    Close(u16),
}

impl fmt::Display for WsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(Cut::Drain) => f.write_str("closed without a Close frame"),
            Self::Cut(Cut::Hard) => f.write_str("cut"),
            Self::Cut(Cut::Reset) => f.write_str("reset"),
            Self::Close(code) => write!(f, "closed with {code}"),
        }
    }
}

/// Returns whether a close code can be sent (RFC 6455, section 7.4): 1005, 1006 and 1015 are never sent, and 1004 is
/// reserved.
pub(super) fn can_be_sent(code: u16) -> bool {
    (1000..=4999).contains(&code) && ![1004, 1005, 1006, 1015].contains(&code)
}

/// How a connection is cut, without a Close frame. As JSON: `true`, `"hard"` or `"reset"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
#[non_exhaustive]
pub enum Cut {
    /// Shuts down the sending side only: what the machine has sent is still read until it closes its side, for 5 s at
    /// most.
    Drain,
    /// Shuts down both sides: what the machine has sent and the service has not read is lost.
    Hard,
    /// Resets the TCP connection (RST): the machine may lose what it has not read yet, as well.
    Reset,
}

impl TryFrom<Value> for Cut {
    type Error = ParseError;

    fn try_from(value: Value) -> Result<Self, ParseError> {
        match value {
            Value::Bool(true) => Ok(Self::Drain),
            Value::String(kind) if kind == "hard" => Ok(Self::Hard),
            Value::String(kind) if kind == "reset" => Ok(Self::Reset),
            _ => Err(ParseError::new("must be true, \"hard\" or \"reset\"")),
        }
    }
}

impl Cut {
    /// Returns whether nothing more is written or read.
    fn is_immediate(self) -> bool {
        self != Self::Drain
    }
}

/// What a [`Link`] reads, and its end.
pub(super) enum LinkEvent<'a> {
    Text(&'a str),
    /// A binary frame of this many bytes.
    Binary(usize),
    Ping,
    Pong,
    /// The scheduled time is over: it ends like this.
    OnSchedule(WsEnd),
    /// The link is about to be cut or has failed: nothing can be sent any more.
    Closing,
    /// The connection is closed.
    Closed {
        /// The code of the machine's Close frame, if it sent one.
        code: Option<u16>,
    },
}

/// An open WebSocket connection.
pub(super) struct Link {
    socket: Arc<ServerSocket>,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    websocket: WebSocket<ServerStream>,
    /// A thread is writing output to the socket; it will also write what is added meanwhile.
    writing: bool,
    /// Nothing more can be sent.
    cut: Option<Cut>,
    /// All output has been written, and the sending side is shut down.
    finished: bool,
    ended: bool,
}

/// State of the reading thread.
#[derive(Default)]
struct ReadState {
    /// The code of the machine's Close frame, if it sent one.
    close_code: Option<u16>,
    /// A message was too long.
    is_rejected: bool,
    /// Upper bound of the size of queued pongs.
    pong_bytes: usize,
}

/// Nothing can be sent: the connection is cut or broken.
#[derive(Debug)]
pub(super) struct LinkClosed;

impl Link {
    /// Takes over a connection. `early` is what was read past the handshake request, `response` the handshake response.
    ///
    /// The response is sent with the first flush, so that the link can be registered before the machine knows that it
    /// is open.
    pub(super) fn new(mut stream: ServerStream, early: Vec<u8>, response: &[u8]) -> io::Result<Self> {
        let socket = Arc::clone(stream.socket());
        stream.detach();
        stream.write_all(response)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_LIMIT_BYTES))
            .max_frame_size(Some(MESSAGE_LIMIT_BYTES));
        let websocket = WebSocket::from_partially_read(stream, early, Role::Server, Some(config));
        let state = State { websocket, writing: false, cut: None, finished: false, ended: false };
        Ok(Self { socket, state: Mutex::new(state), ended: Condvar::new() })
    }

    /// Sends a text message in this many fragments, but no more than it has bytes. `before_send` is called just before,
    /// in the order of sending.
    pub(super) fn send(&self, text: &str, fragments: usize, before_send: impl FnOnce()) -> Result<(), LinkClosed> {
        self.send_messages(fragmented(text, fragments), before_send)
    }

    /// Sends a ping without a payload.
    pub(super) fn ping(&self) -> Result<(), LinkClosed> {
        self.send_messages([Message::Ping(Bytes::new())], || ())
    }

    fn send_messages(
        &self,
        messages: impl IntoIterator<Item = Message>,
        before_send: impl FnOnce(),
    ) -> Result<(), LinkClosed> {
        {
            let mut state = lock(&self.state);
            if state.cut.is_some() || state.ended || !state.websocket.can_write() {
                return Err(LinkClosed);
            }
            before_send();
            for message in messages {
                state.websocket.send(message).map_err(|_| LinkClosed)?;
            }
        }
        self.flush().map_err(|_| LinkClosed)
    }

    /// Writes output to the socket, unless another thread is writing, which then also writes this. After a
    /// [`Cut::Drain`], shuts down the sending side once all is written.
    fn flush(&self) -> io::Result<()> {
        loop {
            let bytes = {
                let mut state = lock(&self.state);
                if state.writing {
                    return Ok(());
                }
                let bytes = state.websocket.get_mut().take_output();
                if state.finished || state.cut.is_some_and(Cut::is_immediate) {
                    return Ok(());
                }
                if bytes.is_empty() {
                    if state.cut == Some(Cut::Drain) {
                        state.finished = true;
                        self.socket.shutdown(Shutdown::Write);
                    }
                    return Ok(());
                }
                state.writing = true;
                bytes
            };
            let written = (&*self.socket).write_all(&bytes);
            lock(&self.state).writing = false;
            if let Err(error) = written {
                // Part of a frame may have been sent, so nothing can follow. The reading thread sees the end.
                self.socket.shutdown(Shutdown::Both);
                return Err(error);
            }
        }
    }

    /// Begins to end the connection. [`end`](Self::end) must follow, on another thread than that of [`run`](Self::run).
    /// The link must have been unregistered before.
    pub(super) fn begin(&self, how: WsEnd) {
        match how {
            WsEnd::Cut(how) => self.begin_cut(how),
            WsEnd::Close(code) => {
                let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
                let sent = lock(&self.state).websocket.close(Some(frame));
                if sent.is_err() || self.flush().is_err() {
                    self.socket.shutdown(Shutdown::Both);
                }
            }
        }
    }

    fn begin_cut(&self, how: Cut) {
        lock(&self.state).cut = Some(how);
        match how {
            // If this fails, the flush has shut the socket down.
            Cut::Drain => _ = self.flush(),
            Cut::Hard => self.socket.shutdown(Shutdown::Both),
            Cut::Reset => {
                // With a linger time of 0, closing the socket resets the connection, which `run` does when its read has
                // ended. Shutting down the sending side would send a FIN first.
                let _ = SockRef::from(&***self.socket.tcp()).set_linger(Some(Duration::ZERO));
                self.socket.shutdown(Shutdown::Read);
            }
        }
    }

    fn wait_for_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = wait(&self.ended, state, Some(left));
        }
        true
    }

    /// Waits until the machine closes its side, for `timeout` at most; then shuts the socket down.
    pub(super) fn end(&self, timeout: Duration) {
        if !self.wait_for_end(timeout) {
            self.socket.shutdown(Shutdown::Both);
            self.wait_for_end(CLOSE_TIMEOUT);
        }
    }

    /// Cuts the connection and waits until it is closed. The link must have been unregistered before.
    pub(super) fn cut(&self, how: Cut) {
        self.begin_cut(how);
        self.end(CLOSE_TIMEOUT);
    }

    /// Sends a Close frame and waits until the connection is closed; the machine has `timeout` to close its side. The
    /// link must have been unregistered before.
    pub(super) fn close(&self, code: u16, timeout: Duration) {
        self.begin(WsEnd::Close(code));
        self.end(timeout);
    }

    /// Cuts the connection without waiting.
    pub(super) fn abandon(&self) {
        self.begin_cut(Cut::Hard);
    }

    /// Reads until the connection ends. If `scheduled`, ends it that long after the call. Runs on the connection's own
    /// thread.
    pub(super) fn run(&self, scheduled: Option<(Duration, WsEnd)>, mut on_event: impl FnMut(LinkEvent<'_>)) {
        let mut end_at = scheduled.and_then(|(after, _)| Instant::now().checked_add(after));
        let mut scheduled = scheduled.map(|(_, how)| how);
        let mut read = ReadState::default();
        let mut block = vec![0; 16 * 1024];
        loop {
            let is_open = self.read_messages(&mut read, &mut on_event);
            // Sends pongs and the response to a Close frame. If it fails, the read below sees the end.
            let _ = self.flush();
            // If another thread is writing, pongs are queued behind it for as long as the machine does not read.
            if lock(&self.state).websocket.get_mut().pending_output() == 0 {
                read.pong_bytes = 0;
            }
            if !is_open || read.pong_bytes > PONGS_LIMIT_BYTES {
                break;
            }
            if end_at.is_some_and(|at| at <= Instant::now()) {
                // The second time, the machine has not closed its side in time.
                let Some(how) = scheduled.take().filter(|_| lock(&self.state).cut.is_none()) else { break };
                on_event(LinkEvent::Closing);
                on_event(LinkEvent::OnSchedule(how));
                self.begin(how);
                end_at = Some(Instant::now() + CLOSE_TIMEOUT);
                continue;
            }
            match self.socket.read_until(&mut block, end_at) {
                Ok(count) => lock(&self.state).websocket.get_mut().feed(&block[..count]),
                Err(e) if e.kind() == io::ErrorKind::TimedOut => {}
                Err(_) => lock(&self.state).websocket.get_mut().feed(&[]),
            }
        }
        on_event(LinkEvent::Closing);
        let cut = lock(&self.state).cut;
        if cut != Some(Cut::Reset) {
            lock(&self.state).websocket.get_mut().send_close_notify();
            let _ = self.flush();
            if read.is_rejected {
                linger(&self.socket);
            }
            self.socket.shutdown(Shutdown::Both);
        }
        on_event(LinkEvent::Closed { code: read.close_code });
        lock(&self.state).ended = true;
        self.ended.notify_all();
    }

    /// Reads every complete message. Returns whether more can come.
    fn read_messages(&self, read: &mut ReadState, on_event: &mut impl FnMut(LinkEvent<'_>)) -> bool {
        loop {
            let message = {
                let mut state = lock(&self.state);
                if state.cut.is_some_and(Cut::is_immediate) {
                    return false;
                }
                state.websocket.read()
            };
            match message {
                Ok(Message::Text(text)) => on_event(LinkEvent::Text(&text)),
                Ok(Message::Binary(bytes)) => on_event(LinkEvent::Binary(bytes.len())),
                Ok(Message::Ping(payload)) => {
                    read.pong_bytes += payload.len() + FRAME_HEADER_BYTES;
                    on_event(LinkEvent::Ping);
                }
                Ok(Message::Close(frame)) => read.close_code = frame.map(|frame| frame.code.into()),
                Ok(Message::Pong(_)) => on_event(LinkEvent::Pong),
                Ok(Message::Frame(_)) => {}
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    // tungstenite queues pongs while it reads and sends them with a flush.
                    let _ = lock(&self.state).websocket.flush();
                    return true;
                }
                Err(WsError::Capacity(_)) => {
                    let reason = format!("a message has at most {MESSAGE_LIMIT_BYTES} bytes").into();
                    read.is_rejected = true;
                    // The connection ends even if this fails.
                    let _ = lock(&self.state).websocket.close(Some(CloseFrame { code: CloseCode::Size, reason }));
                    return false;
                }
                Err(_) => return false,
            }
        }
    }
}

/// Returns a text message as frames (RFC 6455, section 5.4).
fn fragmented(text: &str, fragments: usize) -> Vec<Message> {
    let bytes = text.as_bytes();
    if fragments < 2 || bytes.len() < 2 {
        return vec![Message::text(text)];
    }
    let pieces: Vec<_> = bytes.chunks(bytes.len().div_ceil(fragments)).collect();
    let frame = |(index, piece): (usize, &&[u8])| {
        let data = if index == 0 { Data::Text } else { Data::Continue };
        Message::Frame(Frame::message(piece.to_vec(), OpCode::Data(data), index + 1 == pieces.len()))
    };
    pieces.iter().enumerate().map(frame).collect()
}
