//! [`WsClient`]: one thread, one socket, two queues.
//!
//! The thread sleeps until the socket or the tx queue has something, or a ping is due; at rest that is all that wakes
//! it. It pings every 30 seconds and takes a pong that has not come after 10 for a lost connection. A lost connection is
//! routine (the service cuts about hourly): it dials again, with a fresh sign-in each time, for as long as nobody stops
//! it, and what was queued meanwhile goes out afterwards, in order, once.
//!
//! What is queued together leaves together, in one write of a few kilobytes at most. Until the operating system has
//! taken a message whole it is in flight, and the bytes taken tell for each: one that was not taken whole is sent again
//! on the next connection; one that was is not, for it may have arrived.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, select};
use http::header::HeaderValue;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::backlog::Backlog;
use crate::backoff::Backoff;
use crate::connection::{Outgoing, Peer};
use crate::handshake::{self, Failure};
use crate::net::{Interrupt, Stream, Tls, connection_error, dial};
use crate::record::{Event, Raw, Tap};
use crate::url::Url;
use crate::wait::{Interest, Waiter, Waker};
use crate::{Error, Result};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(15);
/// What is left in the queue at the end has this long to go out, and the service this long to answer the Close.
const FLUSH_WITHIN: Duration = Duration::from_millis(1000);
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
/// An action is a few hundred bytes.
const LARGEST_FRAME: usize = 1 << 20;
const SOCKET_BUFFER: usize = 4 << 10;
const READS_IN_A_ROW: usize = 64;

/// How a connection is watched.
#[derive(Debug, Clone, Copy)]
struct Watch {
    ping_every: Duration,
    pong_within: Duration,
}

impl Default for Watch {
    /// As the machine does.
    fn default() -> Self {
        Self { ping_every: Duration::from_secs(30), pong_within: Duration::from_secs(10) }
    }
}

/// Where the next connection goes: signs in, and gives the address with its single-use token.
pub(crate) type Address = Arc<dyn Fn() -> Result<Url> + Send + Sync>;

/// What it takes to connect.
#[derive(Clone)]
pub(crate) struct Route {
    /// Where that is, without the token: for people.
    pub(crate) origin: String,
    pub(crate) address: Address,
    pub(crate) tls: Tls,
    pub(crate) user_agent: String,
    /// Ends a dial that is under way, sign-in included.
    pub(crate) interrupt: Interrupt,
    pub(crate) tap: Tap,
}

impl Route {
    fn dial(&self) -> Result<WebSocket<Stream>> {
        self.dial_to(&(self.address)()?)
    }

    /// Connects to an address that is known already.
    pub(crate) fn dial_to(&self, url: &Url) -> Result<WebSocket<Stream>> {
        let origin = url.origin();
        let failed = |e| connection_error(origin, &e, &self.interrupt);
        let deadline = Instant::now() + HANDSHAKE_WITHIN;
        let stream = dial(origin, &self.tls, deadline, &self.interrupt).map_err(failed)?;
        let user_agent = HeaderValue::from_str(&self.user_agent)
            .map_err(|_| Error::Url { url: origin.to_string(), reason: "the User-Agent is not a header value" })?;
        let config = WebSocketConfig::default()
            .read_buffer_size(SOCKET_BUFFER)
            .write_buffer_size(SOCKET_BUFFER)
            .max_message_size(Some(LARGEST_FRAME))
            .max_frame_size(Some(LARGEST_FRAME));
        let socket = handshake::open(stream, url, &user_agent, config).map_err(|failure| match failure {
            Failure::Status(status, retry_after) => {
                Error::Status { method: "GET", url: origin.to_string(), status, retry_after }
            }
            Failure::Answer(what) => Error::Answer { from: origin.to_string(), what: what.into() },
            Failure::Io(e) if e.kind() == io::ErrorKind::TimedOut => {
                failed(io::Error::new(e.kind(), "the WebSocket handshake took too long"))
            }
            Failure::Io(e) => failed(e),
        })?;
        // A stop ends a dial at once, but what is connected has messages to flush and a Close to send.
        self.interrupt.release(socket.get_ref()).map_err(failed)?;
        Ok(socket)
    }
}

