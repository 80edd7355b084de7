//! The [`Emulator`]: signs in, connects, and does what it is told.
//!
//! The only place that knows all the others. Three threads: the caller of [`Emulator::run`] decides (what comes in, what
//! is done next), one worker does the actions one after the other, and the WebSocket's bridges the queues.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use tungstenite::WebSocket;

use crate::actions::{Action, Ending, Kept, Runner, Signal, Table, Values, end, shown, start, values_of};
use crate::agenda::{Agenda, Decision};
use crate::authentication::{Failure, patiently};
use crate::collection::{Collection, stamp};
use crate::connection::{Connection, Peer, Stopper};
use crate::folder::Folder;
use crate::http::Http;
use crate::machine::{CannedMachine, Controls, Job, Machine};
use crate::net::{Interrupt, Stream, Tls};
use crate::record::{Recorder, Tap};
use crate::session::Session;
use crate::uplink::Uplink;
use crate::voice::Voice;
use crate::websocket::{Route, WsClient};
use crate::{Config, Error, Result, Secret, Secrets};

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
    voice: Arc<Voice>,
    uplink: Way,
    rx: Receiver<String>,
    /// The other end of the queues, until the WebSocket takes it.
    peer: Option<Peer>,
    client: Option<WsClient>,
    machine: Box<dyn Machine>,
    kept: Kept,
    handle: Handle,
    stopped: Receiver<()>,
    tap: Tap,
    on_job: Box<dyn FnMut(&Job) + Send>,
}

