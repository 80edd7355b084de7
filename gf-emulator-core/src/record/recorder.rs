//! Writing a recording.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::entry::{About, Entry, Event, Exchange, FORMAT_VERSION, Message, Side, read_json};
use super::redactor::Redactor;
use crate::{Config, Error, Result, Secret, puls};

/// The file that a recording's entries are in.
pub const SESSION_FILE: &str = "session.jsonl";
/// Notes on their way to the disk; a disk that is slower than this holds up who brings more.
const QUEUE: usize = 1024;
/// What is kept of a message that is no JSON.
const LONGEST_TEXT: usize = 4096;
/// What a JPEG begins with.
const JPEG: &[u8] = b"\xff\xd8\xff";

/// Records what a machine and its service say: `session.jsonl` in a folder of its own, pictures and pulse files beside it.
///
/// A thread writes, one line in one go: whatever ends the program leaves at most one half line behind. Passwords, tokens
/// and the queries of URLs are never written; the serial number only where that is asked for. A recorder that cannot
/// write says so once, in the log, and costs nobody a job.
///
/// Clone it to hand it to several; the last one that goes waits until everything is on the disk.
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
    notes: Option<Sender<Note>>,
    thread: Option<JoinHandle<()>>,
    started: Instant,
    folder: PathBuf,
}

/// What the thread is told.
enum Note {
    Event(Instant, SystemTime, Raw),
    Learn(Secret),
    Subscribe(Sender<Arc<str>>),
}

/// An event as it happened, before anything is taken out of it.
pub(crate) enum Raw {
    Event(Event),
    /// A frame of the service: one or more lines.
    In(String),
    Out(tungstenite::Utf8Bytes),
    Http(Box<Exchange>, Body, Body),
}

