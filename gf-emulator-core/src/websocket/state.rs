//! [`ClientState`]: what the WebSocket client decides, without socket, thread, clock or channel.
//!
//! The [driver](super::driver) reports what has happened (messages queued, frames received, bytes taken by the operating
//! system, failures), asks for the next [`Command`] and carries it out. The time is an argument, so a test can run hours
//! of a connection in microseconds.
//!
//! An open connection works in turns: read what has arrived (a bounded amount), ping if it is time, write one batch of
//! messages, flush, and wait only if nothing is left to do. So neither direction can starve the other.

use std::time::{Duration, Instant};

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Bytes, Message};

use super::outbox::{DropReason, Limits, Outbox, Report};
use super::queues::Outgoing;
use crate::net::poll::Interest;
use crate::net::retry::{Backoff, RetryReason};

/// As Glowforge-Utilities, the public client, does; not measured on hardware.
const PING_EVERY: Duration = Duration::from_secs(30);
/// As Glowforge-Utilities does.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// After a stop: for the messages that are still queued.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1000);
/// For the Close handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection that has lasted this long resets the backoff.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// What the driver has to do next.
#[derive(Debug)]
pub(super) enum Command {
    /// Read a bounded amount, report each frame, then call [`ClientState::read_done`].
    Read,
    /// Put these messages into the socket's buffer.
    Write(Vec<Message>),
    /// Flush the socket's buffer, then call [`ClientState::flushed`].
    Flush,
    /// Drop the socket. The next attempt follows after `retry_in`.
    Disconnect { reason: String, retry_in: Duration },
    /// Sign in and connect, then call [`ClientState::connected`] or [`ClientState::connect_failed`].
    Connect,
    /// Sleep until the socket is ready, the waker is used, or `until` has passed.
    Wait { interest: Interest, until: Option<Instant> },
    /// Drop the socket or cancel the attempt to connect, and end.
    Exit,
}

enum Phase {
    Connecting,
    Open(Connection),
    /// Waiting for the next attempt to connect.
    Paused {
        until: Instant,
    },
    Ended,
}

/// The Close handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Close {
    None,
    Sent {
        deadline: Instant,
    },
    /// The answer is in the socket's buffer.
    Received {
        deadline: Instant,
    },
}

/// This turn's read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Due,
    /// Done, up to its limit: there may be more.
    Limited,
    /// Done: nothing is left.
    Complete,
}

/// The socket's write buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Buffer {
    Empty,
    Unflushed,
    /// This turn's flush could not finish: the socket has to become writable first.
    Blocked,
}

/// The state of an open connection.
struct Connection {
    opened: Instant,
    reading: Reading,
    buffer: Buffer,
    /// Bytes of messages that the operating system has taken.
    taken: u64,
    next_ping: Instant,
    pong_due: Option<Instant>,
    close: Close,
    /// The first write error. Received data is still read before the connection is closed.
    write_error: Option<String>,
    /// The connection cannot be used any more.
    lost: Option<String>,
}

impl Connection {
    fn new(now: Instant) -> Self {
        Self {
            opened: now,
            reading: Reading::Due,
            buffer: Buffer::Empty,
            taken: 0,
            next_ping: now + PING_EVERY,
            pong_due: None,
            close: Close::None,
            write_error: None,
            lost: None,
        }
    }

    /// Something is put into the socket's buffer.
    fn fill_buffer(&mut self) {
        if self.buffer == Buffer::Empty {
            self.buffer = Buffer::Unflushed;
        }
    }

    /// Returns why the connection must be given up, or `None`.
    fn lost(&mut self, now: Instant) -> Option<String> {
        if let Some(reason) = self.lost.take() {
            return Some(reason);
        }
        if let Close::Received { deadline } = self.close {
            // Whether the service then closes the TCP connection makes no difference.
            let answered = self.buffer == Buffer::Empty || self.write_error.is_some() || now >= deadline;
            return answered.then(|| "closed by the service".into());
        }
        if self.write_error.is_some() {
            return if self.reading == Reading::Complete { self.write_error.take() } else { None };
        }
        // The pong may be behind more data than one turn reads, but not behind all that arrives in another timeout.
        let due = self.pong_due?;
        let overdue = now >= due && (self.reading == Reading::Complete || now >= due + PONG_TIMEOUT);
        overdue.then(|| "no pong within 10 s of a ping".into())
    }
}

