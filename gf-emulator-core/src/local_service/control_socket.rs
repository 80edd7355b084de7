//! The control socket: one WebSocket connection from the service's side.
//!
//! One thread sleeps in a read of the socket; whoever has something to send sends it at once from its own thread. The
//! stream between them lives in memory (see the `wire` module), so that neither ever waits for the other.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error as WsError, Message, WebSocket};

use super::machines::{Event, Machine};
use super::seen::Seen;
use super::server::Core;
use crate::http_server::request::linger;
use crate::http_server::wire::{Stream, read_socket};
use crate::sync::{lock, wait};

/// How long a machine that was cut or told of a Close may take to close its side.
pub(super) const CLOSING: Duration = Duration::from_secs(5);
/// How long a machine may leave what is sent to it unread.
const WRITING: Duration = Duration::from_secs(30);
/// The largest message taken. A full settings report is about 10 kB.
const MESSAGE_LIMIT_BYTES: usize = 1 << 20;
/// Most lines taken of a message. Machines send one, or a few.
const LINES_LIMIT: usize = 100;
/// The longest line that is read as JSON, in bytes: as values it takes many times the memory.
pub(super) const JSON_LIMIT_BYTES: usize = 64 * 1024;
/// The head of a frame, in bytes.
const FRAME_HEAD_BYTES: usize = 4;
/// Most bytes of pongs that may wait for a machine that does not read.
const PONGS_LIMIT_BYTES: usize = 1 << 20;

/// How a connection is cut. There is no WebSocket Close either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The machine sees the end; what it had already sent is still taken until it closes its side (for 5 s at most).
    Drain,
    /// Both ways at once: what the machine had sent and was not read yet is lost.
    Hard,
}

/// An open control socket.
pub(super) struct Link {
    pub(super) machine: Arc<Machine>,
    socket: Arc<TcpStream>,
    engine: Mutex<Engine>,
    ended: Condvar,
}

/// What was read so far.
#[derive(Default)]
struct Read {
    /// The code of the machine's Close, where one came.
    close_code: Option<u16>,
    /// A message was too long.
    is_refused: bool,
    /// How many bytes of pongs wait at most.
    pong_bytes: usize,
}

struct Engine {
    socket: WebSocket<Stream>,
    /// Somebody is moving output to the socket, and will move what is added too.
    writing: bool,
    /// Cut: nothing more is taken to be sent.
    cut: Option<Cut>,
    /// Everything has been sent, and the end after it.
    finished: bool,
    ended: bool,
}

/// The socket was cut or is broken: what was to be sent is not.
#[derive(Debug)]
pub(super) struct Gone;