/// How to the service.
enum Way {
    /// Not yet: [`Emulator::connect`] makes the session.
    Online { tls: Tls, dialling: Interrupt, working: Interrupt, session: Option<Arc<Session>> },
    /// By files, with no network at all.
    Folder(Arc<Folder>),
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
        let (connection, peer) = Connection::in_memory();
        let way = Way::Online { tls, dialling: Interrupt::default(), working: Interrupt::default(), session: None };
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
        let (connection, peer) = Connection::in_memory();
        let way = Way::Folder(Arc::new(Folder::new(folder.into())));
        Ok((Self::assemble(config, connection, None, way)?, peer))
    }

    fn assemble(config: Config, connection: Connection, peer: Option<Peer>, uplink: Way) -> Result<Self> {
        let table = Arc::new(Table::load(&config)?);
        let voice = Arc::new(Voice::new(connection.tx, &table.line_end));
        let controls = Controls::default();
        let interrupts = match &uplink {
            Way::Online { dialling, working, .. } => vec![dialling.clone(), working.clone()],
            Way::Folder(folder) => vec![folder.interrupt().clone()],
        };
        let handle = Handle {
            controls,
            stopper: connection.stopper,
            interrupts,
            voice: Arc::clone(&voice),
            table: Arc::clone(&table),
            hand: Arc::default(),
        };
        let machine = Box::new(CannedMachine::new(&config));
        let tap = Tap::default();
        tap.secrets().keep(&config.machine.password);
        if let Some(folder) = &config.logging.record_dir {
            tap.open(&Recorder::of_machine(folder.join(stamp()), &config)?);
        }
        log::info!("a {} machine with firmware {}", config.generation(), config.machine.firmware);
        Ok(Self {
            config: Arc::new(config),
            table,
            voice,
            uplink,
            rx: connection.rx,
            peer,
            client: None,
            machine,
            kept: Kept::default(),
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
        self.tap.open(recorder);
    }

    /// What records it, be it by [`record`](Self::record) or because the configuration says so.
    #[must_use]
    pub fn recorder(&self) -> Option<Recorder> {
        self.tap.recorder()
    }

    /// What this emulator knows and nobody should see: its password, its tokens, the queries of its requests, from now on
    /// as well. For a logger, which has every line go through [`Secrets::hide`].
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.tap.secrets().clone()
    }

    /// What stops this emulator, presses its button and opens its lid, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Signs in, checks the firmware where that is configured, and opens the WebSocket. Does nothing where it is
    /// connected already, or offline.
    ///
    /// Blocks, for up to `retry_for_s` while the service is down, or until the handle stops it.
    ///
    /// # Errors
    ///
    /// [`Error::SignInRefused`] where serial number and password are not taken; [`Error::Unreachable`] or
    /// [`Error::Status`] where the service is down; [`Error::Interrupted`] where it was stopped.
    pub fn connect(&mut self) -> Result<()> {
        let Way::Online { tls, dialling, working, session } = &mut self.uplink else { return Ok(()) };
        if self.client.is_some() {
            return Ok(());
        }
        if self.peer.is_none() {
            return Err(Error::NotConnected { reason: "this emulator has run and stopped: make another" });
        }
        // The first sign-in goes over the connection that the requests after it use as well.
        let user_agent = self.config.user_agent();
        let http = Http::new(tls.clone(), &user_agent, working.clone(), self.tap.clone());
        let session = session.insert(Arc::new(Session::new(&self.config, http)?));
        let tokens = session.credentials().sign_in_patiently(session.http(), self.config.service.retry_for)?;
        let token = session.adopt(tokens);
        if self.config.firmware.check {
            start(&self.config, &self.table, &self.voice, &**session)?;
        }
        // Every later one has a client of its own: a cancelled action's interrupt must not end it.
        let again = Http::new(tls.clone(), &user_agent, dialling.clone(), self.tap.clone());
        let of_address = Arc::clone(session);
        let address = move || {
            let tokens = of_address.credentials().sign_in(&again)?;
            Ok(of_address.websocket_url(&of_address.adopt(tokens)))
        };
        let route = Route {
            origin: self.config.service.status_service_url.clone(),
            address: Arc::new(address),
            tls: tls.clone(),
            user_agent,
            interrupt: dialling.clone(),
            tap: self.tap.clone(),
        };
        let socket = open(session, &route, token, self.config.service.retry_for)?;
        if let Some(peer) = self.peer.take() {
            self.client = Some(WsClient::start(socket, route, peer)?);
        }
        Ok(())
    }

    /// Does what the service says, until the handle stops it. Offline: until the peer has dropped its sender and all is
    /// done.
    ///
    /// An emulator runs once: stopped, it stays stopped. It withdraws what is under way, sends what is queued, and closes the WebSocket: within two seconds.
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`] before [`connect`](Self::connect) and after it has stopped; [`Error::SignInRefused`] where
    /// a sign-in for another connection is refused for good; [`Error::Thread`].
    pub fn run(&mut self) -> Result<()> {
        let uplink: Arc<dyn Uplink> = match &self.uplink {
            Way::Folder(folder) => Arc::clone(folder) as Arc<dyn Uplink>,
            Way::Online { session: Some(session), .. } if self.client.is_some() => {
                Arc::clone(session) as Arc<dyn Uplink>
            }
            Way::Online { .. } => {
                return Err(Error::NotConnected { reason: "connect() comes before run(), and an emulator runs once" });
            }
        };
        let collection = Collection::new(&self.config);
        let (to_worker, actions) = bounded::<Action>(1);
        // Two notes an action, and the next action only after the second.
        let (note, notes) = bounded::<Note>(2);
        let (config, table, voice) = (&*self.config, &*self.table, &*self.voice);
        let (machine, kept, on_job) = (&mut *self.machine, &mut self.kept, &mut *self.on_job);
        let controls = &self.handle.controls;
        let work = || {
            let mut runner = Runner {
                config,
                table,
                voice,
                uplink: &*uplink,
                collection: &collection,
                controls,
                machine,
                kept,
                on_job,
            };
            for action in actions {
                log::info!("action {} {}", action.action_type, action.id);
                // Nobody takes notes where the desk is gone, and then there is no next action either.
                runner.run(&action, &|| _ = note.send(Note::Over));
                _ = note.send(Note::Free);
            }
        };
        let mut desk = Desk {
            table,
            voice,
            secrets: self.tap.secrets(),
            controls,
            uplink: &*uplink,
            rx: &self.rx,
            stopped: &self.stopped,
            to_worker,
            notes,
            agenda: if self.client.is_some() { Agenda::default() } else { Agenda::where_jobs_wait() },
            online: self.client.is_some(),
            ending: false,
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
        self.voice.close();
        log::info!("stopped");
        if let Some(recorder) = self.tap.recorder() {
            recorder.state("stopped", None);
        }
        ended.and(closed)
    }
}

/// Opens the first WebSocket. The service may be busy here as at the sign-in, and a firmware download takes longer than
/// the token is good for: then there is another sign-in, and another try, for up to `patience`.
fn open(session: &Session, route: &Route, token: Secret, patience: Duration) -> Result<WebSocket<Stream>> {
    let mut first = Some(token);
    patiently("connecting", &route.interrupt, patience, |left| {
        let token = if let Some(token) = first.take() {
            token
        } else {
            let tokens = session.credentials().sign_in_patiently(session.http(), left).map_err(Failure::Final)?;
            session.adopt(tokens)
        };
        route.dial_to(&session.websocket_url(&token)).map_err(|e| match e {
            Error::Unreachable { .. } | Error::Status { status: 401 | 408 | 425 | 429 | 500.., .. } => {
                Failure::Passing(e)
            }
            other => Failure::Final(other),
        })
    })
}

/// What the worker tells the desk.
#[derive(Clone, Copy)]
enum Note {
    /// The action's ending is settled, and about to be sent.
    Over,
    /// It is done with the action.
    Free,
}

/// What decides: it hears the service, the worker and the handle, and sleeps until one of them has something.
struct Desk<'a> {
    table: &'a Table,
    voice: &'a Voice,
    secrets: &'a Secrets,
    controls: &'a Controls,
    uplink: &'a dyn Uplink,
    rx: &'a Receiver<String>,
    stopped: &'a Receiver<()>,
    to_worker: Sender<Action>,
    notes: Receiver<Note>,
    agenda: Agenda,
    online: bool,
    /// Nothing more is accepted.
    ending: bool,
}

impl Desk<'_> {
    fn run(&mut self) {
        let (mut rx, mut stopped) = (self.rx.clone(), self.stopped.clone());
        loop {
            if !self.agenda.is_busy() {
                match self.agenda.next() {
                    Some(action) => self.give(action),
                    None if self.ending => return,
                    None => {}
                }
            }
            if self.ending {
                rx = never();
            }
            select! {
                recv(rx) -> frame => match frame {
                    Ok(frame) => {
                        // It may answer to what the worker has said, and the worker took note before it said so.
                        while let Ok(note) = self.notes.try_recv() {
                            self.heed(note);
                        }
                        self.hear(&frame);
                    }
                    // Online that is the end of the connection for good: nobody would hear of what is done.
                    Err(_) if self.online => self.stop(),
                    // Offline it is the end of the input: what has been accepted is still done.
                    Err(_) => self.ending = true,
                },
                recv(self.notes) -> note => match note {
                    Ok(note) => self.heed(note),
                    Err(_) => return,
                },
                recv(stopped) -> _ => {
                    // Disconnected, which would be heard again and again.
                    stopped = never();
                    self.stop();
                }
            }
        }
    }

    fn heed(&mut self, note: Note) {
        match note {
            Note::Over => self.agenda.over(),
            Note::Free => self.agenda.finished(),
        }
    }

    /// A frame is one or more lines; a bad one never costs the good ones beside it.
    fn hear(&mut self, frame: &str) {
        for line in frame.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match Action::parse(line) {
                Ok(action) => self.take(action),
                Err(reason) => log::warn!("ignored a line of {} bytes: {reason}", line.len()),
            }
        }
    }

    fn take(&mut self, action: Action) {
        let (id, what) = (action.id, self.secrets.hide(&shown(&action.action_type)));
        match self.agenda.take(action, self.table) {
            Decision::Accepted => {}
            Decision::Ignore(reason) => log::info!("ignored {what} {id}: {reason}"),
            Decision::Refuse(reason) => log::warn!("ignored {what} {id}: {reason}"),
            Decision::CancelRunning => {
                log::info!("{what} {id} is withdrawn");
                self.controls.cancel();
                self.uplink.interrupt().raise();
            }
            Decision::CancelWaiting(action) => self.withdraw(&action),
        }
    }

    /// Ends an action that never began.
    fn withdraw(&self, action: &Action) {
        if let Some(row) = self.table.row(&action.action_type) {
            log::info!("{} {} is withdrawn before its turn", action.action_type, action.id);
            end(row, Ending::Cancelled, self.voice, &values_of(action), &mut |_| Ok(()));
        }
    }

    fn give(&self, action: Action) {
        self.controls.begin();
        self.uplink.interrupt().lower();
        if self.controls.is_stopped() {
            self.uplink.interrupt().raise();
        }
        if self.to_worker.send(action).is_err() {
            log::error!("the worker is gone");
        }
    }

    fn stop(&mut self) {
        self.ending = true;
        self.controls.stop();
        self.uplink.interrupt().raise();
        let withdrawn: Vec<_> = self.agenda.drain().collect();
        for action in &withdrawn {
            self.withdraw(action);
        }
    }
}

/// What reaches an emulator from outside: clone it, and send it to whatever thread has something to say.
///
/// ```no_run
/// use gf_emulator_core::Emulator;
///
/// let mut emulator = Emulator::from_file("gf-machine-emulator.cfg")?;
/// let handle = emulator.handle();
/// std::thread::spawn(move || {
///     let _ = std::io::stdin().read_line(&mut String::new());
///     handle.press_button();
/// });
/// emulator.connect()?;
/// emulator.run()?;
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    controls: Controls,
    stopper: Stopper,
    interrupts: Vec<Interrupt>,
    voice: Arc<Voice>,
    table: Arc<Table>,
    /// What one thread does to button and lid is done and told before another's turn.
    hand: Arc<Mutex<()>>,
}

