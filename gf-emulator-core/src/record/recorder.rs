//! Recording: what notes events, and the thread that writes them.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use tungstenite::Bytes;

use super::attachments::{Attachments, Digest, Unfinished};
use super::entry::{About, Event, Exchange, FORMAT_VERSION, Side};
use super::queue::Queue;
use super::redactor::Redactor;
use super::writer::{Subscribers, Writer};
use crate::secrets::Secrets;
use crate::{Config, Error, Result, files, puls};

/// The file that a recording's entries are in.
pub const SESSION_FILE: &str = "session.jsonl";
/// How long whoever has time for it waits for a queue that is full.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the last one who records waits until everything is written; what is not is left out then.
const WRITE_WITHIN: Duration = Duration::from_millis(1200);
/// How long it waits after that: for a disk that takes nothing at all there is no use in waiting.
const END_WITHIN: Duration = Duration::from_millis(300);
/// Folders of recordings that may have the same name but for a number.
const MOST_NAMESAKES: usize = 1000;

/// Records what a machine and its service say: `session.jsonl` in a folder of its own, pictures and pulse files beside it.
///
/// On Unix the folder (where it is created here) and everything in it are readable by their owner alone.
///
/// Events are queued, and two threads of the recorder's own write them: one the lines, one the files. The queue holds 8 MiB
/// of text and 16 MiB of bodies. Nobody who speaks on a WebSocket ever waits for the disk: where the queue is full, events
/// are left out, and an entry says how many. Lines are handed to the system within a few milliseconds, and not synced.
///
/// Passwords, tokens and the queries of URLs are never written; the serial number only where that is asked for. A recorder
/// that cannot write says so once, in the log, and costs nobody a job.
///
/// Clone it to hand it to several; the last one that goes waits until everything is written, and not for longer than 1.5 s:
/// what is left out then is logged.
///
/// ```
/// use gf_emulator_core::record::{Recorder, Recording};
/// use gf_emulator_core::{Config, Emulator};
///
/// let folder = tempfile::tempdir().unwrap();
/// let config = Config::default();
/// let recorder = Recorder::of_machine(folder.path(), &config)?;
/// let (mut emulator, peer) = Emulator::offline(config, folder.path())?;
/// emulator.record(&recorder);
/// drop((recorder, peer.tx));
/// emulator.run()?;
/// drop(emulator);
///
/// let recording = Recording::open(folder.path())?;
/// assert_eq!(recording.about().generation.as_deref(), Some("2.6"));
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Arc<Queue>,
    secrets: Secrets,
    subscribers: Subscribers,
    /// Files that are still being written.
    #[cfg_attr(not(feature = "follow"), expect(dead_code, reason = "who follows a recording asks"))]
    unfinished: Arc<Unfinished>,
    started: Instant,
    folder: PathBuf,
    about: About,
    thread: Option<JoinHandle<()>>,
    /// Disconnected once everything is written.
    written: Receiver<()>,
    /// Set where no more time is left.
    abandoned: Arc<AtomicBool>,
}

/// An event as it happened, before anything is taken out of it.
pub(crate) enum Raw {
    Event(Event),
    /// A frame of the service: one or more lines.
    In(String),
    /// A frame of a machine.
    Out(tungstenite::Utf8Bytes),
    Http(Box<Exchange>, Body, Body),
}

/// A body on its way into a recording.
#[derive(Default)]
pub(crate) enum Body {
    #[default]
    None,
    /// JSON, a picture, a job: told apart by what it is.
    Bytes(Bytes),
    /// It is in a file that has no name.
    Spilled(fs::File, Digest),
    /// Everything in it is secret; its names are shown.
    Confidential(Bytes),
}