impl Link {
    /// Takes over a connection; `early` is what was read past the request, `greeting` the answer to it.
    ///
    /// The greeting leaves with the first flush, so that the link can be put to use before the machine sees it: whatever
    /// the machine, or a test beside it, does from then on meets a service that knows of the link.
    pub(super) fn new(mut stream: Stream, early: Vec<u8>, machine: Arc<Machine>, greeting: &[u8]) -> io::Result<Self> {
        let socket = stream.socket();
        stream.detach();
        stream.write_all(greeting)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_LIMIT_BYTES))
            .max_frame_size(Some(MESSAGE_LIMIT_BYTES));
        let socket_engine = WebSocket::from_partially_read(stream, early, Role::Server, Some(config));
        let engine = Engine { socket: socket_engine, writing: false, cut: None, finished: false, ended: false };
        Ok(Self { machine, socket, engine: Mutex::new(engine), ended: Condvar::new() })
    }

    /// Sends a text frame now; `announce` is called in the order of sending, just before.
    pub(super) fn send(&self, text: &str, announce: impl FnOnce()) -> Result<(), Gone> {
        {
            let mut engine = lock(&self.engine);
            if engine.cut.is_some() || engine.ended || !engine.socket.can_write() {
                return Err(Gone);
            }
            announce();
            engine.socket.send(Message::text(text)).map_err(|_| Gone)?;
        }
        self.flush().map_err(|_| Gone)
    }

    /// Moves output to the socket, unless somebody is at it, who then moves this too. After a cut that drains, the end
    /// follows the last of it.
    fn flush(&self) -> io::Result<()> {
        loop {
            let bytes = {
                let mut engine = lock(&self.engine);
                if engine.writing {
                    return Ok(());
                }
                let bytes = engine.socket.get_mut().take_output();
                if engine.finished || engine.cut == Some(Cut::Hard) {
                    return Ok(());
                }
                if bytes.is_empty() {
                    if engine.cut == Some(Cut::Drain) {
                        engine.finished = true;
                        // An error says that it is closed already.
                        let _ = self.socket.shutdown(Shutdown::Write);
                    }
                    return Ok(());
                }
                engine.writing = true;
                bytes
            };
            let written = (&*self.socket).write_all(&bytes);
            lock(&self.engine).writing = false;
            if let Err(error) = written {
                // Half a frame may have gone: nothing can follow it. The reading thread sees the end.
                let _ = self.socket.shutdown(Shutdown::Both);
                return Err(error);
            }
        }
    }

    fn begin_cut(&self, how: Cut) {
        lock(&self.engine).cut = Some(how);
        match how {
            // Where this fails, the flush has shut the socket down.
            Cut::Drain => _ = self.flush(),
            // An error says that it is closed already.
            Cut::Hard => _ = self.socket.shutdown(Shutdown::Both),
        }
    }

    fn wait_for_end(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut engine = lock(&self.engine);
        while !engine.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            engine = wait(&self.ended, engine, Some(left));
        }
        true
    }

    /// Waits for so long for the machine to close its side, then closes without it.
    fn end(&self, limit: Duration) {
        if !self.wait_for_end(limit) {
            let _ = self.socket.shutdown(Shutdown::Both);
            self.wait_for_end(CLOSING);
        }
    }

    /// Cuts the connection and waits until it is gone. The link must have been taken out of use before.
    pub(super) fn cut(&self, how: Cut) {
        self.begin_cut(how);
        self.end(CLOSING);
    }

    /// Sends a Close and waits until the connection is gone; the machine has so long to close its side. The link must
    /// have been taken out of use before.
    pub(super) fn close(&self, code: u16, limit: Duration) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
        let sent = lock(&self.engine).socket.close(Some(frame));
        if sent.is_err() || self.flush().is_err() {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        self.end(limit);
    }

    /// Cuts the connection without waiting: another one has taken its place.
    pub(super) fn abandon(&self) {
        self.begin_cut(Cut::Hard);
    }

    /// Reads until the connection ends. Runs on the connection's own thread.
    pub(super) fn run(self: &Arc<Self>, core: &Core) {
        let _ = self.socket.set_write_timeout(Some(WRITING));
        let mut cut_at = core.settings.cut_every.map(|after| Instant::now() + after);
        let mut read = Read::default();
        let mut block = vec![0; 16 * 1024];
        loop {
            let more = self.take_messages(core, &mut read);
            // Pongs and the answer to a Close. Where that fails, the read below sees the end.
            let _ = self.flush();
            // Another thread may be writing, and then pongs pile up behind it for as long as nobody reads.
            if lock(&self.engine).socket.get_mut().pending_output() == 0 {
                read.pong_bytes = 0;
            }
            if !more || read.pong_bytes > PONGS_LIMIT_BYTES {
                break;
            }
            let left = cut_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                if lock(&self.engine).cut.is_some() {
                    break;
                }
                core.machines.unlink(self);
                self.begin_cut(Cut::Drain);
                cut_at = Some(Instant::now() + CLOSING);
                continue;
            }
            if self.socket.set_read_timeout(left).is_err() {
                break;
            }
            match read_socket(&self.socket, &mut block) {
                Ok(count) => lock(&self.engine).socket.get_mut().feed(&block[..count]),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(_) => lock(&self.engine).socket.get_mut().feed(&[]),
            }
        }
        core.machines.unlink(self);
        lock(&self.engine).socket.get_mut().say_goodbye();
        let _ = self.flush();
        if read.is_refused {
            linger(&self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Both);
        core.log.record(Seen::WsClosed { code: read.close_code });
        lock(&self.engine).ended = true;
        self.ended.notify_all();
    }

    /// Takes every message that has arrived whole; says whether more can come.
    fn take_messages(&self, core: &Core, read: &mut Read) -> bool {
        loop {
            let message = {
                let mut engine = lock(&self.engine);
                if engine.cut == Some(Cut::Hard) {
                    return false;
                }
                engine.socket.read()
            };
            match message {
                Ok(Message::Text(text)) => self.take_text(core, &text),
                Ok(Message::Binary(bytes)) => core.log.record(Seen::WsBinary(bytes.len())),
                Ok(Message::Ping(payload)) => {
                    read.pong_bytes += payload.len() + FRAME_HEAD_BYTES;
                    core.log.record(Seen::WsPing);
                }
                Ok(Message::Close(frame)) => read.close_code = frame.map(|frame| frame.code.into()),
                Ok(Message::Pong(_) | Message::Frame(_)) => {}
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    // A pong that this read called for leaves with a flush.
                    let _ = lock(&self.engine).socket.flush();
                    return true;
                }
                Err(WsError::Capacity(_)) => {
                    let reason = format!("a message has at most {MESSAGE_LIMIT_BYTES} bytes").into();
                    read.is_refused = true;
                    // The connection ends either way.
                    let _ = lock(&self.engine).socket.close(Some(CloseFrame { code: CloseCode::Size, reason }));
                    return false;
                }
                Err(_) => return false,
            }
        }
    }

    fn take_text(&self, core: &Core, text: &str) {
        let mut lines = text.split_inclusive('\n').filter(|line| !line.trim().is_empty());
        for line in lines.by_ref().take(LINES_LIMIT) {
            let is_short = line.len() <= JSON_LIMIT_BYTES;
            let message = is_short.then(|| serde_json::from_str(line).ok()).flatten().unwrap_or(Value::Null);
            // Recorded first: whoever is woken by the event finds it in the record.
            let event = Event::of(&message);
            core.log.record(Seen::WsMessage { message, text: line.to_owned() });
            if let Some(event) = event {
                self.machine.deliver(event);
            }
        }
        let left_out = lines.count();
        if left_out > 0 {
            core.log.record(Seen::WsLeftOut { lines: left_out });
        }
    }
}
