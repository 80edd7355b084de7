//! The two queues between the machine and whatever carries its messages: rx and tx.
//!
//! A [`MachineQueues`] is a receiver and a sender, no more. The WebSocket stands at the other end of one, or a program that
//! has it [in memory](MachineQueues::in_memory): what is above the queues cannot tell.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use tungstenite::Utf8Bytes;

use crate::net::poll::Waker;

/// Frames of the service that nobody has read yet. When they are full the socket is left unread.
const RX_QUEUE: usize = 16;
/// Messages on their way to the thread that carries them, which takes them up at once and keeps its own store.
const TX_QUEUE: usize = 256;
/// How long a machine that stops waits for somebody to read what it still has to say.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);

/// A message of the machine on its way out.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    text: Utf8Bytes,
    label: String,
    perishable: bool,
}

impl Outgoing {
    pub(crate) fn new(text: String, label: String, perishable: bool) -> Self {
        Self { text: text.into(), label, perishable }
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

    /// What a log may say of it: the event and the action, none of the service's words.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Debug for Outgoing {
    /// Without the text: a message may quote a presigned URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({})", self.label)
    }
}

/// The machine's end of the tx queue: what is put in leaves at once.
#[derive(Debug, Clone)]
pub(crate) struct Tx {
    queue: Sender<Outgoing>,
    /// Of the thread at the other end, once there is one that sleeps on more than the queue.
    waker: Arc<OnceLock<Waker>>,
    /// Disconnected once the machine is to stop.
    stopped: Receiver<()>,
    /// The machine stops and nobody has read in time: there is no use in waiting again.
    unread: Arc<AtomicBool>,
}

impl Tx {
    /// Waits while the queue is full. The WebSocket's thread always comes round; a peer in memory may not, and then a
    /// stop ends the wait.
    pub(crate) fn send(&self, message: Outgoing) -> Result<(), Outgoing> {
        match self.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(message)) => return Err(message),
            Err(TrySendError::Full(message)) => self.send_when_there_is_room(message)?,
        }
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        Ok(())
    }

    fn send_when_there_is_room(&self, message: Outgoing) -> Result<(), Outgoing> {
        let mut message = Some(message);
        let mut next = || message.take().unwrap_or_else(|| unreachable!("one of the two arms takes it, and once"));
        select! {
            send(self.queue, next()) -> sent => return sent.map_err(|unsent| unsent.0),
            recv(self.stopped) -> _ => {}
        }
        let patience = if self.unread.load(Ordering::Acquire) { Duration::ZERO } else { LAST_WORDS_WITHIN };
        self.queue.send_timeout(next(), patience).map_err(|unsent| {
            self.unread.store(true, Ordering::Release);
            unsent.into_inner()
        })
    }
}

/// The machine's side of the two queues.
#[derive(Debug)]
pub(crate) struct MachineQueues {
    /// Frames of the service.
    pub(crate) rx: Receiver<String>,
    /// Messages of the machine.
    pub(crate) tx: Tx,
    /// Disconnected once the machine is to stop: whoever selects hears of it.
    pub(crate) stopped: Receiver<()>,
    pub(crate) stopper: Stopper,
}

/// Tells the machine to stop, from any thread; a wait for room in a queue that nobody reads ends with it.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Arc<Mutex<Option<Sender<()>>>>);

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The other side of the two queues, for a program that carries the messages itself.
///
/// Read `rx` while the machine runs: it waits for room once 256 messages lie there.
#[derive(Debug)]
pub struct Peer {
    /// Takes frames for the machine: one or more JSON objects, one a line. Dropped, it tells the machine that no more
    /// will come.
    pub tx: Sender<String>,
    /// Gives the machine's messages. Closed once the machine has stopped.
    pub rx: Receiver<Outgoing>,
    pub(crate) waker: Arc<OnceLock<Waker>>,
}

impl MachineQueues {
    /// Both sides, in memory.
    pub(crate) fn in_memory() -> (Self, Peer) {
        let (to_machine, rx) = bounded(RX_QUEUE);
        let (queue, from_machine) = bounded(TX_QUEUE);
        let (running, stopped) = bounded(0);
        let waker = Arc::new(OnceLock::new());
        let tx = Tx { queue, waker: Arc::clone(&waker), stopped: stopped.clone(), unread: Arc::default() };
        let connection = Self { rx, tx, stopped, stopper: Stopper(Arc::new(Mutex::new(Some(running)))) };
        (connection, Peer { tx: to_machine, rx: from_machine, waker })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_frees_who_waits_for_a_peer_that_does_not_read() {
        let (machine, peer) = MachineQueues::in_memory();
        let message = |n: usize| Outgoing::new(n.to_string(), n.to_string(), false);
        for n in 0..TX_QUEUE {
            machine.tx.send(message(n)).unwrap();
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| machine.tx.send(message(TX_QUEUE)));
            machine.stopper.stop();
            assert_eq!(waiting.join().unwrap().unwrap_err().text(), TX_QUEUE.to_string());
        });
        // What there is room for still goes.
        peer.rx.recv().unwrap();
        machine.tx.send(message(TX_QUEUE)).unwrap();
        assert_eq!(peer.rx.try_iter().count(), TX_QUEUE);
    }
}
