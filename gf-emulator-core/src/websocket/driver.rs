//! [`Driver`]: the thread that carries out what [`ClientState`] decides.

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError};
use tungstenite::Message;

use super::dial::{Attempt, Dialer};
use super::outbox::{DropReason, Outcome, Report};
use super::queues::Outgoing;
use super::state::{ClientState, Command};
use super::stream::{Socket, flush, ready, write};
use crate::events::EmulatorEvent;
use crate::net::poll::Poll;
use crate::net::retry::RetryReason;
use crate::record::{Event, Telemetry, Unredacted};
use crate::system;
use crate::{Error, Result};

const MESSAGES_PER_TURN: usize = 64;

/// Moves bytes between the socket and the queues, and sleeps when there is nothing to move.
pub(super) struct Driver {
    pub(super) state: ClientState,
    pub(super) dialer: Dialer,
    pub(super) poll: Poll,
    /// Frames for the machine.
    pub(super) rx: Sender<String>,
    /// Messages of the machine.
    pub(super) tx: Receiver<Outgoing>,
    /// Disconnected by a stop.
    pub(super) stopped: Receiver<()>,
    pub(super) telemetry: Telemetry,
    /// For log and recording.
    pub(super) origin: String,
    pub(super) socket: Option<Socket>,
    pub(super) attempt: Option<Attempt>,
    pub(super) binary_frames: u64,
}

impl Driver {
    /// Runs until it is stopped. Every failure to connect is followed by another attempt.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] if the operating system's poller fails.
    pub(super) fn run(mut self, socket: Socket) -> Result<()> {
        self.open(socket);
        let result = self.run_until_exit();
        if let Err(e) = &result {
            log::error!("{e}");
            self.collect();
            self.state.abort();
        }
        self.close("the machine has stopped", true);
        self.dialer.cancel.cancel();
        if let Some(attempt) = self.attempt.take() {
            attempt.join();
        }
        self.collect();
        self.report();
        result
    }

    fn run_until_exit(&mut self) -> Result<()> {
        loop {
            // In this order: what was queued before the stop is collected before the stop takes effect.
            let stopping = self.stopped.try_recv() == Err(TryRecvError::Disconnected);
            self.collect();
            if stopping {
                self.state.stop(system::now());
            }
            self.finish_attempt();
            match self.state.next(system::now()) {
                Command::Exit => return Ok(()),
                Command::Connect => match self.dialer.clone().spawn(self.poll.waker()) {
                    Ok(attempt) => self.attempt = Some(attempt),
                    Err(e) => self.connect_failed(&Error::no_thread("gf-dial", &e)),
                },
                Command::Disconnect { reason, retry_in } => {
                    self.close(&reason, false);
                    log::warn!("connection lost: {reason}; retrying in {:.1} s", retry_in.as_secs_f64());
                }
                Command::Wait { interest, until } => match self.poll.wait(interest, until) {
                    Err(e) if self.socket.is_some() => self.state.connection_lost(e.to_string()),
                    result => {
                        result.map_err(|e| Error::Thread { thread: "gf-websocket", reason: e.to_string() })?;
                    }
                },
                Command::Read => self.with_socket(Self::read),
                Command::Write(messages) => {
                    self.with_socket(|_, socket| messages.into_iter().try_for_each(|message| write(socket, message)));
                }
                Command::Flush => self.with_socket(|this, socket| {
                    this.state.flushed(flush(socket)?);
                    Ok(())
                }),
            }
            self.report();
        }
    }

    /// Moves messages to the outbox.
    fn collect(&mut self) {
        // Only what is queued now: a machine that never stops sending must not keep this thread here.
        let queued = self.tx.len();
        self.tx.try_iter().take(queued).for_each(|message| self.state.push(message));
    }

    /// Logs dropped messages and records sent ones.
    fn report(&mut self) {
        for Report { message, outcome } in self.state.reports() {
            match outcome {
                Outcome::Sent => {
                    self.telemetry.record(|| Unredacted::Out(message.frame()));
                    self.telemetry.emit(|| EmulatorEvent::MessageSent { label: message.label().to_owned() });
                }
                Outcome::Dropped(reason) if message.is_progress() => {
                    log::info!("dropped ({}): {}", reason.as_str(), message.label());
                }
                // A stop without a connection is no fault.
                Outcome::Dropped(reason @ (DropReason::Stopped | DropReason::StoppedOffline)) => {
                    log::warn!("dropped ({}): {}", reason.as_str(), message.label());
                }
                Outcome::Dropped(reason) => log::error!("dropped ({}): {}", reason.as_str(), message.label()),
            }
        }
    }

