//! The two queues between a machine and the transport that carries its messages: rx and tx.
//!
//! [`MachineQueues`] is the machine's side, [`Peer`] the transport's: the WebSocket thread, or a program that holds the
//! [in-memory](MachineQueues::in_memory) peer. A machine cannot tell which.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendError, Sender, TryRecvError, TrySendError, bounded};
use tungstenite::Utf8Bytes;

use crate::net::poll::Waker;
use crate::sync::lock;
use crate::system;

/// Frames that the machine has not read yet. While rx is full, the socket is not read.
const RX_CAPACITY: usize = 16;
/// Messages that the transport has not taken yet. The WebSocket thread moves them to its outbox at once.
const TX_CAPACITY: usize = 32;
/// How long `send` waits on a full queue after a stop.
const SEND_TIMEOUT_AFTER_STOP: Duration = Duration::from_millis(500);

/// A message of the machine: the text of one WebSocket frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    text: Utf8Bytes,
    label: String,
    is_progress: bool,
}

impl Outgoing {
    pub(crate) fn new(text: String, label: String, is_progress: bool) -> Self {
        Self { text: text.into(), label, is_progress }
    }

    /// Creates an event, which is kept when the connection is lost. [`WsClient`](crate::WsClient) says when messages
    /// are dropped.
    ///
    /// The protocol requires one JSON object followed by a line feed; the text is neither checked nor changed.
    #[must_use]
    pub fn event(text: impl Into<String>) -> Self {
        Self::new(text.into(), "event".into(), false)
    }

    /// Creates a progress report, which is dropped when the connection is lost, and before events when the outbox is
    /// full. The text is as for an [`event`](Self::event).
    #[must_use]
    pub fn progress(text: impl Into<String>) -> Self {
        Self::new(text.into(), "progress".into(), true)
    }

    /// Returns the text of the frame, line feed included.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether this is a progress report.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.is_progress
    }

    pub(crate) fn frame(&self) -> Utf8Bytes {
        self.text.clone()
    }

    /// A description that is safe to log: event and action, none of the service's text.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Debug for Outgoing {
    /// Omits the text: it may contain a presigned URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({})", self.label)
    }
}

/// The sending end of the tx queue: a crossbeam sender that also wakes the WebSocket thread.
#[derive(Debug, Clone)]
pub struct Tx {
    queue: Sender<Outgoing>,
    /// Set once a WebSocket thread receives from the queue: it sleeps in a poller, not in a channel.
    waker: Arc<OnceLock<Waker>>,
    stopper: Stopper,
    /// A send has timed out after the stop: later ones do not wait.
    timed_out: Arc<AtomicBool>,
}

impl Tx {
    /// Queues a message. Blocks while the queue is full (32 messages). The WebSocket thread always drains it. An
    /// in-memory peer may not; then stopping the machine ends the wait within 500 ms.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the message if the receiver is gone, or the machine was stopped during the wait.
    pub fn send(&self, message: Outgoing) -> Result<(), SendError<Outgoing>> {
        match self.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(message)) => return Err(SendError(message)),
            Err(TrySendError::Full(message)) => self.send_blocking(message)?,
        }
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        Ok(())
    }

    fn send_blocking(&self, message: Outgoing) -> Result<(), SendError<Outgoing>> {
        let mut unsent = Some(message);
        let attempt = || {
            if self.stopper.stopped().try_recv() == Err(TryRecvError::Disconnected) {
                return Some(None);
            }
            match self.queue.try_send(unsent.take()?) {
                Ok(()) => Some(Some(Ok(()))),
                Err(TrySendError::Disconnected(message)) => Some(Some(Err(SendError(message)))),
                Err(TrySendError::Full(message)) => {
                    unsent = Some(message);
                    None
                }
            }
        };
        let sent = system::wait_for(None, attempt, |select| {
            select.send(&self.queue);
            select.recv(self.stopper.stopped());
        });
        let message = match (sent.flatten(), unsent) {
            (Some(sent), _) => return sent,
            (None, Some(message)) => message,
            (None, None) => return Ok(()),
        };
        let timeout = if self.timed_out.load(Ordering::Acquire) { Duration::ZERO } else { SEND_TIMEOUT_AFTER_STOP };
        system::send_timeout(&self.queue, message, timeout).map_err(|unsent| {
            self.timed_out.store(true, Ordering::Release);
            SendError(unsent.into_inner())
        })
    }
}