/// A body on its way into a recording.
#[derive(Default)]
pub(crate) enum Body {
    #[default]
    None,
    /// JSON, a picture, a job: told apart by what it is.
    Bytes(Vec<u8>),
    /// It is in a file beside the recording already, under a name that is not its own.
    Spilled(NamedTempFile),
    /// Everything in it is secret; its names are shown.
    Confidential(Vec<u8>),
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
        Self::start(folder.as_ref(), about, redactor, SystemTime::now())
    }

    /// Records a service's side.
    ///
    /// # Errors
    ///
    /// As [`of_machine`](Self::of_machine).
    pub fn of_service(folder: impl AsRef<Path>, url: &str) -> Result<Self> {
        let about = About { side: Side::Service, service: Some(url.to_owned()), ..About::new() };
        Self::start(folder.as_ref(), about, Redactor::default(), SystemTime::now())
    }

    pub(super) fn start(folder: &Path, about: About, redactor: Redactor, at: SystemTime) -> Result<Self> {
        let failed = |doing, path: &Path, source| Error::File { doing, path: path.into(), source };
        fs::create_dir_all(folder).map_err(|e| failed("make", folder, e))?;
        let path = folder.join(SESSION_FILE);
        let file = OpenOptions::new().append(true).create_new(true).open(&path);
        let file = file.map_err(|e| failed("begin a recording in", &path, e))?;
        let (notes, queue) = bounded(QUEUE);
        let started = Instant::now();
        let mut scribe = Scribe {
            file,
            folder: folder.into(),
            started,
            redactor,
            next: 0,
            subscribers: Vec::new(),
            pictures: HashMap::new(),
            failed: false,
        };
        scribe.write(started, at, Event::Session(about));
        let thread = thread::Builder::new()
            .name("gf-recorder".into())
            .spawn(move || scribe.run(&queue))
            .map_err(|e| Error::Thread { thread: "gf-recorder", reason: e.to_string() })?;
        let shared = Shared { notes: Some(notes), thread: Some(thread), started, folder: folder.into() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where it is recorded.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Every line from now on, as it is written, after all that were written before it: those are in the file.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<Arc<str>> {
        let (to, lines) = unbounded();
        self.tell(Note::Subscribe(to));
        lines
    }

    /// Notes that something changed: `state` in a word, `detail` in words.
    pub fn state(&self, state: &str, detail: Option<String>) {
        self.note(Raw::Event(Event::State { state: state.to_owned(), detail }));
    }

    pub(crate) fn note(&self, raw: Raw) {
        self.tell(Note::Event(Instant::now(), SystemTime::now(), raw));
    }

    /// Notes what happened at another time: so long after the beginning, at that time of day.
    pub(super) fn note_after(&self, after: Duration, at: SystemTime, raw: Raw) {
        if let Some(when) = self.shared.started.checked_add(after) {
            self.tell(Note::Event(when, at, raw));
        }
    }

    pub(crate) fn learn(&self, secret: &Secret) {
        self.tell(Note::Learn(secret.clone()));
    }

    /// A file beside the recording for a body that is too long for memory.
    pub(crate) fn spill(&self) -> io::Result<NamedTempFile> {
        spill(&self.shared.folder)
    }

    fn tell(&self, note: Note) {
        // It is gone only where it has panicked, and that has been seen by then.
        if let Some(notes) = &self.shared.notes {
            let _ = notes.send(note);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("folder", &self.shared.folder).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.notes = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
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

/// Where a recorder may be, or not: what things that can be recorded have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tap(Arc<Mutex<Option<Recorder>>>);

impl Tap {
    pub(crate) fn open(&self, recorder: &Recorder) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(recorder.clone());
    }

    pub(crate) fn recorder(&self) -> Option<Recorder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes something, if anybody wants to know.
    pub(crate) fn note(&self, raw: impl FnOnce() -> Raw) {
        if let Some(recorder) = self.recorder() {
            recorder.note(raw());
        }
    }
}

/// The thread's own.
struct Scribe {
    file: File,
    folder: PathBuf,
    started: Instant,
    redactor: Redactor,
    next: u64,
    subscribers: Vec<Sender<Arc<str>>>,
    /// Pictures that have a file: a canned machine sends the same ones again and again.
    pictures: HashMap<Fingerprint, String>,
    failed: bool,
}

/// Tells pictures apart: length and checksum, and some of its bytes.
#[derive(PartialEq, Eq, Hash)]
struct Fingerprint(usize, u32, [u8; 16]);

impl Scribe {
    fn run(mut self, notes: &Receiver<Note>) {
        for note in notes {
            match note {
                Note::Learn(secret) => self.redactor.learn(secret),
                Note::Subscribe(to) => self.subscribers.push(to),
                Note::Event(when, at, raw) => self.take(when, at, raw),
            }
        }
    }

    fn take(&mut self, when: Instant, at: SystemTime, raw: Raw) {
        match raw {
            Raw::Event(event) => self.write(when, at, event),
            Raw::Out(text) => {
                let message = self.message(&text);
                self.write(when, at, Event::Out(message));
            }
            Raw::In(frame) => {
                for line in frame.split_inclusive('\n').filter(|line| !line.trim().is_empty()) {
                    let message = self.message(line);
                    self.write(when, at, Event::In(message));
                }
            }
            Raw::Http(mut exchange, request, response) => {
                exchange.request.json = self.body(request, "request").take_json(&mut exchange.request.file);
                exchange.response.json = self.body(response, "response").take_json(&mut exchange.response.file);
                self.write(when, at, Event::Http(exchange));
            }
        }
    }

    fn message(&self, line: &str) -> Message {
        let bytes = line.len() as u64;
        if let Ok(mut json) = serde_json::from_str::<Value>(line.trim()) {
            self.redactor.json(&mut json);
            return Message { bytes, json: Some(json), text: None };
        }
        let text: String = self.redactor.text(line).chars().take(LONGEST_TEXT).collect();
        Message { bytes, json: None, text: Some(text) }
    }

    /// What a body is in a recording: JSON in the line, or a file beside it.
    fn body(&mut self, body: Body, of: &str) -> Kept {
        match body {
            Body::None => Kept::Nothing,
            Body::Confidential(bytes) => Kept::Json(names_only(&bytes)),
            Body::Bytes(bytes) if bytes.is_empty() => Kept::Nothing,
            Body::Bytes(bytes) => {
                if let Some(mut json @ (Value::Object(_) | Value::Array(_))) = read_json(&bytes) {
                    self.redactor.json(&mut json);
                    return Kept::Json(json);
                }
                self.keep(&bytes, of).map_or(Kept::Nothing, Kept::File)
            }
            Body::Spilled(file) => self.place(file, of).map_or(Kept::Nothing, Kept::File),
        }
    }

    /// Puts bytes into a file of their own.
    fn keep(&mut self, bytes: &[u8], of: &str) -> Option<String> {
        let fingerprint = bytes.starts_with(JPEG).then(|| fingerprint(bytes));
        if let Some(name) = fingerprint.as_ref().and_then(|known| self.pictures.get(known)) {
            return Some(name.clone());
        }
        let file = spill(&self.folder).and_then(|mut file| file.write_all(bytes).map(|()| file));
        let name = match file {
            Ok(file) => self.place(file, of)?,
            Err(e) => {
                self.fail(&e);
                return None;
            }
        };
        if let Some(fingerprint) = fingerprint {
            self.pictures.insert(fingerprint, name.clone());
        }
        Some(name)
    }

    /// Gives a file its name, by what is in it.
    fn place(&mut self, file: NamedTempFile, of: &str) -> Option<String> {
        let placed = || -> io::Result<String> {
            let mut start = Vec::new();
            File::open(file.path())?.take(8).read_to_end(&mut start)?;
            let ending = ending_of(&start);
            let file = if ending == "puls" { self.unlocked(file)? } else { file };
            let name = format!("{:06}_{of}.{ending}", self.next);
            file.persist(self.folder.join(&name)).map_err(|e| e.error)?;
            Ok(name)
        }();
        placed.map_err(|e| self.fail(&e)).ok()
    }

    /// A pulse file, without its lock where that is the number to be hidden.
    fn unlocked(&self, file: NamedTempFile) -> io::Result<NamedTempFile> {
        let Ok(mut job) = puls::Job::open(File::open(file.path())?) else { return Ok(file) };
        let mut header = job.header().clone();
        let replaced = self.redactor.serials().iter().filter_map(|&serial| u32::try_from(serial).ok());
        let replaced = replaced.filter(|&serial| header.replace(serial, 0)).count();
        if replaced == 0 {
            return Ok(file);
        }
        let mut open = spill(&self.folder)?;
        open.write_all(&header.encode())?;
        // As far as it is whole: what is broken has been noted with the exchange, or is seen when it is read.
        while let Ok(Some(chunk)) = job.next_chunk() {
            open.write_all(chunk)?;
        }
        Ok(open)
    }

    fn write(&mut self, when: Instant, at: SystemTime, event: Event) {
        if self.failed {
            return;
        }
        let t = when.saturating_duration_since(self.started).as_secs_f64();
        let at = jiff::Timestamp::try_from(at).unwrap_or_default();
        let entry = Entry { n: self.next, t: (t * 1e6).round() / 1e6, at: format!("{at:.3}"), event };
        let Ok(mut line) = serde_json::to_string(&entry) else { return };
        line.push('\n');
        // In one go, so that there is never more than one half line.
        if let Err(e) = self.file.write_all(line.as_bytes()) {
            self.fail(&e);
            return;
        }
        self.next += 1;
        if !self.subscribers.is_empty() {
            let line: Arc<str> = line.into();
            self.subscribers.retain(|subscriber| subscriber.send(Arc::clone(&line)).is_ok());
        }
    }

    fn fail(&mut self, why: &dyn fmt::Display) {
        if !self.failed {
            self.failed = true;
            log::error!("the recording in {} ends here: {why}", self.folder.display());
        }
    }
}

/// What became of a body.
enum Kept {
    Nothing,
    Json(Value),
    File(String),
}

impl Kept {
    fn take_json(self, file: &mut Option<String>) -> Option<Value> {
        match self {
            Self::Nothing => None,
            Self::Json(json) => Some(json),
            Self::File(name) => {
                *file = Some(name);
                None
            }
        }
    }
}

fn spill(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // As any other file: the umask decides who reads it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".recording-").suffix(".part").tempfile_in(folder)
}

fn fingerprint(bytes: &[u8]) -> Fingerprint {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let mut some = [0; 16];
    let step = (bytes.len() / some.len()).max(1);
    for (to, from) in some.iter_mut().zip(bytes.iter().step_by(step)) {
        *to = *from;
    }
    Fingerprint(bytes.len(), crc.sum(), some)
}

/// By what it is, and never by what somebody calls it.
fn ending_of(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(JPEG) {
        "jpg"
    } else if bytes.get(1..4) == Some(b"GF1") || bytes.starts_with(&[0x1f, 0x8b]) {
        "puls"
    } else {
        "bin"
    }
}

/// A JSON object of which only the names are left.
fn names_only(bytes: &[u8]) -> Value {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => fields.into_iter().map(|(name, _)| (name, Value::from("***"))).collect(),
        _ => Value::from("***"),
    }
}