    fn open(&mut self, mut socket: Socket) {
        log::info!("connected");
        self.telemetry.record(|| Unredacted::Event(Event::Opened { url: self.origin.clone() }));
        self.telemetry.emit(|| EmulatorEvent::Connected { url: self.origin.clone() });
        self.binary_frames = 0;
        self.state.connected(system::now());
        let watched = self.poll.watch(socket.get_mut().get_mut().set_nonblocking());
        if let Err(e) = watched {
            self.state.connection_lost(e.to_string());
        }
        self.socket = Some(socket);
    }

    fn close(&mut self, reason: &str, is_stopped: bool) {
        if self.socket.is_none() {
            return;
        }
        self.poll.unwatch();
        self.socket = None;
        self.telemetry.record(|| Unredacted::Event(Event::Closed { reason: reason.to_owned() }));
        self.telemetry.emit(|| EmulatorEvent::Disconnected { reason: reason.to_owned(), is_stopped });
        if self.binary_frames > 1 {
            log::warn!("ignored {} binary frames on this connection", self.binary_frames);
        }
    }

    fn finish_attempt(&mut self) {
        let Some(result) = self.attempt.as_ref().and_then(Attempt::result) else { return };
        if let Some(attempt) = self.attempt.take() {
            attempt.join();
        }
        match result {
            Ok(socket) => self.open(socket),
            Err(error) => self.connect_failed(&error),
        }
    }

    fn connect_failed(&mut self, error: &Error) {
        let refused = matches!(error, Error::SignInRefused { .. });
        let reason = if refused { RetryReason::Refused } else { RetryReason::Failed };
        let pause = self.state.connect_failed(system::now(), reason, error.retry_after());
        log::warn!("cannot connect: {error}; retrying in {:.1} s", pause.as_secs_f64());
    }

    /// Runs an operation on the socket and reports its effects and failures to the state.
    fn with_socket(&mut self, operation: impl FnOnce(&mut Self, &mut Socket) -> tungstenite::Result<()>) {
        let Some(mut socket) = self.socket.take() else { return };
        let result = operation(self, &mut socket);
        let stream = socket.get_ref();
        self.state.taken(stream.message_bytes_taken());
        match (result, stream.failure()) {
            (Ok(()), None) => {}
            (Ok(()), Some(failure)) => self.state.write_failed(failure.to_string()),
            (Err(_), Some(failure)) => self.state.connection_lost(failure.to_string()),
            (Err(tungstenite::Error::ConnectionClosed), None) => {
                self.state.connection_lost("closed by the service".into());
            }
            // tungstenite's errors do not quote messages.
            (Err(e), None) => self.state.connection_lost(e.to_string()),
        }
        self.socket = Some(socket);
    }

    fn read(&mut self, socket: &mut Socket) -> tungstenite::Result<()> {
        socket.get_mut().begin_turn();
        for _ in 0..MESSAGES_PER_TURN {
            let Some(message) = ready(socket.read())? else {
                self.state.read_done(!socket.get_ref().turn_limit_reached());
                return Ok(());
            };
            match message {
                _ if self.state.is_closing() => {}
                Message::Text(text) => self.deliver(text.as_str()),
                Message::Ping(_) => self.state.ping_received(),
                Message::Pong(_) => self.state.pong_received(),
                Message::Close(_) => {
                    self.state.close_received(system::now());
                    return Ok(());
                }
                Message::Binary(data) => {
                    self.binary_frames += 1;
                    if self.binary_frames == 1 {
                        log::warn!("ignored a binary frame of {} bytes; further ones are only counted", data.len());
                    }
                }
                Message::Frame(_) => {}
            }
        }
        self.state.read_done(false);
        Ok(())
    }

    /// Hands a frame to the machine. While rx is full, the socket is neither read nor written.
    fn deliver(&mut self, text: &str) {
        log::debug!("received {} bytes", text.len());
        self.telemetry.record(|| Unredacted::In(text.to_owned()));
        let mut text = match self.rx.try_send(text.to_owned()) {
            Err(TrySendError::Full(text)) => text,
            // Disconnected: the machine reads no more.
            Ok(()) | Err(TrySendError::Disconnected(_)) => return,
        };
        // Messages are collected meanwhile: the machine may be waiting for room in tx. A machine that stops reads no
        // more and waits for this thread.
        loop {
            let attempt = || {
                match self.rx.try_send(std::mem::take(&mut text)) {
                    Err(TrySendError::Full(unsent)) => text = unsent,
                    Ok(()) | Err(TrySendError::Disconnected(_)) => return Some(None),
                }
                match self.tx.try_recv() {
                    Ok(message) => return Some(Some(message)),
                    Err(TryRecvError::Disconnected) => return Some(None),
                    Err(TryRecvError::Empty) => {}
                }
                (self.stopped.try_recv() == Err(TryRecvError::Disconnected)).then_some(None)
            };
            let received = system::wait_for(None, attempt, |select| {
                select.send(&self.rx);
                select.recv(&self.tx);
                select.recv(&self.stopped);
            });
            match received.flatten() {
                Some(message) => self.state.push(message),
                None => return,
            }
        }
    }
}