impl Raw {
    /// How many bytes of memory it takes: as text and the like, and as bodies.
    pub(super) fn size(&self) -> (usize, usize) {
        const EVENT_BYTES: usize = 512;
        match self {
            Self::Event(Event::State { detail, .. }) => (EVENT_BYTES + detail.as_ref().map_or(0, String::len), 0),
            Self::Event(_) => (EVENT_BYTES, 0),
            Self::In(text) => (EVENT_BYTES + text.len(), 0),
            Self::Out(text) => (EVENT_BYTES + text.len(), 0),
            Self::Http(exchange, request, response) => {
                let headers = [&exchange.request, &exchange.response].into_iter().flat_map(|part| &part.headers);
                let headers: usize = headers.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
                (2 * EVENT_BYTES + exchange.url.len() + headers, request.len() + response.len())
            }
        }
    }

    pub(super) fn drop_bodies(&mut self) {
        if let Self::Http(_, request, response) = self {
            (*request, *response) = (Body::None, Body::None);
        }
    }
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::Confidential(bytes) => bytes.len(),
            Self::None | Self::Spilled(..) => 0,
        }
    }
}

impl Recorder {
    /// Records a machine's side into `folder`, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the folder cannot be made or written to, or has a recording already; [`Error::Thread`].
    pub fn of_machine(folder: impl AsRef<Path>, config: &Config) -> Result<Self> {
        let shown = config.logging.record_serial;
        let about = About {
            side: Side::Machine,
            generation: Some(config.generation().to_string()),
            firmware: Some(config.machine.firmware.clone()),
            serial: shown.then_some(config.machine.serial),
            service: Some(config.service.server_url.clone()),
            ..About::new()
        };
        let serials = [i64::from(config.machine.serial), config.machine.head_serial.unwrap_or_default()];
        let redactor = Redactor::new(if shown { &[] } else { &serials }, &config.machine.password);
        Self::write_to(begin(folder.as_ref())?, folder.as_ref(), about, redactor, config.motion.limits())
    }

    /// Records a machine's side into a new folder in `parent`: its name is `name`, or `name-2` and so on where that is taken.
    pub(crate) fn of_machine_in(parent: &Path, name: &str, config: &Config) -> Result<Self> {
        Self::of_machine(make_new_folder(parent, name)?, config)
    }

    /// Records a service's side into `folder`: what it sees, which [`observe`](Self::observe) takes. `url` is its own.
    ///
    /// # Errors
    ///
    /// As [`of_machine`](Self::of_machine).
    pub fn of_service(folder: impl AsRef<Path>, url: &str) -> Result<Self> {
        let about = About { side: Side::Service, service: Some(url.to_owned()), ..About::new() };
        let (folder, redactor) = (folder.as_ref(), Redactor::of_strangers());
        Self::write_to(begin(folder)?, folder, about, redactor, puls::Limits::default())
    }

    /// Writes lines to `file`, and files into `folder`; of pulse files those that can be read within `limits`.
    pub(super) fn write_to(
        file: impl io::Write + Send + 'static,
        folder: &Path,
        about: About,
        redactor: Redactor,
        limits: puls::Limits,
    ) -> Result<Self> {
        let no_thread = |e: io::Error| Error::Thread { thread: "gf-recorder", reason: e.to_string() };
        let started = Instant::now();
        let (queue, subscribers) = (Arc::<Queue>::default(), Subscribers::default());
        let (abandoned, secrets) = (Arc::<AtomicBool>::default(), redactor.secrets().clone());
        let attachments = Attachments::start(folder, limits, Arc::clone(&abandoned)).map_err(no_thread)?;
        let unfinished = attachments.unfinished();
        let mut writer = Writer::new(Box::new(file), redactor, Arc::clone(&subscribers), Some(attachments));
        writer.write(Duration::ZERO, SystemTime::now(), Event::Session(about.clone()));
        writer.flush();
        let (writing, written) = bounded(0);
        let (from, folder_name, is_abandoned) = (Arc::clone(&queue), folder.to_owned(), Arc::clone(&abandoned));
        let run = move || {
            let _writing: crossbeam_channel::Sender<()> = writing;
            writer.run(&from, &folder_name, &|| (started.elapsed(), SystemTime::now()), &is_abandoned);
        };
        let thread = thread::Builder::new().name("gf-recorder".into()).spawn(run).map_err(no_thread)?;
        let (folder, thread) = (folder.into(), Some(thread));
        let shared =
            Shared { queue, secrets, subscribers, unfinished, started, folder, about, thread, written, abandoned };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether a recording can begin in `folder`, which need not be there. Nothing is made.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where files cannot be written there, or a recording is there already.
    pub fn can_begin_in(folder: &Path) -> Result<()> {
        files::can_write_in(folder)?;
        if folder.join(SESSION_FILE).symlink_metadata().is_ok() { Err(taken(folder)) } else { Ok(()) }
    }

    /// Where it is recorded.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// What is recorded, and how: the first line.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.shared.about
    }

