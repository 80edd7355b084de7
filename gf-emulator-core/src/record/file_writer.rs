//! Writes bodies to files next to the recording, on a thread of its own: redacted and atomic.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TrySendError, bounded, unbounded};
use flate2::Compression;
use flate2::write::GzEncoder;
use tungstenite::Bytes;

use super::disk_calls::{CountedFile, DiskCalls};
use super::queue::Reservation;
use super::unredacted::{Body, Digest};
use crate::secrets::{MaskingWriter, RedactingWriter, Secrets};
use crate::storage::AtomicFile;
use crate::sync::lock;
use crate::system::{self, Thread};
use crate::{Error, puls};

/// Capacity of the job queue.
const MAX_QUEUED: usize = 64;
/// How long the line writer waits for a full job queue while the thread waits for the disk.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Memory for bodies that new ones are compared with.
const MAX_CACHED_BYTES: usize = 4 << 20;
/// Number of digests of bodies that have a file.
const MAX_DIGESTS: usize = 1024;
const BUFFER_BYTES: usize = 64 << 10;

/// What a body is, by its content. Headers and names are not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    Picture,
    Job,
    Other,
}

impl BodyKind {
    pub(super) fn of(start: &[u8]) -> Self {
        if start.starts_with(b"\xff\xd8\xff") {
            Self::Picture
        } else if puls::Encoding::detect(start).is_some() {
            Self::Job
        } else {
            Self::Other
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Picture => "jpg",
            Self::Job => "puls",
            Self::Other => "bin",
        }
    }
}

/// Finds the file of a body that was recorded before: a canned machine sends the same pictures again and again.
///
/// Recent bodies up to 4 MiB in total are compared byte by byte, which is cheaper than hashing each new one. Beyond
/// that, and for bodies in temp files, the 1024 most recently used digests are kept.
#[derive(Default)]
pub(super) struct BodyCache {
    bodies: VecDeque<(Bytes, String)>,
    cached_bytes: usize,
    /// Least recently used first.
    digests: VecDeque<(Digest, String)>,
}

impl BodyCache {
    /// Returns the file that already has this body. Otherwise remembers it under `name` and returns `None`.
    pub(super) fn find_or_insert(&mut self, body: &Body, name: &str) -> Option<&str> {
        match body {
            Body::Bytes(bytes) => {
                if let Some(at) = self.bodies.iter().position(|(cached, _)| is_same(cached, bytes)) {
                    return Some(&self.bodies[at].1);
                }
                let digest = Some(bytes).filter(|_| !self.digests.is_empty()).map(|bytes| Digest::of(bytes));
                if !digest.is_some_and(|digest| self.touch(digest)) {
                    self.insert(bytes.clone(), name.to_owned());
                    return None;
                }
            }
            Body::Spilled(_, digest) => {
                if !self.touch(*digest) {
                    self.insert_digest(*digest, name.to_owned());
                    return None;
                }
            }
            Body::None | Body::Confidential(_) => return None,
        }
        self.digests.back().map(|(_, name)| name.as_str())
    }

    /// Moves the entry of `digest` to the back. Returns whether there is one.
    fn touch(&mut self, digest: Digest) -> bool {
        let found = self.digests.iter().position(|(known, _)| *known == digest);
        let found = found.and_then(|at| self.digests.remove(at));
        let exists = found.is_some();
        self.digests.extend(found);
        exists
    }

    fn insert_digest(&mut self, digest: Digest, name: String) {
        if self.digests.len() == MAX_DIGESTS {
            self.digests.pop_front();
        }
        self.digests.push_back((digest, name));
    }

    fn insert(&mut self, bytes: Bytes, name: String) {
        self.cached_bytes += bytes.len();
        self.bodies.push_back((bytes, name));
        while self.cached_bytes > MAX_CACHED_BYTES
            && let Some((bytes, name)) = self.bodies.pop_front()
        {
            self.cached_bytes -= bytes.len();
            self.insert_digest(Digest::of(&bytes), name);
        }
    }

    /// Removes a file that could not be written.
    pub(super) fn remove(&mut self, name: &str) {
        self.bodies.retain(|(_, known)| known != name);
        self.cached_bytes = self.bodies.iter().map(|(bytes, _)| bytes.len()).sum();
        self.digests.retain(|(_, known)| known != name);
    }
}

/// Returns whether two bodies are equal. Machines that send the same picture share its memory.
fn is_same(one: &Bytes, other: &Bytes) -> bool {
    (one.as_ptr() == other.as_ptr() && one.len() == other.len()) || one == other
}

/// A body to be written to a file.
pub(super) struct FileJob {
    pub(super) body: Body,
    pub(super) name: String,
    pub(super) kind: BodyKind,
    pub(super) secrets: Secrets,
    /// Serial numbers to remove from pulse files.
    pub(super) serials: Arc<[u32]>,
    /// Held until the file is written.
    pub(super) reservation: Option<Arc<Reservation>>,
}

