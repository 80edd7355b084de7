//! [`Emulator`]: signs in, connects, and runs actions.
//!
//! The only layer that knows all the others. Two threads: the caller of [`Emulator::run`] runs the [event
//! loop](event_loop), and the WebSocket thread serves the queues. While there are actions, a [worker](workers) runs them one
//! after the other, and a second one those that do not need the machine while it is busy.

mod collect;
mod event_loop;
mod free_memory;
mod handle;
mod scheduler;
mod workers;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, bounded};

use self::event_loop::EventLoop;
use self::handle::Cancel;
pub use self::handle::Handle;
use self::scheduler::{Scheduler, WorkerId};
use self::workers::Worker;
use crate::actions::messages::MessageSender;
use crate::actions::{Runner, SessionState, Shared, Table, run_start_steps};
use crate::events::EmulatorEvent;
use crate::machine::{CannedMachine, Controls, LastReadings, Machine};
use crate::net::http::Http;
use crate::net::{CancelToken, Link, Network, Tls};
use crate::record::{Recorder, Telemetry};
use crate::service::{OfflineFolder, Session, Uplink};
use crate::storage::{JobStore, local_timestamp, remove_leftovers_of};
use crate::sync::lock;
use crate::websocket::WsClient;
use crate::websocket::queues::{MachineQueues, Peer};
use crate::{Config, Error, Result, Secrets, disk};