    /// Every line from now on, as it is written, after all that were written before it: those are in the file.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<Arc<str>> {
        let (to, lines) = unbounded();
        self.shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(to);
        lines
    }

    /// Notes that something changed: `state` in a word, `detail` in words. Waits for up to a second where the disk is
    /// slower than what is noted.
    pub fn state(&self, state: &str, detail: Option<String>) {
        self.note(Raw::Event(Event::State { state: state.to_owned(), action_id: None, detail }));
    }

    /// Notes why an action has not ended well: that is not said on the wire.
    pub(crate) fn ended(&self, action_id: i64, state: &str, why: String) {
        let (state, action_id) = (state.to_owned(), Some(action_id));
        // The thread that decides about actions calls this, and must not wait for a disk.
        self.note_at_once(Raw::Event(Event::State { state, action_id, detail: Some(why) }));
    }

    /// Has everything left out that these hide, now and from now on.
    pub fn hide(&self, secrets: &Secrets) {
        self.shared.secrets.follow(secrets);
    }

    /// Notes an event; waits for up to a second where the disk is slower than what is noted.
    pub(crate) fn note(&self, raw: Raw) {
        self.note_within(raw, PATIENCE);
    }

    /// Notes an event, or leaves it out where there is no room for it: for threads that must not wait for a disk.
    pub(crate) fn note_at_once(&self, raw: Raw) {
        self.note_within(raw, Duration::ZERO);
    }

    fn note_within(&self, raw: Raw, patience: Duration) {
        let clock = || (self.shared.started.elapsed(), SystemTime::now());
        self.shared.queue.note(raw, patience, clock);
    }

    /// Returns once everything that was noted before can be read from the recording, or after a second.
    pub fn flush(&self) {
        self.shared.queue.wait_until_written(PATIENCE);
    }

    /// How far this recorder is; does not keep it from ending.
    #[cfg(feature = "follow")]
    pub(crate) fn progress(&self) -> Progress {
        Progress { queue: Arc::clone(&self.shared.queue), unfinished: Arc::clone(&self.shared.unfinished) }
    }

    /// A file without a name for a body that is too long for memory: nothing of it is left if the program is killed.
    pub(crate) fn spill(&self) -> io::Result<fs::File> {
        tempfile::tempfile_in(&self.shared.folder)
    }
}

/// How far a recorder is with what it has noted.
#[cfg(feature = "follow")]
pub(crate) struct Progress {
    queue: Arc<Queue>,
    unfinished: Arc<Unfinished>,
}

#[cfg(feature = "follow")]
impl Progress {
    /// Returns once everything that was noted before can be read from the recording, or after a second. Files that an
    /// entry names may come later.
    pub(crate) fn flush(&self) {
        self.queue.wait_until_written(PATIENCE);
    }

    /// Whether a file that an entry names is still being written.
    pub(crate) fn is_writing(&self, name: &str) -> bool {
        self.unfinished.has(name)
    }

    /// Something whenever a file is there that was being written, or never will be.
    pub(crate) fn finished_files(&self) -> Receiver<()> {
        self.unfinished.listen()
    }

