//! [`WsClient`]: one thread, one socket, two queues.
//!
//! The thread sleeps until the socket or the tx queue has something, or a ping is due; at rest that is all that wakes
//! it. It pings every 30 seconds and takes a pong that has not come after 10 for a lost connection. A lost connection is
//! routine (the service cuts about hourly): it dials again, with a fresh sign-in each time, for as long as nobody stops
//! it, and what was queued meanwhile goes out afterwards, in order, once.
//!
//! What has reached this host is read before a connection is given up, also when a write has failed.
//!
//! **Memory.** Whatever the service sends or leaves unread, a connection holds less than 32 MiB: one message of 1 MiB
//! that is being received (twice that while it grows from fragments), 16 that the machine has not read yet and one that
//! waits for room, 8 MiB of messages of the machine that wait to be sent (what comes into the tx queue is moved there at
//! once), one that is being written, and 64 KiB of pongs.
//!
//! | file | what it owns |
//! |---|---|
//! | `stream.rs` | what tungstenite reads and writes: limits, turns, reading after a failed write |
//! | `outbox.rs` | the machine's messages until the operating system has taken them |
//! | `pump.rs` | both directions of one connection |
//! | `dial.rs` | making a connection |
//! | this file | one connection after the other, and the thread |

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TryRecvError, bounded};

use super::dial::Route;
use super::outbox::Outbox;
use super::pump::{Ended, Pump, Watch};
use super::stream::Socket;
use crate::net::CancelToken;
use crate::net::poll::{Interest, Poll, Waker};
use crate::net::retry::{Backoff, RetryReason};
use crate::record::{Event, Unredacted};
use crate::websocket::queues::Peer;
use crate::{Error, Result};

/// A connection that has lasted this long was a good one: the first pause after it is a short one again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// The thread that bridges a WebSocket and the queues.
pub(crate) struct WsClient {
    thread: Option<JoinHandle<Result<()>>>,
    /// Dropped to stop the thread: it hears of that in a select as well.
    running: Option<Sender<()>>,
    waker: Waker,
    cancel: CancelToken,
}

impl WsClient {
    /// Starts the thread that stands between `socket` and the machine's queues. Where that fails, `peer` is as good as
    /// before for another try.
    pub(crate) fn start(socket: Socket, route: Route, peer: &Peer) -> Result<Self> {
        Self::start_watched(socket, route, peer, Watch::default(), GOOD_AFTER)
    }

    fn start_watched(socket: Socket, route: Route, peer: &Peer, watch: Watch, good_after: Duration) -> Result<Self> {
        let poll = Poll::new().map_err(thread_error)?;
        let waker = poll.waker();
        let (running, stopped) = bounded(0);
        let cancel = route.cancel.clone();
        let pump = Pump {
            rx: peer.tx.clone(),
            outbox: Outbox::new(peer.rx.clone(), route.tap.clone()),
            poll,
            stopped,
            watch,
            tap: route.tap.clone(),
        };
        let bridge = Bridge { route, pump, backoff: Backoff::default(), good_after };
        let thread = thread::Builder::new()
            .name("gf-websocket".into())
            .spawn(move || bridge.run(socket))
            .map_err(thread_error)?;
        // Set once: a second client at the same queues would be a mistake of this crate. What was queued before may have
        // woken nobody.
        let _ = peer.waker.set(waker.clone());
        waker.wake();
        Ok(Self { thread: Some(thread), running: Some(running), waker, cancel })
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
        self.cancel.cancel();
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

struct Bridge {
    route: Route,
    pump: Pump,
    backoff: Backoff,
    good_after: Duration,
}

impl Bridge {
    fn run(mut self, mut socket: Socket) -> Result<()> {
        loop {
            log::info!("connected");
            let url = self.route.origin.clone();
            self.route.tap.record(|| Unredacted::Event(Event::Opened { url }));
            let since = Instant::now();
            let ended = self.pump.run(socket);
            let reason = match &ended {
                Ended::Stopped => "the machine has stopped",
                Ended::Lost(reason) => reason,
            };
            self.route.tap.record(|| Unredacted::Event(Event::Closed { reason: reason.to_owned() }));
            let reason = match ended {
                Ended::Stopped => return Ok(()),
                Ended::Lost(reason) => reason,
            };
            self.pump.outbox.take_back();
            if since.elapsed() >= self.good_after {
                self.backoff = Backoff::default();
            }
            socket = match self.reconnect(&reason) {
                Ok(Some(socket)) => socket,
                Ok(None) => {
                    self.pump.outbox.give_up("stopped without a connection");
                    return Ok(());
                }
                Err(e) => {
                    log::error!("{e}");
                    self.pump.outbox.give_up("no connection will come");
                    return Err(e);
                }
            };
        }
    }

    /// Dials until there is a socket; none where it is stopped first. Nothing else ends it: whatever is wrong may be
    /// mended while the machine waits.
    fn reconnect(&mut self, lost: &str) -> Result<Option<Socket>> {
        let (mut why, mut reason_kind, mut asked) = (format!("connection lost: {lost}"), RetryReason::Lost, None);
        loop {
            let pause = self.backoff.pause(reason_kind, asked);
            log::warn!("{why}; connecting again in {:.1} s", pause.as_secs_f64());
            let next = Instant::now() + pause;
            while Instant::now() < next {
                if self.pump.is_stopping() {
                    return Ok(None);
                }
                self.pump.poll.wait(Interest::Readable, Some(next)).map_err(thread_error)?;
                self.pump.outbox.take_up();
            }
            let error = match self.dial()? {
                None => return Ok(None),
                Some(Ok(socket)) => return Ok(Some(socket)),
                Some(Err(error)) => error,
            };
            reason_kind =
                if matches!(error, Error::SignInRefused { .. }) { RetryReason::Refused } else { RetryReason::Failed };
            asked = error.retry_after();
            why = format!("cannot connect: {error}");
        }
    }

    /// Dials, takes up what is queued meanwhile, and gives the outcome; none where it is stopped first.
    fn dial(&mut self) -> Result<Option<Result<Socket>>> {
        let failed = |reason: String| Err(Error::Thread { thread: "gf-dial", reason });
        let (thread, outcome) = match self.route.clone().dial_apart(self.pump.poll.waker()) {
            Ok(dialling) => dialling,
            Err(e) => return Ok(Some(failed(e.to_string()))),
        };
        let outcome = loop {
            match outcome.try_recv() {
                Ok(outcome) => break Some(outcome),
                Err(TryRecvError::Disconnected) => break Some(failed("it panicked".into())),
                Err(TryRecvError::Empty) => {}
            }
            if self.pump.is_stopping() {
                self.route.cancel.cancel();
                break None;
            }
            self.pump.poll.wait(Interest::Readable, None).map_err(thread_error)?;
            self.pump.outbox.take_up();
        };
        // Its outcome is known, or it has been interrupted.
        let _ = thread.join();
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests;