/// The client's state machine.
pub(super) struct ClientState {
    phase: Phase,
    outbox: Outbox,
    backoff: Backoff,
    /// Set by a stop: when to give up on messages that are still queued.
    stop_deadline: Option<Instant>,
}

impl ClientState {
    /// Creates the state of a client that is connecting.
    pub(super) fn new(limits: Limits, backoff: Backoff) -> Self {
        Self { phase: Phase::Connecting, outbox: Outbox::new(limits), backoff, stop_deadline: None }
    }

    /// Queues a message of the machine. One that comes after the stop is dropped.
    pub(super) fn push(&mut self, message: Outgoing) {
        if self.stop_deadline.is_some() {
            self.outbox.drop_message(message, DropReason::Stopped);
        } else {
            self.outbox.push(message);
        }
    }

    /// Stops: what is queued is sent if there is a connection, and the connection closed.
    pub(super) fn stop(&mut self, now: Instant) {
        self.stop_deadline.get_or_insert(now + FLUSH_TIMEOUT);
    }

    /// Drops everything that is queued, after a fatal error.
    pub(super) fn abort(&mut self) {
        self.outbox.drop_all(DropReason::ThreadFailed);
        self.phase = Phase::Ended;
    }

    /// Returns what became of messages since the last call.
    pub(super) fn reports(&mut self) -> Vec<Report> {
        self.outbox.reports()
    }

    /// A connection is open.
    pub(super) fn connected(&mut self, now: Instant) {
        self.phase = Phase::Open(Connection::new(now));
    }

    /// Returns the pause until the next attempt.
    pub(super) fn connect_failed(
        &mut self,
        now: Instant,
        reason: RetryReason,
        retry_after: Option<Duration>,
    ) -> Duration {
        let pause = self.backoff.next_pause(reason, retry_after);
        self.phase = Phase::Paused { until: now + pause };
        pause
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        if let Phase::Open(connection) = &mut self.phase { Some(connection) } else { None }
    }

    /// A ping was received: its pong is in the socket's buffer.
    pub(super) fn ping_received(&mut self) {
        if let Some(connection) = self.connection() {
            connection.fill_buffer();
        }
    }

    pub(super) fn pong_received(&mut self) {
        if let Some(connection) = self.connection() {
            connection.pong_due = None;
        }
    }

    /// A Close was received: nothing follows it, and its answer is in the socket's buffer.
    pub(super) fn close_received(&mut self, now: Instant) {
        if let Some(connection) = self.connection()
            && connection.close == Close::None
        {
            connection.close = Close::Received { deadline: now + CLOSE_TIMEOUT };
            connection.fill_buffer();
        }
    }

    /// Returns whether a Close was sent: what arrives after it is too late.
    pub(super) fn is_closing(&self) -> bool {
        matches!(&self.phase, Phase::Open(Connection { close: Close::Sent { .. }, .. }))
    }

    /// The turn's read is done; `all_read` if nothing is left.
    pub(super) fn read_done(&mut self, all_read: bool) {
        if let Some(connection) = self.connection() {
            connection.reading = if all_read { Reading::Complete } else { Reading::Limited };
        }
    }

    /// A flush has emptied the socket's buffer, or it has not.
    pub(super) fn flushed(&mut self, complete: bool) {
        if let Some(connection) = self.connection() {
            connection.buffer = if complete { Buffer::Empty } else { Buffer::Blocked };
            if complete {
                // The next turn.
                connection.reading = Reading::Due;
            }
        }
    }

    /// The operating system has taken this many bytes of messages since the connection was opened.
    pub(super) fn taken(&mut self, bytes: u64) {
        if let Some(connection) = self.connection() {
            connection.taken = bytes;
            self.outbox.taken(bytes);
        }
    }

    /// Nothing can be written any more.
    pub(super) fn write_failed(&mut self, reason: String) {
        if let Some(connection) = self.connection()
            && connection.write_error.is_none()
        {
            connection.write_error = Some(reason);
            // More may have arrived since the last read.
            connection.reading = Reading::Due;
        }
    }

