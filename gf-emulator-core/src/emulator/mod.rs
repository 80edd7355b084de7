//! The [`Emulator`]: signs in, connects, and does what it is told.
//!
//! The only place that knows all the others. Three threads: the caller of [`Emulator::run`] decides (what comes in, what
//! is done next: `desk.rs`), one worker does the actions one after the other, and the WebSocket's bridges the queues.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, bounded};

mod collect;
mod event_loop;
mod handle;
mod scheduler;

use self::event_loop::{EventLoop, WorkerEvent};
pub use self::handle::Handle;
use self::scheduler::Scheduler;
use crate::actions::messages::MessageSender;
use crate::actions::{Action, Runner, SessionState, Table, run_start_steps};
use crate::machine::{CannedMachine, Controls, Job, Machine};
use crate::net::http::Http;
use crate::net::{CancelToken, Network, Tls};
use crate::record::{Recorder, RecorderSlot};
use crate::service::{OfflineFolder, Session, Uplink};
use crate::storage::{JobStore, local_timestamp};
use crate::websocket::WsClient;
use crate::websocket::queues::{MachineQueues, Peer};
use crate::{Config, Error, Result, Secrets};

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
/// Nothing is shared between emulators but what they are given: any number live in one process.
pub struct Emulator {
    config: Arc<Config>,
    table: Arc<Table>,
    messages: Arc<MessageSender>,
    uplink: Way,
    rx: Receiver<String>,
    /// The other end of the queues, until the WebSocket takes it.
    peer: Option<Peer>,
    client: Option<WsClient>,
    machine: Box<dyn Machine>,
    kept: SessionState,
    handle: Handle,
    stopped: Receiver<()>,
    tap: RecorderSlot,
    on_job: Box<dyn FnMut(&Job) + Send>,
}

/// How to the service.
enum Way {
    /// Not yet: [`Emulator::connect`] makes the session.
    Online { tls: Tls, dialling: CancelToken, working: CancelToken, session: Option<Arc<Session>> },
    /// By files, with no network at all.
    OfflineFolder(Arc<OfflineFolder>),
}