/// The thread that bridges a WebSocket and the queues.
pub(crate) struct WsClient {
    thread: Option<JoinHandle<Result<()>>>,
    /// Dropped to stop the thread: it hears of that in a select as well.
    running: Option<Sender<()>>,
    waker: Waker,
    interrupt: Interrupt,
}

impl WsClient {
    /// Starts the thread that stands between `socket` and the machine's queues.
    pub(crate) fn start(socket: WebSocket<Stream>, route: Route, peer: Peer) -> Result<Self> {
        Self::start_watched(socket, route, peer, Watch::default())
    }

    fn start_watched(socket: WebSocket<Stream>, route: Route, peer: Peer, watch: Watch) -> Result<Self> {
        let waiter = Waiter::new().map_err(thread_error)?;
        let waker = waiter.waker();
        // Set once: a second client at the same queues would be a mistake of this crate.
        let _ = peer.waker.set(waker.clone());
        let (running, stopped) = bounded(0);
        let interrupt = route.interrupt.clone();
        let bridge = Bridge {
            route,
            rx: peer.tx,
            tx: peer.rx,
            waiter,
            stopped,
            backlog: Backlog::default(),
            in_flight: VecDeque::new(),
            backoff: Backoff::default(),
            watch,
        };
        let thread = thread::Builder::new()
            .name("gf-websocket".into())
            .spawn(move || bridge.run(socket))
            .map_err(thread_error)?;
        Ok(Self { thread: Some(thread), running: Some(running), waker, interrupt })
    }

    /// Sends what is queued, closes, and waits for the thread: its own error, if it had ended with one.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.running = None;
        self.waker.wake();
        let ended = thread.join();
        self.interrupt.raise();
        ended.unwrap_or_else(|_| Err(Error::Thread { thread: "gf-websocket", reason: "it panicked".into() }))
    }
}