/// The files that entries name and that are not written yet, with subscribers to their completion.
#[derive(Default)]
pub(super) struct PendingFiles {
    names: Mutex<HashSet<String>>,
    subscribers: Mutex<Vec<Sender<()>>>,
}

impl PendingFiles {
    /// Marks a file as pending until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, name: &str) -> PendingFile {
        lock(&self.names).insert(name.to_owned());
        PendingFile { all: Arc::clone(self), name: name.to_owned() }
    }

    #[cfg(feature = "follow")]
    pub(super) fn contains(&self, name: &str) -> bool {
        lock(&self.names).contains(name)
    }

    /// Returns a channel that is notified when files are finished; several may share one notification.
    #[cfg(feature = "follow")]
    pub(super) fn subscribe(&self) -> Receiver<()> {
        let (to, finished) = bounded(1);
        lock(&self.subscribers).push(to);
        finished
    }
}

/// Marks one file as pending.
pub(super) struct PendingFile {
    all: Arc<PendingFiles>,
    name: String,
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        lock(&self.all.names).remove(&self.name);
        let is_alive = |to: &Sender<()>| !matches!(to.try_send(()), Err(TrySendError::Disconnected(())));
        lock(&self.all.subscribers).retain(is_alive);
    }
}

/// The thread that writes files, with its job queue and its failures.
pub(super) struct FileWriter {
    /// Writes in the caller's thread instead; with the names of files written since they were last asked for.
    inline: Option<(Worker, Vec<String>)>,
    jobs: Option<Sender<(FileJob, PendingFile)>>,
    pending: Arc<PendingFiles>,
    failed: Sender<(String, String)>,
    failures: Receiver<(String, String)>,
    disk_calls: Arc<DiskCalls>,
    /// A job was not queued in time, and none has been queued since.
    is_stalled: bool,
    thread: Option<Thread<()>>,
}

impl FileWriter {
    /// Starts the thread. Once `disk_calls` are abandoned, the remaining jobs fail. `limits` bounds the jobs that are
    /// decoded.
    pub(super) fn start(folder: &Path, limits: puls::Limits, disk_calls: Arc<DiskCalls>) -> io::Result<Self> {
        let (jobs, queue) = bounded(MAX_QUEUED);
        let worker = Worker { folder: folder.into(), limits, disk_calls: Arc::clone(&disk_calls) };
        let mut writer = Self::new(Some(jobs), disk_calls);
        let report = writer.failed.clone();
        let run = move || {
            while let Ok((job, pending)) = system::recv(&queue) {
                let FileJob { body, name, kind, secrets, serials, reservation } = job;
                if let Err(e) = worker.write(body, &name, kind, &secrets, &serials) {
                    let _ = report.send((name, e.to_string()));
                }
                drop((reservation, pending));
            }
        };
        writer.thread = Some(system::spawn("gf-recorder-files", run)?);
        Ok(writer)
    }

    /// Writes each file at once, in the caller's thread: for an import, which may wait for the disk.
    pub(super) fn inline(folder: &Path, limits: puls::Limits) -> Self {
        let worker = Worker { folder: folder.into(), limits, disk_calls: Arc::default() };
        Self { inline: Some((worker, Vec::new())), ..Self::new(None, Arc::default()) }
    }

    /// Creates a writer whose jobs nobody writes yet.
    pub(super) fn new(jobs: Option<Sender<(FileJob, PendingFile)>>, disk_calls: Arc<DiskCalls>) -> Self {
        let (failed, failures) = unbounded();
        let pending = Arc::default();
        Self { inline: None, jobs, pending, failed, failures, disk_calls, is_stalled: false, thread: None }
    }

    /// Returns the names of the files written [inline](Self::inline) since the last call.
    pub(super) fn take_written(&mut self) -> Vec<String> {
        self.inline.as_mut().map(|(_, written)| std::mem::take(written)).unwrap_or_default()
    }

    /// Queues a file. If the queue is full, waits for room, unless the disk does not respond for a second.
    pub(super) fn push(&mut self, job: FileJob) {
        if let Some((worker, written)) = &mut self.inline {
            let FileJob { body, name, kind, secrets, serials, reservation: _ } = job;
            match worker.write(body, &name, kind, &secrets, &serials) {
                Ok(()) => written.push(name),
                Err(e) => drop(self.failed.send((name, e.to_string()))),
            }
            return;
        }
        let Some(jobs) = &self.jobs else { return };
        let name = job.name.clone();
        let pending = self.pending.begin(&name);
        let mut unsent = Some((job, pending));
        let mut try_for = |timeout| match system::send_timeout(jobs, unsent.take()?, timeout) {
            Ok(()) => Some(true),
            Err(SendTimeoutError::Disconnected(_)) => Some(false),
            Err(SendTimeoutError::Timeout(job)) => {
                unsent = Some(job);
                None
            }
        };
        let sent = if self.is_stalled { try_for(Duration::ZERO) } else { self.disk_calls.wait(|| try_for(TIMEOUT)) };
        self.is_stalled = sent.is_none();
        let why = match sent {
            Some(true) => return,
            Some(false) => "its thread has ended",
            None => "the disk is too slow",
        };
        let _ = self.failed.send((name, why.into()));
    }