/// The machine's side of the two queues.
///
/// A message loop reads frames from `rx` and sends messages to `tx`; it need not know what carries them:
///
/// ```
/// use gf_emulator_core::{MachineQueues, Outgoing};
///
/// let (MachineQueues { rx, tx, .. }, peer) = MachineQueues::in_memory();
/// peer.tx.send("{\"id\":1}\n".into())?;
/// assert_eq!(rx.recv()?, "{\"id\":1}\n");
/// tx.send(Outgoing::event("{\"id\":32}\n"))?;
/// assert_eq!(peer.rx.recv()?.text(), "{\"id\":32}\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct MachineQueues {
    /// Frames of the service: one or more JSON objects, one per line. Holds 16; disconnected once the transport has
    /// ended.
    pub rx: Receiver<String>,
    /// Messages to the service.
    pub tx: Tx,
    /// Disconnected once the machine is told to stop.
    pub(crate) stopped: Receiver<()>,
    pub(crate) stopper: Stopper,
}

/// Tells the machine to stop, from any thread. Also ends a `send` that blocks on a full queue.
#[derive(Debug, Clone)]
pub(crate) struct Stopper(Arc<StopSignal>);

#[derive(Debug)]
struct StopSignal {
    running: Mutex<Option<Sender<()>>>,
    stopped: Receiver<()>,
}

impl Stopper {
    fn new() -> Self {
        let (running, stopped) = bounded(0);
        Self(Arc::new(StopSignal { running: Mutex::new(Some(running)), stopped }))
    }

    pub(crate) fn stop(&self) {
        lock(&self.0.running).take();
    }

    /// A channel that is disconnected by `stop`, for a select.
    fn stopped(&self) -> &Receiver<()> {
        &self.0.stopped
    }
}

/// The transport's side of the two queues, for a program that carries the messages itself.
///
/// Read `rx` while the machine runs: the machine blocks while 32 messages are unread.
#[derive(Debug)]
pub struct Peer {
    /// Frames for the machine: one or more JSON objects, one per line. Dropping it tells the machine that no more will
    /// follow.
    pub tx: Sender<String>,
    /// Messages of the machine. Disconnected once the machine has stopped.
    pub rx: Receiver<Outgoing>,
    pub(crate) waker: Arc<OnceLock<Waker>>,
}

impl MachineQueues {
    /// Creates both sides, in memory: for tests of a message loop, or another transport than the WebSocket.
    #[must_use]
    pub fn in_memory() -> (Self, Peer) {
        let (to_machine, rx) = bounded(RX_CAPACITY);
        let (queue, from_machine) = bounded(TX_CAPACITY);
        let waker = Arc::new(OnceLock::new());
        let stopper = Stopper::new();
        let tx = Tx { queue, waker: Arc::clone(&waker), stopper: stopper.clone(), timed_out: Arc::default() };
        let queues = Self { rx, tx, stopped: stopper.stopped().clone(), stopper };
        (queues, Peer { tx: to_machine, rx: from_machine, waker })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_a_wait_for_room_in_a_full_queue() {
        let (machine, peer) = MachineQueues::in_memory();
        let message = |n: usize| Outgoing::event(n.to_string());
        for n in 0..TX_CAPACITY {
            machine.tx.send(message(n)).unwrap();
        }
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| machine.tx.send(message(TX_CAPACITY)));
            machine.stopper.stop();
            assert_eq!(waiting.join().unwrap().unwrap_err().0.text(), TX_CAPACITY.to_string());
        });
        // Messages that fit are still queued.
        peer.rx.recv().unwrap();
        machine.tx.send(message(TX_CAPACITY)).unwrap();
        assert_eq!(peer.rx.try_iter().count(), TX_CAPACITY);
    }
}