impl Drop for WsClient {
    fn drop(&mut self) {
        if let Err(e) = self.shut_down() {
            log::error!("{e}");
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // For map_err.
fn thread_error(e: io::Error) -> Error {
    Error::Thread { thread: "gf-websocket", reason: e.to_string() }
}

/// How a connection ended.
enum Ended {
    /// By our own wish.
    Stopped,
    /// By somebody else's, or an accident.
    Lost(String),
}

/// A message that was handed to the socket.
struct InFlight {
    message: Outgoing,
    /// How many bytes the connection has taken when it has taken this whole.
    ends_at: u64,
}

struct Bridge {
    route: Route,
    rx: Sender<String>,
    tx: Receiver<Outgoing>,
    waiter: Waiter,
    /// Disconnected once it is to stop.
    stopped: Receiver<()>,
    backlog: Backlog,
    in_flight: VecDeque<InFlight>,
    backoff: Backoff,
    watch: Watch,
}

impl Bridge {
    fn run(mut self, mut socket: WebSocket<Stream>) -> Result<()> {
        loop {
            log::info!("connected");
            let url = self.route.origin.clone();
            self.route.tap.note(|| Raw::Event(Event::Opened { url }));
            let ended = self.converse(socket);
            let reason = match &ended {
                Ended::Stopped => "the machine has stopped",
                Ended::Lost(reason) => reason,
            };
            self.route.tap.note(|| Raw::Event(Event::Closed { reason: reason.to_owned() }));
            match ended {
                Ended::Stopped => return Ok(()),
                Ended::Lost(reason) => log::warn!("connection lost: {reason}"),
            }
            while let Some(unsent) = self.in_flight.pop_back() {
                self.backlog.put_back(unsent.message);
            }
            self.backlog.drop_perishable();
            socket = match self.reconnect() {
                Ok(Some(socket)) => socket,
                Ok(None) => {
                    self.give_up("stopped without a connection");
                    return Ok(());
                }
                Err(e) => {
                    log::error!("{e}");
                    self.give_up("no connection will come");
                    return Err(e);
                }
            };
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopped.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn give_up(&mut self, why: &str) {
        self.take_up();
        for unsent in self.in_flight.drain(..) {
            log::error!("dropped ({why}): {}", unsent.message.label());
        }
        self.backlog.drop_all(why);
    }

    /// Moves what is in the queue to where it can be kept in order of worth.
    fn take_up(&mut self) {
        loop {
            match self.tx.try_recv() {
                Ok(message) => self.backlog.push(message),
                // Disconnected: the machine is gone; what it said is still sent. It stops us as it goes.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Dials until there is a socket; none where it is stopped first.
    fn reconnect(&mut self) -> Result<Option<WebSocket<Stream>>> {
        let mut asked = None;
        loop {
            let next = Instant::now() + self.backoff.pause(asked);
            while Instant::now() < next {
                if self.is_stopping() {
                    return Ok(None);
                }
                self.waiter.wait(Interest::Readable, Some(next)).map_err(thread_error)?;
                self.take_up();
            }
            match self.dial()? {
                None => return Ok(None),
                Some(Ok(socket)) => return Ok(Some(socket)),
                Some(Err(e @ Error::SignInRefused { .. })) => return Err(e),
                Some(Err(e)) => {
                    log::warn!("cannot connect: {e}");
                    asked = e.retry_after();
                }
            }
        }
    }

    /// Dials in a thread of its own, so that the queue is taken up and a stop is heard meanwhile.
    fn dial(&mut self) -> Result<Option<Result<WebSocket<Stream>>>> {
        let (done, outcome) = bounded(1);
        let (route, waker) = (self.route.clone(), self.waiter.waker());
        let thread = thread::Builder::new()
            .name("gf-dial".into())
            .spawn(move || {
                // Nobody receives where it was stopped meanwhile.
                let _ = done.send(route.dial());
                waker.wake();
            })
            .map_err(thread_error)?;
        let outcome = loop {
            match outcome.try_recv() {
                Ok(outcome) => break Some(outcome),
                Err(TryRecvError::Disconnected) => {
                    break Some(Err(Error::Thread { thread: "gf-dial", reason: "it panicked".into() }));
                }
                Err(TryRecvError::Empty) => {}
            }
            if self.is_stopping() {
                self.route.interrupt.raise();
                break None;
            }
            self.waiter.wait(Interest::Readable, None).map_err(thread_error)?;
            self.take_up();
        };
        // Its outcome is known, or it has been interrupted.
        let _ = thread.join();
        Ok(outcome)
    }

    /// Both directions, until the connection ends.
    fn converse(&mut self, mut socket: WebSocket<Stream>) -> Ended {
        let watched = socket.get_mut().unblock().and_then(|tcp| self.waiter.watch(tcp));
        let ended = match watched {
            Ok(()) => self.pump(&mut socket).unwrap_or_else(|e| Ended::Lost(reason_of(&e))),
            Err(e) => Ended::Lost(e.to_string()),
        };
        self.settle(&socket);
        self.waiter.unwatch();
        ended
    }

    fn pump(&mut self, socket: &mut WebSocket<Stream>) -> tungstenite::Result<Ended> {
        let mut unflushed = false;
        let mut next_ping = Instant::now() + self.watch.ping_every;
        let mut pong_due: Option<Instant> = None;
        let mut last_moment: Option<Instant> = None;
        loop {
            // Read before the first wait and after every one: what came with the handshake, or with the frame before,
            // is in a buffer that no poller sees.
            // Not for ever, though: a service that never stops talking must not keep the machine from answering.
            let mut more_to_read = true;
            for _ in 0..READS_IN_A_ROW {
                let Some(message) = ready(socket.read())? else {
                    more_to_read = false;
                    break;
                };
                match message {
                    Message::Text(text) => self.deliver(text.as_str()),
                    Message::Pong(_) => {
                        pong_due = None;
                        // A connection that has lasted until here was no failure, even if nothing was said on it: the
                        // next loss is a first one again.
                        self.backoff = Backoff::default();
                    }
                    // The answer is in tungstenite's buffer.
                    Message::Ping(_) => unflushed = true,
                    Message::Binary(data) => log::warn!("ignored a binary frame of {} bytes", data.len()),
                    Message::Close(_) | Message::Frame(_) => {}
                }
            }
            self.take_up();
            let now = Instant::now();
            if pong_due.is_some_and(|due| now >= due) {
                return Ok(Ended::Lost("no answer to a ping".into()));
            }
            if now >= next_ping {
                ready(socket.write(Message::Ping(tungstenite::Bytes::new())))?;
                unflushed = true;
                next_ping = now + self.watch.ping_every;
                pong_due = pong_due.or(Some(now + self.watch.pong_within));
            }
            loop {
                if unflushed {
                    if ready(socket.flush())?.is_none() {
                        break;
                    }
                    unflushed = false;
                    let gone = self.in_flight.len();
                    self.let_go(gone);
                }
                if self.backlog.is_empty() {
                    break;
                }
                unflushed = true;
                self.hand_over(socket)?;
            }
            if self.is_stopping() {
                let last = *last_moment.get_or_insert(now + FLUSH_WITHIN);
                if !unflushed && self.backlog.is_empty() && self.tx.is_empty() {
                    self.close(socket);
                    return Ok(Ended::Stopped);
                }
                if now >= last {
                    self.settle(socket);
                    self.give_up("the service does not read");
                    return Ok(Ended::Stopped);
                }
            }
            if more_to_read {
                continue;
            }
            let interest = if unflushed { Interest::Both } else { Interest::Readable };
            let until = [Some(next_ping), pong_due, last_moment].into_iter().flatten().min();
            self.waiter.wait(interest, until).map_err(tungstenite::Error::Io)?;
        }
    }

    /// Gives messages to a socket that has nothing left to flush: as many as leave in one write.
    fn hand_over(&mut self, socket: &mut WebSocket<Stream>) -> tungstenite::Result<()> {
        let mut ends_at = socket.get_ref().taken_bytes();
        let enough = ends_at + SOCKET_BUFFER as u64;
        while ends_at < enough {
            let Some(message) = self.backlog.pop() else { break };
            let frame = message.frame();
            ends_at += frame_bytes(frame.len());
            self.in_flight.push_back(InFlight { message, ends_at });
            // WouldBlock means that it is queued in tungstenite: never to be written again.
            ready(socket.write(Message::Text(frame)))?;
        }
        Ok(())
    }

    /// Lets go of what the connection has taken whole.
    fn settle(&mut self, socket: &WebSocket<Stream>) {
        let taken = socket.get_ref().taken_bytes();
        let gone = self.in_flight.iter().take_while(|message| message.ends_at <= taken).count();
        self.let_go(gone);
    }

    /// So many messages are out.
    fn let_go(&mut self, gone: usize) {
        for sent in self.in_flight.drain(..gone) {
            self.route.tap.note(|| Raw::Out(sent.message.frame()));
        }
    }

    fn deliver(&mut self, text: &str) {
        self.backoff = Backoff::default();
        log::debug!("received {} bytes", text.len());
        self.route.tap.note(|| Raw::In(text.to_owned()));
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
                recv(self.tx) -> message => match message {
                    Ok(message) => self.backlog.push(message),
                    Err(_) => return,
                },
                recv(self.stopped) -> _ => return,
            }
        }
    }

    /// Says goodbye and waits a moment for the answer.
    fn close(&mut self, socket: &mut WebSocket<Stream>) {
        let until = Instant::now() + CLOSE_WITHIN;
        if ready(socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))).is_err() {
            return;
        }
        loop {
            let flushed = match ready(socket.flush()) {
                Ok(flushed) => flushed.is_some(),
                Err(_) => return,
            };
            loop {
                match ready(socket.read()) {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    // ConnectionClosed is how a Close that was answered shows.
                    Err(_) => return,
                }
            }
            if Instant::now() >= until {
                return;
            }
            let interest = if flushed { Interest::Readable } else { Interest::Both };
            if self.waiter.wait(interest, Some(until)).is_err() {
                return;
            }
        }
    }
}

/// The length of a client's frame: two bytes, a longer length where it needs one, the mask, and the message.
fn frame_bytes(payload: usize) -> u64 {
    let length = match payload {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + length + 4 + payload as u64
}

/// What a non-blocking call gave: none where it has to wait.
fn ready<T>(result: tungstenite::Result<T>) -> tungstenite::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(tungstenite::Error::Io(e)) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(e) => Err(e),
    }
}

/// For the log; tungstenite's errors quote no message.
fn reason_of(e: &tungstenite::Error) -> String {
    match e {
        tungstenite::Error::ConnectionClosed => "the service closed it".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
