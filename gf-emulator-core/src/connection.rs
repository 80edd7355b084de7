//! The two queues between the machine and whatever carries its messages: rx and tx.
//!
//! A [`Connection`] is a receiver and a sender, no more. The WebSocket stands at the other end of one, or a program that
//! has it [in memory](Connection::in_memory): what is above the queues cannot tell.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, SendError, Sender, bounded};
use tungstenite::Utf8Bytes;

use crate::wait::Waker;

/// Frames of the service that nobody has read yet. When they are full the socket is left unread.
const RX_QUEUE: usize = 16;
/// Messages on their way to the thread that carries them, which takes them up at once and keeps its own store.
const TX_QUEUE: usize = 256;

/// A message of the machine on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    text: Utf8Bytes,
    perishable: bool,
}

impl Outgoing {
    pub(crate) fn new(text: String, perishable: bool) -> Self {
        Self { text: text.into(), perishable }
    }

    /// What goes on the wire: JSON and the end of its line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is progress, which may be dropped: the next one says more.
    #[must_use]
    pub fn is_perishable(&self) -> bool {
        self.perishable
    }

    pub(crate) fn frame(&self) -> Utf8Bytes {
        self.text.clone()
    }

    /// What a log may say of it: the beginning has id, type and action, and nothing that the service has said.
    pub(crate) fn label(&self) -> &str {
        let end = self.text.char_indices().nth(120).map_or(self.text.len(), |(end, _)| end);
        self.text[..end].trim_end()
    }
}

/// The machine's end of the tx queue: what is put in leaves at once.
#[derive(Debug, Clone)]
pub(crate) struct Tx {
    queue: Sender<Outgoing>,
    /// Of the thread at the other end, once there is one that sleeps on more than the queue.
    waker: Arc<OnceLock<Waker>>,
}

impl Tx {
    /// Waits only while the queue is full, which lasts no longer than the other end's thread needs to come round.
    pub(crate) fn send(&self, message: Outgoing) -> Result<(), SendError<Outgoing>> {
        self.queue.send(message)?;
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        Ok(())
    }
}

/// The machine's side of the two queues.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Frames of the service.
    pub(crate) rx: Receiver<String>,
    /// Messages of the machine.
    pub(crate) tx: Tx,
}

/// The other side of the two queues, for a program that carries the messages itself.
#[derive(Debug)]
pub struct Peer {
    /// Takes frames for the machine: one or more JSON objects, one a line. Dropped, it tells the machine that no more
    /// will come.
    pub tx: Sender<String>,
    /// Gives the machine's messages. Closed once the machine has stopped.
    pub rx: Receiver<Outgoing>,
    pub(crate) waker: Arc<OnceLock<Waker>>,
}

impl Connection {
    /// Both sides, in memory.
    pub(crate) fn in_memory() -> (Self, Peer) {
        let (to_machine, rx) = bounded(RX_QUEUE);
        let (queue, from_machine) = bounded(TX_QUEUE);
        let waker = Arc::new(OnceLock::new());
        let tx = Tx { queue, waker: Arc::clone(&waker) };
        (Self { rx, tx }, Peer { tx: to_machine, rx: from_machine, waker })
    }
}