impl Emulator {
    /// Reads a configuration file and sets up a machine that behaves as it says; connects to nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with everything that is wrong with the file; otherwise as [`new`](Self::new).
    pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Self::new(Config::from_file(path)?)
    }

    /// Sets up a machine; connects to nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], [`Error::Table`] where the actions table is not usable, [`Error::Tls`] or [`Error::File`] where
    /// `ca_file` is not; [`Error::File`] where the recording that the configuration asks for cannot be begun.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        let tls = Tls::new(config.service.ca_file.as_deref())?;
        let (connection, peer) = MachineQueues::in_memory();
        let way = Way::Online { tls, dialling: CancelToken::default(), working: CancelToken::default(), session: None };
        Self::assemble(config, connection, Some(peer), way)
    }

    /// Sets up a machine that reaches no network: what the service would say comes through the [`Peer`], jobs are
    /// `file://` URLs, and what it uploads goes to `folder`. There is nothing to connect: [`run`](Self::run) it.
    ///
    /// Jobs wait their turn here, so that a list of them can be handed over at once.
    ///
    /// ```
    /// use gf_emulator_core::{Config, Emulator};
    ///
    /// let (mut emulator, peer) = Emulator::offline(Config::default(), std::env::temp_dir())?;
    /// peer.tx.send(r#"{"id":1,"action_type":"settings","status":"ready"}"#.into()).unwrap();
    /// drop(peer.tx); // Nothing more will come: the machine finishes what it has, and stops.
    /// emulator.run()?;
    /// assert!(peer.rx.recv().unwrap().text().contains("settings:completed"));
    /// # Ok::<(), gf_emulator_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where the configuration is wrong (who the machine is and where its service is do not count);
    /// [`Error::Table`] where the actions table is not usable.
    pub fn offline(config: Config, folder: impl Into<std::path::PathBuf>) -> Result<(Self, Peer)> {
        config.check_offline()?;
        let (connection, peer) = MachineQueues::in_memory();
        let way = Way::OfflineFolder(Arc::new(OfflineFolder::new(folder.into())));
        Ok((Self::assemble(config, connection, None, way)?, peer))
    }

    fn assemble(config: Config, connection: MachineQueues, peer: Option<Peer>, uplink: Way) -> Result<Self> {
        let table = Arc::new(Table::load(&config)?);
        let messages = Arc::new(MessageSender::new(connection.tx, Arc::clone(&table)));
        let controls = Controls::default();
        let cancels = match &uplink {
            Way::Online { dialling, working, .. } => vec![dialling.clone(), working.clone()],
            Way::OfflineFolder(_) => Vec::new(),
        };
        let handle = Handle {
            controls,
            stopper: connection.stopper,
            cancels,
            messages: Arc::clone(&messages),
            signal_lock: Arc::default(),
        };
        let machine = Box::new(CannedMachine::new(&config));
        let tap = RecorderSlot::default();
        tap.secrets().add(&config.machine.password);
        if let Some(folder) = &config.logging.record_dir {
            tap.set(&Recorder::of_machine_in(folder, &local_timestamp(), &config)?);
        }
        log::info!("a {} machine with firmware {}", config.generation(), config.machine.firmware);
        Ok(Self {
            config: Arc::new(config),
            table,
            messages,
            uplink,
            rx: connection.rx,
            peer,
            client: None,
            machine,
            kept: SessionState::default(),
            handle,
            stopped: connection.stopped,
            tap,
            on_job: Box::new(|_| ()),
        })
    }

    /// Puts another machine behind the protocol in place of the [`CannedMachine`].
    #[must_use]
    pub fn with_machine(mut self, machine: impl Machine + 'static) -> Self {
        self.machine = Box::new(machine);
        self
    }

    /// Replaces the actions table that the configuration selected. Handles use the new one as well.
    #[must_use]
    pub fn with_table(mut self, table: Table) -> Self {
        self.table = Arc::new(table);
        self.messages.set_table(Arc::clone(&self.table));
        self
    }

    /// Has `hear` called with every job that has come, once its action is over; those that this machine refuses as well.
    /// The worker waits for it: it must not wait for the worker.
    pub fn on_job(&mut self, hear: impl FnMut(&Job) + Send + 'static) {
        self.on_job = Box::new(hear);
    }

    /// Uses a TLS connector that others use too, in place of one of its own: `ca_file` does not count then.
    #[must_use]
    pub fn with_tls(mut self, shared: Tls) -> Self {
        if let Way::Online { tls, .. } = &mut self.uplink {
            *tls = shared;
        }
        self
    }

    /// Records what it and its service say from now on. The recording is whole once the emulator is dropped, and with it
    /// the last clone of the recorder.
    pub fn record(&self, recorder: &Recorder) {
        self.tap.set(recorder);
    }

    /// What records it, be it by [`record`](Self::record) or because the configuration says so.
    #[must_use]
    pub fn recorder(&self) -> Option<Recorder> {
        self.tap.recorder()
    }

    /// What this emulator knows and nobody should see: its password, its tokens, the queries of its requests, from now on
    /// as well. For a logger, which has every line go through [`Secrets::redact`].
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.tap.secrets().clone()
    }

    /// What stops this emulator, presses its button and opens its lid, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Signs in, checks the firmware if configured, and opens the WebSocket. Does nothing if already connected or offline.
    ///
    /// Blocks for up to `retry_for_s` while the service is unreachable or answers something unexpected (a proxy's 403,
    /// say), or until the handle stops it. After an error it can be called again, unless the handle has stopped it.
    ///
    /// # Errors
    ///
    /// - [`Error::SignInRefused`] if the credentials are rejected: at once with status 400, 401 or 422, after the timeout
    ///   with 403.
    /// - [`Error::Unreachable`], [`Error::Status`] or [`Error::Answer`] if the service could not be reached until the
    ///   timeout.
    /// - [`Error::Untrusted`] if its certificate is not trusted, [`Error::Proxy`] if the proxy does not connect to it.
    /// - [`Error::Thread`] if a thread cannot be started.
    /// - [`Error::Interrupted`] if it was stopped, [`Error::NotConnected`] if the emulator has run before.
    pub fn connect(&mut self) -> Result<()> {
        let Way::Online { tls, dialling, working, session } = &mut self.uplink else { return Ok(()) };
        if self.client.is_some() {
            return Ok(());
        }
        let Some(peer) = &self.peer else {
            return Err(Error::NotConnected { reason: "this emulator has run and stopped: make another" });
        };
        let network = Network { tls: tls.clone(), proxy: self.config.service.proxy.clone() };
        let user_agent = self.config.user_agent();
        let http = |cancel: &CancelToken| Http::new(network.clone(), &user_agent, cancel.clone(), self.tap.clone());
        let session = session.insert(Arc::new(Session::new(&self.config, http(working))?));
        let tokens = session.credentials().sign_in_with_retries(session.http(), self.config.service.retry_for)?;
        let token = session.adopt(tokens);
        if self.config.firmware.check {
            run_start_steps(&self.config, &self.table, &self.messages, &**session)?;
        }
        // Sign-ins of later connections have an `Http` of their own: cancelling an action must not interrupt them.
        let again = http(dialling);
        self.client = Some(WsClient::open(&self.config, session, again, network.clone(), Some(token), peer)?);
        self.peer = None;
        Ok(())
    }

    /// Does what the service says, until the handle stops it. Offline: until the peer has dropped its sender and all is
    /// done.
    ///
    /// An emulator runs once: stopped, it stays stopped. It withdraws what is under way, sends what is queued, and closes the WebSocket: within two seconds.
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`] before [`connect`](Self::connect) and after it has stopped; [`Error::Thread`]. A connection
    /// that is lost is no error: another one is made, with pauses that grow up to five minutes, until the handle stops it.
    pub fn run(&mut self) -> Result<()> {
        let uplink: Arc<dyn Uplink> = match &self.uplink {
            Way::OfflineFolder(folder) => Arc::clone(folder) as Arc<dyn Uplink>,
            Way::Online { session: Some(session), .. } if self.client.is_some() => {
                Arc::clone(session) as Arc<dyn Uplink>
            }
            Way::Online { .. } => {
                return Err(Error::NotConnected { reason: "connect() comes before run(), and an emulator runs once" });
            }
        };
        let jobs = JobStore::new(&self.config);
        let (to_worker, actions) = bounded::<Action>(1);
        // Two worker_events an action, and the next action only after the second.
        let (note, worker_events) = bounded::<WorkerEvent>(2);
        let (config, table, messages) = (&*self.config, &*self.table, &*self.messages);
        let (machine, kept, on_job) = (&mut *self.machine, &mut self.kept, &mut *self.on_job);
        let (controls, tap) = (&self.handle.controls, &self.tap);
        let work = || {
            let mut runner = Runner {
                config,
                table,
                messages,
                uplink: &*uplink,
                jobs: &jobs,
                controls,
                machine,
                session: kept,
                tap,
                on_job,
            };
            for action in actions {
                log::info!("action {} {}", action.action_type, action.id);
                // Nobody takes worker_events where the desk is gone, and then there is no next action either.
                runner.run(&action, &|| _ = note.send(WorkerEvent::EndingDecided));
                _ = note.send(WorkerEvent::Idle);
            }
        };
        let mut desk = EventLoop {
            table,
            messages,
            secrets: self.tap.secrets(),
            controls,
            tap,
            uplink: &*uplink,
            rx: &self.rx,
            stopped: &self.stopped,
            to_worker,
            worker_events,
            invalid_lines: EventLoop::throttle(),
            ignored_actions: EventLoop::throttle(),
            scheduler: if self.client.is_some() { Scheduler::default() } else { Scheduler::with_waiting_jobs() },
            online: self.client.is_some(),
            stopping: false,
        };
        let ended = thread::scope(|scope| {
            let worker = thread::Builder::new()
                .name("gf-worker".into())
                .spawn_scoped(scope, work)
                .map_err(|e| Error::Thread { thread: "gf-worker", reason: e.to_string() })?;
            desk.run();
            // The worker ends when there is nobody to give it more.
            drop(desk);
            worker.join().map_err(|_| Error::Thread { thread: "gf-worker", reason: "it panicked".into() })
        });
        let closed = self.client.take().map_or(Ok(()), WsClient::stop);
        self.messages.close();
        log::info!("stopped");
        if let Some(recorder) = self.tap.recorder() {
            recorder.state("stopped", None);
        }
        ended.and(closed)
    }
}
