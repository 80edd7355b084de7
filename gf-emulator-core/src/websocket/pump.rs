//! [`Pump`]: both directions of one connection, until it ends.
//!
//! It works in turns. In each it reads so many bytes and messages at most, then sends what there is to send, pings, and
//! looks whether it is to stop; it sleeps only when nothing is left to read. So whatever the service sends without end
//! (pings, fragments of a message, binary frames), the machine's messages go out and a stop is heard.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, select};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message};

use super::outbox::{Outbox, flush, write};
use super::stream::{Socket, ready};
use crate::net::poll::{Interest, Poll};
use crate::record::{RecorderSlot, Unredacted};

/// What is left in the queue at the end has this long to go out, and the service this long to answer the Close.
const FLUSH_WITHIN: Duration = Duration::from_millis(1000);
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
const MESSAGES_IN_A_TURN: usize = 64;

/// How a connection is watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) ping_every: Duration,
    pub(super) pong_within: Duration,
}

impl Default for Watch {
    /// As the machine does.
    fn default() -> Self {
        Self { ping_every: Duration::from_secs(30), pong_within: Duration::from_secs(10) }
    }
}

/// How a connection ended.
pub(super) enum Ended {
    /// By our own wish.
    Stopped,
    /// By somebody else's, or an accident.
    Lost(String),
}

/// What one turn of reading came to.
enum Turn {
    /// Everything that has arrived is read.
    AllRead,
    /// There may be more.
    More,
    /// The service has sent a Close: nothing comes after it.
    Closed,
}

/// What is known of the connection that is open.
struct Talk {
    unflushed: bool,
    next_ping: Instant,
    pong_due: Option<Instant>,
    binary_frames: u64,
}

pub(super) struct Pump {
    /// Takes the service's frames for the machine.
    pub(super) rx: Sender<String>,
    pub(super) outbox: Outbox,
    pub(super) poll: Poll,
    /// Disconnected once it is to stop.
    pub(super) stopped: Receiver<()>,
    pub(super) watch: Watch,
    pub(super) tap: RecorderSlot,
}

