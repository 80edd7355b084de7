//! The public [`Recorder`].

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::disk_calls::CountedFile;
use super::entry::{About, Event, Side};
use super::file_writer::{FileWriter, PendingFiles};
use super::folder::{self, NewSession};
use super::line_writer::{LineWriter, Subscribers};
use super::queue::{Queue, Stamp};
use super::redactor::Redactor;
use super::unredacted::Unredacted;
use crate::secrets::Secrets;
use crate::sync::lock;
use crate::system::{self, Thread};
use crate::{Config, Error, Result, puls};

/// How long blocking calls wait for a full queue, or a flush for one call to the disk.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long dropping the last clone waits for one call to the disk, before the rest is abandoned.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(1200);
/// How long the threads then have to stop; a disk that does not respond may block them.
const STOP_TIMEOUT: Duration = Duration::from_millis(300);

/// Records the conversation between a machine and its service: `session.jsonl` in a folder of its own, with pictures
/// and pulse files next to it.
///
/// On Unix the folder (if created here) and the files in it are readable only by their owner.
///
/// Events go into a queue (8 MiB of text, 16 MiB of bodies); two threads write lines and files. The WebSocket never
/// waits for the disk: if the queue is full, events are dropped, and an entry says how many. Lines reach the operating
/// system within milliseconds; there is no `fsync`.
///
/// Passwords, tokens and URL queries are never written, the serial number only if the configuration asks for it. A
/// write error is logged once and does not affect the machine.
///
/// Several machines can share a recording: [`of_machines`](Self::of_machines).
///
/// Clones share one recording. Dropping the last one waits until everything is written, or until the disk has not
/// responded for 1.5 s; what is lost then is logged.
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
    /// As [`Entry::machine`](super::Entry::machine).
    machine: Option<u32>,
}

struct Shared {
    queue: Arc<Queue>,
    secrets: Secrets,
    subscribers: Subscribers,
    #[cfg_attr(not(feature = "follow"), expect(dead_code, reason = "only followers ask for it"))]
    pending_files: Arc<PendingFiles>,
    started: Instant,
    folder: PathBuf,
    about: About,
    thread: Option<Thread<()>>,
    /// Disconnected once everything is written.
    finished: Receiver<()>,
}

impl Recorder {
    /// Starts recording a machine into `folder`, which is created if needed.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the folder cannot be created or written to, or already holds a recording; [`Error::Thread`]
    /// if a thread cannot be started.
    pub fn of_machine(folder: impl AsRef<Path>, config: &Config) -> Result<Self> {
        let about = About {
            serial: config.logging.record_serial.then_some(config.machine.serial),
            ..about_machines_like(config)
        };
        Self::start(folder.as_ref(), about, redactor_for(slice::from_ref(config)), config.motion.limits())
    }

    /// Starts recording several machines into one `folder`, which is created if needed. Each of them records with a
    /// [`for_machine`](Self::for_machine) of its own. The first line of the recording describes the first machine. Serial
    /// numbers are recorded only if `record_serial` is set in all `configs`. Without `configs`, they are hidden.
    ///
    /// # Errors
    ///
    /// As [`of_machine`](Self::of_machine).
    pub fn of_machines(folder: impl AsRef<Path>, configs: &[Config]) -> Result<Self> {
        let first = configs.first();
        let about = About {
            machines: u32::try_from(configs.len()).ok(),
            ..first.map_or_else(|| About::new(Side::Machine), about_machines_like)
        };
        let limits = first.map(|config| config.motion.limits()).unwrap_or_default();
        Self::start(folder.as_ref(), about, redactor_for(configs), limits)
    }

    /// Returns a clone that records what happens to the machine with this number, counted from 1: its entries have it in
    /// [`Entry::machine`](super::Entry::machine).
    ///
    /// ```
    /// use gf_emulator_core::Config;
    /// use gf_emulator_core::record::{Recorder, Recording};
    ///
    /// let folder = tempfile::tempdir().unwrap();
    /// let recorder = Recorder::of_machines(folder.path(), &[Config::default(), Config::default()])?;
    /// recorder.for_machine(1).state("stopped", None);
    /// recorder.for_machine(2).state("stopped", None);
    /// drop(recorder);
    ///
    /// let mut second = Recording::open(folder.path())?.of_machine(Some(2))?;
    /// assert_eq!(second.next().unwrap()?.machine, Some(2));
    /// assert!(second.next().is_none());
    /// # Ok::<(), gf_emulator_core::Error>(())
    /// ```
    #[must_use]
    pub fn for_machine(&self, number: u32) -> Self {
        Self { shared: Arc::clone(&self.shared), machine: Some(number) }
    }