    /// Has a file count as being written until what this gives is dropped.
    #[cfg(all(test, feature = "follow"))]
    pub(crate) fn begin_file(&self, name: &str) -> impl Drop + use<> {
        self.unfinished.begin(name)
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { doing, path: path.into(), source }
}

/// Makes a folder and those above it, or that folder alone, readable by nobody else.
fn make_folder(folder: &Path, is_recursive: bool) -> io::Result<()> {
    let mut make = fs::DirBuilder::new();
    make.recursive(is_recursive);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut make, 0o700);
    make.create(folder)
}

/// A folder of its own for whoever asks, however many ask at the same time.
fn make_new_folder(parent: &Path, name: &str) -> Result<PathBuf> {
    make_folder(parent, true).map_err(|e| failed("make", parent, e))?;
    for n in 1..=MOST_NAMESAKES {
        let folder = parent.join(if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
        match make_folder(&folder, false) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map_err(|e| failed("make", &folder, e)).map(|()| folder),
        }
    }
    let words = format!("{MOST_NAMESAKES} recordings have that name already; move some of them away");
    Err(failed("make", &parent.join(name), io::Error::new(io::ErrorKind::AlreadyExists, words)))
}

/// Makes the folder and the file of a recording, readable by nobody else.
pub(super) fn begin(folder: &Path) -> Result<fs::File> {
    let mut open = OpenOptions::new();
    open.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    files::can_write_in(folder)?;
    make_folder(folder, true).map_err(|e| failed("make", folder, e))?;
    open.open(folder.join(SESSION_FILE)).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => taken(folder),
        _ => failed("begin a recording in", &folder.join(SESSION_FILE), e),
    })
}

/// The error of a folder that has a recording.
fn taken(folder: &Path) -> Error {
    let words = "there is a recording already; name another folder, or move that recording away";
    let source = io::Error::new(io::ErrorKind::AlreadyExists, words);
    failed("begin a recording in", &folder.join(SESSION_FILE), source)
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
        let Some(thread) = self.thread.take() else { return };
        let mut ended = self.written.recv_timeout(WRITE_WITHIN);
        if ended == Err(RecvTimeoutError::Timeout) {
            self.abandoned.store(true, Ordering::Relaxed);
            ended = self.written.recv_timeout(END_WITHIN);
        }
        if ended == Err(RecvTimeoutError::Timeout) {
            // It is in a call of the system's that nothing ends. It touches nothing but the recording.
            return log::error!(
                "the recording in {} is not whole: the disk takes nothing any more",
                self.folder.display()
            );
        }
        if thread.join().is_err() {
            log::error!("the recorder panicked after {:.0} s", self.started.elapsed().as_secs_f64());
        }
    }
}

impl About {
    pub(super) fn new() -> Self {
        Self {
            format: FORMAT_VERSION,
            recorder: concat!("gf-emulator-core ", env!("CARGO_PKG_VERSION")).to_owned(),
            side: Side::Machine,
            generation: None,
            firmware: None,
            serial: None,
            service: None,
        }
    }
}

/// What things have that can be recorded: a recorder, or none, and the secrets that they must not show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tap(Arc<Tapped>);

#[derive(Debug, Default)]
struct Tapped {
    recorder: Mutex<Option<Recorder>>,
    secrets: Secrets,
}

impl Tap {
    pub(crate) fn open(&self, recorder: &Recorder) {
        let mut open = self.0.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.hide(&self.0.secrets);
        *open = Some(recorder.clone());
    }

    pub(crate) fn recorder(&self) -> Option<Recorder> {
        self.0.recorder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What must not be shown; the recorder hides it as well.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.0.secrets
    }

    /// Notes something, if anybody wants to know: never waits for a disk.
    pub(crate) fn note(&self, raw: impl FnOnce() -> Raw) {
        if let Some(recorder) = self.recorder() {
            recorder.note_at_once(raw());
        }
    }
}
