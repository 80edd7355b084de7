//! [`Outbox`]: the machine's messages between its tx queue and the operating system.
//!
//! What is queued together leaves together, in one write of a few kilobytes at most. Until the operating system has
//! taken a message whole it is in flight, and the count of bytes taken tells which are: one that was not taken whole is
//! sent again on the next connection; one that was is not, for it may have arrived.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, TryRecvError};
use tungstenite::Message;

use super::stream::{LARGEST_PONG_QUEUE, Socket, WRITE_BYTES, ready};
use crate::record::{RecorderSlot, Unredacted};
use crate::websocket::backlog::Backlog;
use crate::websocket::queues::Outgoing;

/// A message that was handed to the socket.
struct InFlight {
    message: Outgoing,
    /// How many bytes the connection has taken when it has taken this whole.
    ends_at: u64,
}

pub(super) struct Outbox {
    tx: Receiver<Outgoing>,
    backlog: Backlog,
    in_flight: VecDeque<InFlight>,
    tap: RecorderSlot,
}

impl Outbox {
    pub(super) fn new(tx: Receiver<Outgoing>, tap: RecorderSlot) -> Self {
        Self { tx, backlog: Backlog::default(), in_flight: VecDeque::new(), tap }
    }

    /// The queue that the machine fills, for a select.
    pub(super) fn tx(&self) -> &Receiver<Outgoing> {
        &self.tx
    }

    pub(super) fn push(&mut self, message: Outgoing) {
        self.backlog.push(message);
    }

    /// Moves what is in the queue to the backlog, where the least important goes first when there is too much.
    pub(super) fn take_up(&mut self) {
        loop {
            match self.tx.try_recv() {
                Ok(message) => self.backlog.push(message),
                // Disconnected: the machine is gone; what it said is still sent. It stops us as it goes.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    /// Whether there is nothing that has not been handed to a socket.
    pub(super) fn is_empty(&self) -> bool {
        self.backlog.is_empty() && self.tx.is_empty()
    }

    /// Writes messages to a socket that has nothing left to flush: as many as leave in one write. False where there are
    /// none.
    pub(super) fn hand_over(&mut self, socket: &mut Socket) -> tungstenite::Result<bool> {
        let mut ends_at = socket.get_ref().get_ref().bytes_written();
        let enough = ends_at + WRITE_BYTES as u64;
        let mut any = false;
        while ends_at < enough {
            let Some(message) = self.backlog.pop() else { break };
            let frame = message.frame();
            ends_at += frame_bytes(frame.len());
            self.in_flight.push_back(InFlight { message, ends_at });
            write(socket, Message::Text(frame))?;
            any = true;
        }
        Ok(any)
    }

    /// Lets go of what is in flight and has been taken whole: all of it where `socket` has nothing left to flush.
    pub(super) fn settle(&mut self, socket: &Socket) {
        let taken = socket.get_ref().get_ref().bytes_written();
        let gone = self.in_flight.iter().take_while(|message| message.ends_at <= taken).count();
        for sent in self.in_flight.drain(..gone) {
            self.tap.record(|| Unredacted::Out(sent.message.frame()));
        }
    }

    /// The connection is lost: what was in flight waits for the next one. Progress does not.
    pub(super) fn take_back(&mut self) {
        while let Some(unsent) = self.in_flight.pop_back() {
            self.backlog.put_back(unsent.message);
        }
        self.backlog.drop_perishable();
    }

    /// Drops everything, with a log line each.
    pub(super) fn give_up(&mut self, why: &str) {
        self.take_up();
        for unsent in self.in_flight.drain(..) {
            log::error!("dropped ({why}): {}", unsent.message.label());
        }
        self.backlog.drop_all(why);
    }
}

/// Writes a message of the machine's own. The limit on what waits to be written is for pongs alone: our own messages are
/// handed over only when everything before them has been flushed.
pub(super) fn write(socket: &mut Socket, message: Message) -> tungstenite::Result<()> {
    socket.set_config(|config| config.max_write_buffer_size = usize::MAX);
    // WouldBlock means that it is queued in tungstenite: never to be written again.
    let written = ready(socket.write(message));
    socket.set_config(|config| config.max_write_buffer_size = LARGEST_PONG_QUEUE);
    written.map(drop)
}

/// Flushes; false where there is something left.
pub(super) fn flush(socket: &mut Socket) -> tungstenite::Result<bool> {
    // The second time for a pong (or the answer to a Close) that had no room before the first.
    Ok(ready(socket.flush())?.is_some() && ready(socket.flush())?.is_some())
}

/// The length of a client's frame: two bytes, a longer length where it needs one, the mask, and the message.
pub(super) fn frame_bytes(payload: usize) -> u64 {
    let length = match payload {
        0..=125 => 0,
        126..=0xffff => 2,
        _ => 8,
    };
    2 + length + 4 + payload as u64
}