    /// Starts recording a machine into a new folder in `parent`: `name`, or `name-2` and so on if that is taken.
    pub(crate) fn of_machine_in(parent: &Path, name: &str, config: &Config) -> Result<Self> {
        Self::of_machine(folder::create_unique(parent, name)?, config)
    }

    /// Starts recording a service into `folder`: what its observer passes to `observe` (feature `local-service`). `url` is
    /// the service's own.
    ///
    /// # Errors
    ///
    /// As [`of_machine`](Self::of_machine).
    pub fn of_service(folder: impl AsRef<Path>, url: &str) -> Result<Self> {
        let about = About { service: Some(url.to_owned()), ..About::new(Side::Service) };
        Self::start(folder.as_ref(), about, Redactor::for_unknown_machines(), puls::Limits::default())
    }

    /// Creates the session file, which has its first line when it gets its name.
    fn start(folder: &Path, about: About, redactor: Redactor, limits: puls::Limits) -> Result<Self> {
        let (session, file) = NewSession::create(folder)?;
        let recorder = Self::write_to(file, folder, about, redactor, limits)?;
        session.publish()?;
        Ok(recorder)
    }

    /// Starts the threads. Lines go to `file`, bodies into `folder`; `limits` bounds the pulse files that are decoded.
    pub(super) fn write_to(
        file: impl io::Write + Send + 'static,
        folder: &Path,
        about: About,
        redactor: Redactor,
        limits: puls::Limits,
    ) -> Result<Self> {
        let no_thread = |e: io::Error| Error::no_thread("gf-recorder", &e);
        let started = system::now();
        let (queue, subscribers) = (Arc::<Queue>::default(), Subscribers::default());
        let secrets = redactor.secrets().clone();
        let file_writer = FileWriter::start(folder, limits, Arc::clone(&queue.disk_calls)).map_err(no_thread)?;
        let pending_files = file_writer.pending();
        let file = Box::new(CountedFile::new(file, &queue.disk_calls));
        let mut writer = LineWriter::new(file, redactor, Arc::clone(&subscribers), Some(file_writer));
        let stamp = Stamp { elapsed: Duration::ZERO, at: system::wall_clock(), machine: None };
        writer.write(stamp, Event::Session(about.clone()));
        let no_line = |source| Error::File { doing: "begin a recording in", path: folder.into(), source };
        writer.finish().map_err(no_line)?;
        let (running, finished) = bounded(0);
        let (input, folder_name) = (Arc::clone(&queue), folder.to_owned());
        let run = move || {
            let _running = Running { queue: &input, _finished: running };
            writer.run(&input, &folder_name, &|| stamp_since(started, None));
        };
        let thread = system::spawn("gf-recorder", run).map_err(no_thread)?;
        let (folder, thread) = (folder.into(), Some(thread));
        let shared = Shared { queue, secrets, subscribers, pending_files, started, folder, about, thread, finished };
        Ok(Self { shared: Arc::new(shared), machine: None })
    }

    /// Checks that a recording can be started in `folder`, which need not exist. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the folder is not writable, or already holds a recording.
    pub fn check_folder(folder: &Path) -> Result<()> {
        folder::check(folder)
    }