    /// The connection cannot be used any more.
    pub(super) fn connection_lost(&mut self, reason: String) {
        if let Some(connection) = self.connection() {
            connection.lost.get_or_insert(reason);
        }
    }

    /// Decides what to do next.
    pub(super) fn next(&mut self, now: Instant) -> Command {
        match &mut self.phase {
            Phase::Ended => Command::Exit,
            Phase::Open(_) => self.next_open(now),
            Phase::Connecting | Phase::Paused { .. } if self.stop_deadline.is_some() => {
                self.exit(DropReason::StoppedOffline)
            }
            Phase::Connecting => Command::Wait { interest: Interest::Readable, until: None },
            Phase::Paused { until } if now < *until => {
                Command::Wait { interest: Interest::Readable, until: Some(*until) }
            }
            Phase::Paused { .. } => {
                self.phase = Phase::Connecting;
                Command::Connect
            }
        }
    }

    fn next_open(&mut self, now: Instant) -> Command {
        let Phase::Open(connection) = &mut self.phase else { return Command::Exit };
        if let Some(reason) = connection.lost(now) {
            return self.disconnect(reason, now);
        }
        if let Close::Received { deadline } = connection.close {
            if connection.buffer == Buffer::Unflushed {
                return Command::Flush;
            }
            connection.buffer = Buffer::Unflushed;
            return Command::Wait { interest: Interest::Writable, until: Some(deadline) };
        }
        if connection.reading == Reading::Due {
            return Command::Read;
        }
        let deadline = match connection.close {
            Close::Sent { deadline } => Some(deadline),
            _ => self.stop_deadline,
        };
        if deadline.is_some_and(|deadline| now >= deadline) {
            return self.exit(DropReason::NotRead);
        }
        if connection.close == Close::None {
            if now >= connection.next_ping {
                connection.next_ping = now + PING_EVERY;
                connection.pong_due.get_or_insert(now + PONG_TIMEOUT);
                connection.fill_buffer();
                return Command::Write(vec![Message::Ping(Bytes::new())]);
            }
            // Only into an empty buffer: one batch is in flight at a time.
            if connection.buffer == Buffer::Empty {
                let batch = self.outbox.next_batch(connection.taken).into_iter();
                let mut messages: Vec<_> = batch.map(Message::Text).collect();
                if messages.is_empty() && self.stop_deadline.is_some() {
                    connection.close = Close::Sent { deadline: now + CLOSE_TIMEOUT };
                    messages.push(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })));
                }
                if !messages.is_empty() {
                    connection.fill_buffer();
                    return Command::Write(messages);
                }
            }
        }
        if connection.buffer == Buffer::Unflushed {
            return Command::Flush;
        }
        // The next turn.
        let reading = std::mem::replace(&mut connection.reading, Reading::Due);
        let interest = match connection.buffer {
            Buffer::Empty => Interest::Readable,
            Buffer::Unflushed | Buffer::Blocked => Interest::Both,
        };
        if connection.buffer == Buffer::Blocked {
            connection.buffer = Buffer::Unflushed;
        }
        if reading == Reading::Limited {
            return Command::Read;
        }
        let until = match connection.close {
            Close::None => [Some(connection.next_ping), connection.pong_due, deadline].into_iter().flatten().min(),
            _ => deadline,
        };
        Command::Wait { interest, until }
    }

    fn disconnect(&mut self, reason: String, now: Instant) -> Command {
        let Phase::Open(connection) = &self.phase else { return Command::Exit };
        if matches!(connection.close, Close::Sent { .. }) {
            return self.exit(DropReason::NotRead);
        }
        if now.saturating_duration_since(connection.opened) >= STABLE_AFTER {
            self.backoff.reset();
        }
        self.outbox.requeue();
        let retry_in = self.backoff.next_pause(RetryReason::Lost, None);
        self.phase = Phase::Paused { until: now + retry_in };
        Command::Disconnect { reason, retry_in }
    }

    fn exit(&mut self, reason: DropReason) -> Command {
        self.outbox.drop_all(reason);
        self.phase = Phase::Ended;
        Command::Exit
    }
}

#[cfg(test)]
mod tests;