/// A Glowforge machine without the hardware.
///
/// ```no_run
/// use gf_emulator_core::Emulator;
///
/// let mut emulator = Emulator::from_file("gf-machine-emulator.cfg")?;
/// emulator.connect()?;
/// emulator.run()?;
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
///
/// The `with_` methods replace a part of it before it connects. Emulators share no state except what you pass
/// to several of them, so any number can run in one process.
pub struct Emulator {
    shared: Arc<Shared>,
    table: Arc<Table>,
    service: ServiceSide,
    /// Replaces the HTTP requests or the folder of `service`.
    uplink: Option<Arc<dyn Uplink>>,
    rx: Receiver<String>,
    /// The other side of the queues, until the WebSocket takes it.
    peer: Option<Peer>,
    client: Option<WsClient>,
    /// `None` once it runs.
    machine: Option<Box<dyn Machine>>,
    state: SessionState,
    handle: Handle,
    stopped: Receiver<()>,
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("generation", &self.shared.config.generation())
            .field("is_connected", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

/// How the emulator reaches the service.
enum ServiceSide {
    /// `session` is created by [`Emulator::connect`].
    Online {
        tls: Tls,
        link: Link,
        dial_cancel: CancelToken,
        request_cancel: CancelToken,
        session: Option<Arc<Session>>,
    },
    Offline(Arc<OfflineFolder>),
}

impl Emulator {
    /// Reads a configuration file and creates the machine that it describes. Does not connect.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with all problems of the file; otherwise as [`new`](Self::new).
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::new(Config::from_file(path)?)
    }

    /// Creates a machine. Does not connect. Removes temp files that killed programs have left in its folders
    /// ([`storage::remove_leftovers`](crate::storage::remove_leftovers)).
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] if the configuration is invalid, [`Error::Table`] if the actions table is.
    /// - [`Error::Tls`], [`Error::File`] or [`Error::TooLarge`] if `ca_file` cannot be used.
    /// - [`Error::File`] or [`Error::TooLarge`] if `actions_file` cannot be read.
    /// - [`Error::File`] or [`Error::Thread`] if the configured recording cannot be started.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let tls = Tls::new(config.service.ca_file.as_deref())?;
        let (queues, peer) = MachineQueues::in_memory();
        let (dial_cancel, request_cancel) = (CancelToken::default(), CancelToken::default());
        let cancels = [&dial_cancel, &request_cancel].map(|token| {
            let token = token.clone();
            Arc::new(move || token.cancel()) as Cancel
        });
        let service = ServiceSide::Online { tls, link: Link::default(), dial_cancel, request_cancel, session: None };
        Self::assemble(config, queues, Some(peer), service, cancels.into())
    }

    /// Creates a machine without a network: actions come from the [`Peer`], jobs are `file://` URLs, and uploads go into
    /// `folder`. Call [`run`](Self::run); there is nothing to connect.
    ///
    /// `folder` is created when the first file is written: pictures are `KIND_ID.jpg` (`lid_image_12.jpg`), numbered if
    /// that name is taken, and events are lines of `web-events.jsonl` and `machine-status.jsonl`. There is no firmware to
    /// compare with: the action `update_check` fails.
    ///
    /// Jobs wait behind other jobs, so that a list of them can be queued at once.
    ///
    /// ```
    /// use gf_emulator_core::{Config, Emulator};
    ///
    /// let (mut emulator, peer) = Emulator::offline(Config::default(), std::env::temp_dir())?;
    /// peer.tx.send(r#"{"id":1,"action_type":"settings","status":"ready"}"#.into()).unwrap();
    /// drop(peer.tx); // The end of the input: the machine finishes what it has, and stops.
    /// emulator.run()?;
    /// assert!(peer.rx.recv().unwrap().text().contains("settings:completed"));
    /// # Ok::<(), gf_emulator_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), without those of `ca_file`. Serial number, hostname, password and the service's addresses
    /// are not checked: of `config.service`, only `protocol` and `actions_file` are used.
    pub fn offline(config: Config, folder: impl Into<PathBuf>) -> Result<(Self, Peer)> {
        config.check_offline()?;
        let (queues, peer) = MachineQueues::in_memory();
        let folder = folder.into();
        disk::remove_leftovers(&folder);
        let folder = Arc::new(OfflineFolder::new(folder));
        let cancelled = Arc::clone(&folder);
        let cancel: Cancel = Arc::new(move || cancelled.cancel());
        let service = ServiceSide::Offline(folder);
        Ok((Self::assemble(config, queues, None, service, vec![cancel])?, peer))
    }

    fn assemble(
        config: Config,
        queues: MachineQueues,
        peer: Option<Peer>,
        service: ServiceSide,
        cancels: Vec<Cancel>,
    ) -> Result<Self> {
        let table = Table::load(&config)?;
        let machine: Option<Box<dyn Machine>> = Some(Box::new(CannedMachine::new(&config)));
        let telemetry = Telemetry::default();
        telemetry.secrets().add(&config.machine.password);
        if let Some(folder) = &config.logging.record_dir {
            telemetry.set_recorder(&Recorder::of_machine_in(folder, &local_timestamp(), &config)?);
        }
        remove_leftovers_of(&config);
        log::info!("a {} machine with firmware {}", config.generation(), config.machine.firmware);
        let messages = Arc::new(MessageSender::new(&config, queues.tx, Arc::clone(&table)));
        let shared = Arc::new(Shared { config: Arc::new(config), messages, controls: Controls::default(), telemetry });
        let handle = Handle {
            shared: Arc::clone(&shared),
            stopper: queues.stopper,
            cancels: Arc::new(Mutex::new(cancels)),
            signal_lock: Arc::default(),
        };
        Ok(Self {
            shared,
            table,
            service,
            uplink: None,
            rx: queues.rx,
            peer,
            client: None,
            machine,
            state: SessionState::default(),
            handle,
            stopped: queues.stopped,
        })
    }

    /// Replaces the machine, which is a [`CannedMachine`] by default.
    #[must_use]
    pub fn with_machine(mut self, machine: impl Machine + 'static) -> Self {
        self.machine = Some(Box::new(machine));
        self
    }

    /// Replaces the actions table of the configuration, which [`new`](Self::new) has read already. Machines can share one:
    /// `Arc<Table>`.
    #[must_use]
    pub fn with_table(mut self, table: impl Into<Arc<Table>>) -> Self {
        self.table = table.into();
        self.shared.messages.set_table(Arc::clone(&self.table));
        self
    }

    /// Replaces the service's side of actions: the HTTP requests, or offline the folder. Sign-in and WebSocket stay.
    #[must_use]
    pub fn with_uplink(mut self, uplink: impl Uplink + 'static) -> Self {
        let uplink = Arc::new(uplink);
        let cancelled = Arc::clone(&uplink);
        lock(&self.handle.cancels).push(Arc::new(move || cancelled.cancel()));
        self.uplink = Some(uplink);
        self
    }

    /// Shares a TLS connector with others, in place of that of `ca_file`, which [`new`](Self::new) has read already. Has no
    /// effect offline.
    #[must_use]
    pub fn with_tls(mut self, shared: Tls) -> Self {
        if let ServiceSide::Online { tls, .. } = &mut self.service {
            *tls = shared;
        }
        self
    }

    /// Gives the emulator a network connection that can be cut, alone or shared with others. Has no effect offline.
    #[must_use]
    pub fn with_link(mut self, shared: &Link) -> Self {
        if let ServiceSide::Online { link, .. } = &mut self.service {
            *link = shared.clone();
        }
        self
    }

    /// Registers a callback for all [`EmulatorEvent`]s from now on. It is called on the thread that causes the event, so
    /// it must be quick and must not wait for the emulator. A panic in it is logged. It is dropped with the emulator.
    pub fn on_event(&self, callback: impl Fn(&EmulatorEvent) + Send + Sync + 'static) {
        self.shared.telemetry.observers().add(callback);
    }

    /// Returns a channel of all [`EmulatorEvent`]s from now on. It holds 1024; when it is full, events are dropped, and
    /// an [`EmulatorEvent::Missed`] tells how many. It is disconnected when the emulator is dropped.
    ///
    /// ```
    /// use gf_emulator_core::{Config, Emulator, EmulatorEvent};
    ///
    /// let (mut emulator, peer) = Emulator::offline(Config::default(), std::env::temp_dir())?;
    /// let events = emulator.events();
    /// peer.tx.send(r#"{"id":1,"action_type":"settings","status":"ready"}"#.into()).unwrap();
    /// drop(peer.tx);
    /// emulator.run()?;
    /// assert!(matches!(events.recv().unwrap(), EmulatorEvent::ActionAccepted { action_id: 1, .. }));
    /// assert!(matches!(events.recv().unwrap(), EmulatorEvent::ActionEnded { action_id: 1, .. }));
    /// # Ok::<(), gf_emulator_core::Error>(())
    /// ```
    #[must_use]
    pub fn events(&self) -> Receiver<EmulatorEvent> {
        self.shared.telemetry.observers().subscribe()
    }

    /// Records the session from now on. The recording is complete when the emulator and the last clone of the recorder
    /// are dropped.
    pub fn record(&self, recorder: &Recorder) {
        self.shared.telemetry.set_recorder(recorder);
    }

    /// Returns the recorder that was set by [`record`](Self::record) or by the configuration.
    #[must_use]
    pub fn recorder(&self) -> Option<Recorder> {
        self.shared.telemetry.recorder()
    }

    /// Returns this emulator's secrets, also those that it learns later: its password, its tokens, the queries of its
    /// requests. For a logger, which passes every line through [`Secrets::redact`].
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.shared.telemetry.secrets().clone()
    }

    /// Returns a handle that stops this emulator, presses its button and moves its lid, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Signs in, checks the firmware if configured, and opens the WebSocket. Does nothing if already connected or offline.
    ///
    /// While the service is unreachable or answers something unexpected (a proxy's 403, say), sign-in and opening the
    /// WebSocket are each retried for up to `retry_for_s`. Between them come the firmware check and, if configured, the
    /// download of the firmware (up to 600 s). The handle can stop all of it at any time. After an error it can be called
    /// again, unless the handle has stopped it.
    ///
    /// # Errors
    ///
    /// - [`Error::SignInRefused`] if the credentials are rejected: at once with status 400, 401 or 422, after the timeout
    ///   with 403.
    /// - [`Error::Unreachable`], [`Error::Status`], [`Error::Answer`] or [`Error::TooLarge`] if the service could not be
    ///   reached before the timeout, or only answered what is of no use.
    /// - [`Error::Untrusted`] if its certificate is not trusted: at once, but after the timeout if the certificate has
    ///   expired or is not valid yet, which the clock may be to blame for.
    /// - [`Error::Proxy`] if the proxy does not connect to it: at once with status 407, else after the timeout.
    /// - [`Error::Thread`] if a thread cannot be started.
    /// - [`Error::Interrupted`] if it was stopped, [`Error::NotConnected`] if the emulator has run before.
    pub fn connect(&mut self) -> Result<()> {
        let ServiceSide::Online { tls, link, dial_cancel, request_cancel, session } = &mut self.service else {
            return Ok(());
        };
        if self.client.is_some() {
            return Ok(());
        }
        let Some(peer) = &self.peer else {
            return Err(Error::NotConnected { reason: "this emulator has run and stopped: create another" });
        };
        let Shared { config, messages, telemetry, .. } = &*self.shared;
        let network = Network { tls: tls.clone(), proxy: config.service.proxy.clone(), link: link.clone() };
        let user_agent = config.user_agent();
        let http = |cancel: &CancelToken| Http::new(network.clone(), &user_agent, cancel.clone(), telemetry.clone());
        let session = session.insert(Arc::new(Session::new(config, http(request_cancel))?));
        let tokens = session.credentials().sign_in_with_retries(session.http(), config.service.retry_for)?;
        let token = session.adopt(tokens);
        if config.firmware.check {
            let uplink = self.uplink.as_deref().unwrap_or(&**session);
            run_start_steps(config, &self.table, messages, uplink, telemetry.secrets())?;
        }
        // Sign-ins of later connections have an `Http` of their own: cancelling an action must not interrupt them.
        let again = http(dial_cancel);
        self.client = Some(WsClient::open(config, session, again, network.clone(), Some(token), peer)?);
        self.peer = None;
        if self.uplink.is_some() {
            // All further requests are those of the other uplink.
            session.http().close_idle();
        }
        Ok(())
    }

    /// Runs the actions that the service sends, until the handle stops it. Offline: until the peer has dropped its sender
    /// and all actions have ended.
    ///
    /// An emulator runs once. When it is stopped, it cancels all actions, sends what is queued, and closes the WebSocket,
    /// within two seconds. It waits for a [`Machine`] or an [`Uplink`] of your own: a machine must return when its
    /// [`Controls`] have a stop reason, an uplink when [`Uplink::cancel`] is called.
    ///
    /// A lost connection is not an error: the emulator reconnects until it is stopped, with pauses of up to five minutes,
    /// or of up to an hour if the service asks for that (`Retry-After`).
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`] if [`connect`](Self::connect) has not succeeded, or if this emulator has run before;
    /// [`Error::Thread`] if one of its threads has panicked, or cannot wait for the network.
    pub fn run(&mut self) -> Result<()> {
        let uplink: Arc<dyn Uplink> = match (&self.uplink, &self.service) {
            (_, ServiceSide::Online { .. }) if self.client.is_none() => {
                return Err(Error::NotConnected { reason: "call connect() before run(); an emulator runs once" });
            }
            (Some(uplink), _) => Arc::clone(uplink),
            (None, ServiceSide::Offline(folder)) => Arc::clone(folder) as Arc<dyn Uplink>,
            (None, ServiceSide::Online { session: Some(session), .. }) => Arc::clone(session) as Arc<dyn Uplink>,
            (None, ServiceSide::Online { session: None, .. }) => unreachable!("a client has a session"),
        };
        let online = self.client.is_some();
        let Some(machine) = self.machine.take() else {
            return Err(Error::NotConnected { reason: "this emulator has run and stopped: create another" });
        };
        let jobs = Arc::new(JobStore::new(&self.shared.config));
        let readings = Arc::<LastReadings>::default();
        let second_uplink = uplink.second();
        let main_runner = Runner {
            shared: Arc::clone(&self.shared),
            table: Arc::clone(&self.table),
            uplink: Arc::clone(&uplink),
            jobs: Arc::clone(&jobs),
            machine,
            readings: Arc::clone(&readings),
            session: self.state.of_worker(),
        };
        let second_runner = Runner {
            shared: Arc::new(self.shared.second()),
            table: Arc::clone(&self.table),
            // Without one of its own, the second worker has only actions that make no requests.
            uplink: second_uplink.clone().unwrap_or_else(|| Arc::clone(&uplink)),
            jobs,
            machine: Box::new(Arc::clone(&readings)),
            readings,
            session: self.state.of_worker(),
        };
        // Up to three events for each action, or a panic; the next action of a worker follows the last.
        let (events, worker_events) = bounded(8);
        let second_requests = second_uplink.is_some();
        let event_loop = EventLoop {
            shared: &self.shared,
            table: &self.table,
            rx: &self.rx,
            stopped: &self.stopped,
            main_worker: Worker::new(WorkerId::Main, main_runner, Some(uplink), events.clone()),
            second_worker: Worker::new(WorkerId::Second, second_runner, second_uplink, events),
            worker_events,
            invalid_lines: EventLoop::throttle(),
            ignored_actions: EventLoop::throttle(),
            scheduler: Scheduler::new(!online, second_requests),
            online,
            stopping: false,
            rest_at: None,
            panicked: None,
        };
        let ended = event_loop.run();
        let closed = self.client.take().map_or(Ok(()), WsClient::stop);
        self.shared.messages.close();
        log::info!("stopped");
        if let Some(recorder) = self.shared.telemetry.recorder() {
            recorder.state("stopped", None);
        }
        ended.and(closed)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Handles share the telemetry and may live longer. First the client: its last messages are recorded.
        drop(self.client.take());
        self.shared.telemetry.clear();
    }
}