    /// Returns the folder of the recording.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Returns the session metadata: the recording's first line.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.shared.about
    }

    /// Returns a channel that receives every line written from now on. All earlier lines are in the file.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<Arc<str>> {
        let (to, lines) = unbounded();
        lock(&self.shared.subscribers).push(to);
        lines
    }

    /// Records a change of state, with an optional explanation. Blocks for up to a second if the queue is full.
    pub fn state(&self, state: &str, detail: Option<String>) {
        self.record(Unredacted::Event(Event::State { state: state.to_owned(), action_id: None, detail }));
    }

    /// Records why an action failed or was cancelled, which is not sent over the wire. Never blocks.
    pub(crate) fn record_ending(&self, action_id: i64, state: &str, reason: String) {
        let (state, action_id) = (state.to_owned(), Some(action_id));
        self.try_record(Unredacted::Event(Event::State { state, action_id, detail: Some(reason) }));
    }

    /// Redacts all values in `secrets`, including those added later.
    pub fn add_secrets(&self, secrets: &Secrets) {
        self.shared.secrets.follow(secrets);
    }

    /// Records an event. Blocks for up to a second if the queue is full.
    pub(crate) fn record(&self, event: Unredacted) {
        self.push(event, TIMEOUT);
    }

    /// Records an event, or drops it if the queue is full. Never blocks.
    pub(crate) fn try_record(&self, event: Unredacted) {
        self.push(event, Duration::ZERO);
    }

    fn push(&self, event: Unredacted, timeout: Duration) {
        self.shared.queue.push(event, timeout, || stamp_since(self.shared.started, self.machine));
    }

    /// Waits until everything recorded so far can be read from the recording, or until the disk has not responded for a
    /// second.
    pub fn flush(&self) {
        self.shared.queue.wait_until_written(TIMEOUT);
    }

    /// Returns a view of the writing progress that does not keep the recording open.
    #[cfg(feature = "follow")]
    pub(crate) fn progress(&self) -> WriteProgress {
        WriteProgress { queue: Arc::clone(&self.shared.queue), pending_files: Arc::clone(&self.shared.pending_files) }
    }

    /// Creates an unnamed temp file for a body too long for memory. It disappears if the program is killed.
    pub(crate) fn create_spill_file(&self) -> io::Result<CountedFile<File>> {
        Ok(CountedFile::new(tempfile::tempfile_in(&self.shared.folder)?, &self.shared.queue.disk_calls))
    }
}

/// Returns the metadata of machines with this configuration, without their serial numbers.
fn about_machines_like(config: &Config) -> About {
    About {
        generation: Some(config.generation().to_string()),
        firmware: Some(config.machine.firmware.clone()),
        service: Some(config.service.server_url.clone()),
        ..About::new(Side::Machine)
    }
}

/// Serial numbers are shown if all machines are configured so.
fn redactor_for(configs: &[Config]) -> Redactor {
    if configs.is_empty() {
        return Redactor::for_unknown_machines();
    }
    let shows_serials = configs.iter().all(|config| config.logging.record_serial);
    let hidden = if shows_serials { &[] } else { configs };
    let serials = |config: &Config| [config.machine.serial.into(), config.machine.head_serial.unwrap_or_default()];
    let serials: Vec<i64> = hidden.iter().flat_map(serials).collect();
    Redactor::new(&serials, configs.iter().map(|config| &config.machine.password))
}

fn stamp_since(started: Instant, machine: Option<u32>) -> Stamp {
    Stamp { elapsed: system::now() - started, at: system::wall_clock(), machine }
}

/// A view of how much a recorder has written.
#[cfg(feature = "follow")]
pub(crate) struct WriteProgress {
    queue: Arc<Queue>,
    pending_files: Arc<PendingFiles>,
}

#[cfg(feature = "follow")]
impl WriteProgress {
    /// As [`Recorder::flush`]. Files named by an entry may still be pending.
    pub(crate) fn flush(&self) {
        self.queue.wait_until_written(TIMEOUT);
    }

    /// Returns whether a file named by an entry is still being written.
    pub(crate) fn is_writing(&self, name: &str) -> bool {
        self.pending_files.contains(name)
    }

    /// Returns a channel that is notified when pending files are written or have failed.
    pub(crate) fn finished_files(&self) -> Receiver<()> {
        self.pending_files.subscribe()
    }

    /// Marks a file as pending until the returned guard is dropped.
    #[cfg(all(test, feature = "follow"))]
    pub(crate) fn begin_file(&self, name: &str) -> impl Drop + use<> {
        self.pending_files.begin(name)
    }
}

/// Held by the writer thread: tells those that wait for it when it ends, also by a panic.
struct Running<'a> {
    queue: &'a Queue,
    _finished: Sender<()>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.queue.end();
    }
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
        let disk_calls = &self.queue.disk_calls;
        let wait = |timeout| {
            disk_calls.wait(|| match system::recv_timeout(&self.finished, timeout) {
                Err(RecvTimeoutError::Timeout) => None,
                Ok(()) | Err(RecvTimeoutError::Disconnected) => Some(()),
            })
        };
        let mut finished = wait(DRAIN_TIMEOUT);
        if finished.is_none() {
            disk_calls.abandon();
            finished = wait(STOP_TIMEOUT);
        }
        if finished.is_none() {
            // The thread is left behind in a blocked system call; it owns nothing but the recording.
            return log::error!("the recording in {} is incomplete: the disk does not respond", self.folder.display());
        }
        if thread.join().is_err() {
            log::error!("the recorder panicked after {:.0} s", (system::now() - self.started).as_secs_f64());
        }
    }
}