    pub(super) fn pending(&self) -> Arc<PendingFiles> {
        Arc::clone(&self.pending)
    }

    /// Returns the next file that could not be written, and the reason.
    pub(super) fn next_failure(&self) -> Option<(String, String)> {
        self.failures.try_recv().ok()
    }

    /// Waits for all queued files.
    pub(super) fn finish(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            let _ = self.failed.send(("a file".into(), "its thread panicked".into()));
        }
    }
}

/// The thread's state.
struct Worker {
    folder: PathBuf,
    limits: puls::Limits,
    disk_calls: Arc<DiskCalls>,
}

impl Worker {
    fn write(&self, body: Body, name: &str, kind: BodyKind, secrets: &Secrets, serials: &[u32]) -> io::Result<()> {
        let mut body: Box<dyn ReadSeek> = match body {
            Body::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Body::Spilled(file, _) => Box::new(file),
            Body::None | Body::Confidential(_) => return Ok(()),
        };
        self.check_abandoned()?;
        body.rewind()?;
        let file = {
            let _call = self.disk_calls.begin();
            AtomicFile::create_private(&self.folder.join(name)).map_err(io_error)?
        };
        let file = CountedFile::new(file, &self.disk_calls);
        let matcher = secrets.matcher();
        let file = if kind == BodyKind::Job {
            self.copy_job(&mut *body, MaskingWriter::new(file, matcher), serials)?
        } else if kind == BodyKind::Other && is_text(&mut *body)? {
            self.copy(&mut *body, MaskingWriter::new(RedactingWriter::new(file), matcher))?.finish()?.finish()?
        } else {
            self.copy(&mut *body, MaskingWriter::new(file, matcher))?.finish()?
        };
        file.finish(|file| file.persist_unsynced().map(drop).map_err(io_error))
    }

    /// Copies a pulse file with `serials` replaced by 0. A gzip file stays one.
    fn copy_job(
        &self,
        body: &mut dyn ReadSeek,
        mut to: MaskingWriter<CountedFile<AtomicFile>>,
        serials: &[u32],
    ) -> io::Result<CountedFile<AtomicFile>> {
        let locked = match puls::Job::with_limits(&mut *body, self.limits) {
            Ok(job) => {
                let mut header = job.header().clone();
                let count = serials.iter().filter(|&&serial| header.replace_serial(serial, 0)).count();
                (count > 0).then_some((job, header))
            }
            Err(_) => None,
        };
        let Some((mut job, header)) = locked else {
            body.rewind()?;
            return self.copy(body, to)?.finish();
        };
        if job.is_gzip() {
            let mut gzip = GzEncoder::new(to, Compression::new(3));
            gzip.write_all(&header.encode())?;
            self.copy_steps(&mut job, &mut gzip)?;
            gzip.finish()?.finish()
        } else {
            to.write_all(&header.encode())?;
            self.copy_steps(&mut job, &mut to)?;
            to.finish()
        }
    }

    /// Copies steps up to the first that cannot be decoded: a truncated download is recorded as far as it goes.
    fn copy_steps<R: Read>(&self, job: &mut puls::Job<R>, to: &mut dyn Write) -> io::Result<()> {
        loop {
            match job.next_chunk() {
                Ok(Some(chunk)) => to.write_all(chunk)?,
                Err(e @ puls::Error::TooLarge { .. }) => return Err(io::Error::other(e)),
                Ok(None) | Err(_) => return Ok(()),
            }
            self.check_abandoned()?;
        }
    }

    fn copy<W: Write>(&self, from: &mut dyn ReadSeek, mut to: W) -> io::Result<W> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(to),
                Ok(read) => to.write_all(&buffer[..read])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            self.check_abandoned()?;
        }
    }

    fn check_abandoned(&self) -> io::Result<()> {
        if self.disk_calls.is_abandoned() {
            return Err(io::Error::other("the program ended before it was written"));
        }
        Ok(())
    }
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Returns the I/O error without the path, which an entry of the recording does not need.
fn io_error(error: Error) -> io::Error {
    match error {
        Error::File { source, .. } => source,
        other => io::Error::other(other),
    }
}

/// Returns whether a body starts with UTF-8 text without NUL.
fn is_text(body: &mut dyn ReadSeek) -> io::Result<bool> {
    let mut start = Vec::new();
    body.take(BUFFER_BYTES as u64).read_to_end(&mut start)?;
    body.rewind()?;
    // The last character may be cut off.
    let is_utf8 = std::str::from_utf8(&start).map_or_else(|e| e.valid_up_to() + 4 > start.len(), |_| true);
    Ok(is_utf8 && !start.contains(&0))
}