impl Handle {
    /// Stops the emulator: [`run`](Emulator::run) withdraws what is under way and returns, and a
    /// [`connect`](Emulator::connect) that is under way fails with [`Error::Interrupted`].
    pub fn stop(&self) {
        self.controls.stop();
        for interrupt in &self.interrupts {
            interrupt.raise();
        }
        self.stopper.stop();
    }

    /// Presses the button and lets go of it: a print that waits begins, one that runs pauses, one that pauses goes on.
    pub fn press_button(&self) {
        let _hand = self.hand();
        self.say(Signal::ButtonPressed);
        self.say(Signal::ButtonReleased);
        self.controls.press_button();
    }

    /// Opens the lid: whatever runs stops, parks and is cancelled. Nothing happens where it is open.
    pub fn open_lid(&self) {
        let _hand = self.hand();
        if !self.controls.lid_is_open() {
            self.say(Signal::LidOpened);
            self.controls.open_lid();
        }
    }

    /// Closes the lid. Nothing happens where it is closed.
    pub fn close_lid(&self) {
        let _hand = self.hand();
        if self.controls.lid_is_open() {
            self.say(Signal::LidClosed);
            self.controls.close_lid();
        }
    }

    fn hand(&self) -> MutexGuard<'_, ()> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, signal: Signal) {
        for say in self.table.signal(signal) {
            self.voice.say(say, &Values::new());
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("controls", &self.controls).finish_non_exhaustive()
    }
}