impl Pump {
    pub(super) fn is_stopping(&self) -> bool {
        self.stopped.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Both directions, until the connection ends.
    pub(super) fn run(&mut self, mut socket: Socket) -> Ended {
        let next_ping = Instant::now() + self.watch.ping_every;
        let mut talk = Talk { unflushed: false, next_ping, pong_due: None, binary_frames: 0 };
        let watched = self.poll.watch(socket.get_mut().get_mut().set_nonblocking());
        let ended = match watched {
            Ok(()) => self.pump(&mut socket, &mut talk).unwrap_or_else(|e| Ended::Lost(reason_of(&e, &socket))),
            Err(e) => Ended::Lost(e.to_string()),
        };
        self.outbox.settle(&socket);
        self.poll.unwatch();
        if talk.binary_frames > 1 {
            log::warn!("ignored {} binary frames on this connection", talk.binary_frames);
        }
        ended
    }

    fn pump(&mut self, socket: &mut Socket, talk: &mut Talk) -> tungstenite::Result<Ended> {
        let mut last_moment: Option<Instant> = None;
        loop {
            // Read before the first wait and after every one: what came with the handshake, or with the frame before,
            // is in a buffer that no poller sees.
            let turn = self.read(socket, talk)?;
            let all_read = match turn {
                Turn::AllRead => true,
                Turn::More => false,
                Turn::Closed => return self.answer_close(socket),
            };
            self.outbox.take_up();
            let now = Instant::now();
            if let Some(reason) = lost(socket, talk, all_read, now, self.watch.pong_within) {
                return Ok(Ended::Lost(reason));
            }
            if now >= talk.next_ping {
                write(socket, Message::Ping(Bytes::new()))?;
                talk.unflushed = true;
                talk.next_ping = now + self.watch.ping_every;
                talk.pong_due = talk.pong_due.or(Some(now + self.watch.pong_within));
            }
            self.send(socket, talk)?;
            if self.is_stopping() {
                let last = *last_moment.get_or_insert(now + FLUSH_WITHIN);
                if !talk.unflushed && self.outbox.is_empty() {
                    self.close(socket);
                    return Ok(Ended::Stopped);
                }
                if now >= last {
                    self.outbox.settle(socket);
                    self.outbox.give_up("the service does not read");
                    return Ok(Ended::Stopped);
                }
            }
            // A connection that has just failed is read to its end.
            if !all_read || socket.get_ref().failure().is_some() {
                continue;
            }
            let interest = if talk.unflushed { Interest::Both } else { Interest::Readable };
            let until = [Some(talk.next_ping), talk.pong_due, last_moment].into_iter().flatten().min();
            self.poll.wait(interest, until).map_err(tungstenite::Error::Io)?;
        }
    }

    fn read(&mut self, socket: &mut Socket, talk: &mut Talk) -> tungstenite::Result<Turn> {
        socket.get_mut().begin_turn();
        for _ in 0..MESSAGES_IN_A_TURN {
            let Some(message) = ready(socket.read())? else {
                return Ok(if socket.get_ref().turn_is_over() { Turn::More } else { Turn::AllRead });
            };
            match message {
                Message::Text(text) => self.deliver(text.as_str()),
                Message::Pong(_) => talk.pong_due = None,
                // The answer is in tungstenite's buffer.
                Message::Ping(_) => talk.unflushed = true,
                Message::Binary(data) => {
                    talk.binary_frames += 1;
                    if talk.binary_frames == 1 {
                        log::warn!("ignored a binary frame of {} bytes; more of them are only counted", data.len());
                    }
                }
                Message::Close(_) => return Ok(Turn::Closed),
                Message::Frame(_) => {}
            }
        }
        Ok(Turn::More)
    }

    /// Sends what the system takes.
    fn send(&mut self, socket: &mut Socket, talk: &mut Talk) -> tungstenite::Result<()> {
        loop {
            if talk.unflushed {
                if !flush(socket)? {
                    return Ok(());
                }
                talk.unflushed = false;
                self.outbox.settle(socket);
            }
            if !self.outbox.hand_over(socket)? {
                return Ok(());
            }
            talk.unflushed = true;
        }
    }

    fn deliver(&mut self, text: &str) {
        log::debug!("received {} bytes", text.len());
        self.tap.record(|| Unredacted::In(text.to_owned()));
        let mut text = match self.rx.try_send(text.to_owned()) {
            Err(TrySendError::Full(text)) => text,
            // Disconnected: the machine has stopped reading, and stops us next.
            Ok(()) | Err(TrySendError::Disconnected(_)) => return,
        };
        // The machine is busy: wait for it, and keep taking up what it says, for it may be waiting for us. One that
        // stops reads no more, and waits for this thread to end.
        loop {
            select! {
                send(self.rx, std::mem::take(&mut text)) -> _ => return,
                recv(self.outbox.tx()) -> message => match message {
                    Ok(message) => self.outbox.push(message),
                    Err(_) => return,
                },
                recv(self.stopped) -> _ => return,
            }
        }
    }

    /// The service has sent a Close. tungstenite has the answer ready: it has a moment to go out, together with what was
    /// not flushed yet. Whether the service then closes the connection makes no difference.
    fn answer_close(&mut self, socket: &mut Socket) -> tungstenite::Result<Ended> {
        let until = Instant::now() + CLOSE_WITHIN;
        while !flush(socket)? && socket.get_ref().failure().is_none() && Instant::now() < until {
            self.poll.wait(Interest::Writable, Some(until)).map_err(tungstenite::Error::Io)?;
        }
        Ok(Ended::Lost("the service closed it".into()))
    }

    /// Sends a Close and waits a moment for the answer.
    fn close(&mut self, socket: &mut Socket) {
        let until = Instant::now() + CLOSE_WITHIN;
        if ready(socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).is_err() {
            return;
        }
        loop {
            let Ok(flushed) = flush(socket) else { return };
            socket.get_mut().begin_turn();
            let all_read = loop {
                match ready(socket.read()) {
                    // What comes now comes too late, be it without end.
                    Ok(Some(_)) if Instant::now() < until => {}
                    Ok(None) => break !socket.get_ref().turn_is_over(),
                    // ConnectionClosed is how a Close that was answered shows.
                    Ok(Some(_)) | Err(_) => return,
                }
            };
            if Instant::now() >= until || (all_read && socket.get_ref().failure().is_some()) {
                return;
            }
            if !all_read {
                continue;
            }
            let interest = if flushed { Interest::Readable } else { Interest::Both };
            if self.poll.wait(interest, Some(until)).is_err() {
                return;
            }
        }
    }
}

/// Why the connection is to be given up, where it is. What has arrived is read first; the answer to a ping may be behind
/// more of it than one turn reads, but not behind all that a service can send in `pong_within`.
fn lost(socket: &Socket, talk: &Talk, all_read: bool, now: Instant, pong_within: Duration) -> Option<String> {
    if let Some(e) = socket.get_ref().failure() {
        return all_read.then(|| e.to_string());
    }
    let due = talk.pong_due?;
    let overdue = now >= due && (all_read || now >= due + pong_within);
    overdue.then(|| "no answer to a ping".into())
}

/// For the log; tungstenite's errors quote no message.
fn reason_of(e: &tungstenite::Error, socket: &Socket) -> String {
    match (socket.get_ref().failure(), e) {
        (Some(failure), _) => failure.to_string(),
        (None, tungstenite::Error::ConnectionClosed) => "the service closed it".into(),
        (None, other) => other.to_string(),
    }
}
