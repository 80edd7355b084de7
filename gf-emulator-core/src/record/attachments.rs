//! Bodies that become files beside a recording: written by a thread of their own, without secrets, whole or not at all.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::Digest as _;
use tempfile::NamedTempFile;
use tungstenite::Bytes;

use super::queue::Room;
use super::recorder::Body;
use crate::puls;
use crate::secrets::{Cleaned, Masked, Secrets};

/// So much of a body tells what it is.
pub(super) const START_BYTES: usize = 64;
/// JSON that is longer is not taken apart: it is text then.
pub(super) const SPILLED_JSON_BYTES: usize = 1 << 20;
/// Files that wait to be written.
const QUEUE: usize = 64;
/// How long the lines wait for the files where there are so many.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bodies that are kept in memory, to be compared with others.
const MOST_KEPT_BYTES: usize = 4 << 20;
/// Digests of bodies that have a file.
const MOST_DIGESTS: usize = 1024;
const COPY_BYTES: usize = 64 << 10;

/// What a body is, by its content and never by what somebody calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Picture,
    Job,
    Other,
}

impl Kind {
    pub(super) fn of(start: &[u8]) -> Self {
        if start.starts_with(b"\xff\xd8\xff") {
            Self::Picture
        } else if puls::Encoding::detect(start).is_some() {
            Self::Job
        } else {
            Self::Other
        }
    }

    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Picture => "jpg",
            Self::Job => "puls",
            Self::Other => "bin",
        }
    }
}

/// Tells bodies apart: SHA-256 of all of one, since a service may choose what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut digester = Digester::default();
        digester.update(bytes);
        digester.finish()
    }
}

/// A [`Digest`] of what comes in pieces.
#[derive(Default)]
pub(super) struct Digester(sha2::Sha256);

impl Digester {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The bodies that have a file already: a canned machine sends the same pictures again and again.
///
/// As many as fit are kept as they are, since comparing them costs next to nothing. Of those that do not fit, and of
/// those that are in a file anyway, the digest is kept: of the 1024 that came last. A body that comes again after so many
/// others gets a second file.
#[derive(Default)]
pub(super) struct Known {
    kept: VecDeque<(Bytes, String)>,
    kept_bytes: usize,
    /// The one that came last is the last.
    digests: VecDeque<(Digest, String)>,
}

impl Known {
    /// The name of the file that has this body already; otherwise it is the one of this name from now on.
    pub(super) fn name_of(&mut self, body: &Body, name: &str) -> Option<&str> {
        match body {
            Body::Bytes(bytes) => {
                if let Some(at) = self.kept.iter().position(|(kept, _)| kept == bytes) {
                    return Some(&self.kept[at].1);
                }
                let digest = Some(bytes).filter(|_| !self.digests.is_empty()).map(|bytes| Digest::of(bytes));
                if !digest.is_some_and(|digest| self.comes_again(digest)) {
                    self.keep(bytes.clone(), name.to_owned());
                    return None;
                }
            }
            Body::Spilled(_, digest) => {
                if !self.comes_again(*digest) {
                    self.add(*digest, name.to_owned());
                    return None;
                }
            }
            Body::None | Body::Confidential(_) => return None,
        }
        self.digests.back().map(|(_, name)| name.as_str())
    }

    /// Whether there is a file with this digest: it is the one that came last then.
    fn comes_again(&mut self, digest: Digest) -> bool {
        let known = self.digests.iter().position(|(known, _)| *known == digest);
        let known = known.and_then(|at| self.digests.remove(at));
        let is_known = known.is_some();
        self.digests.extend(known);
        is_known
    }

    fn add(&mut self, digest: Digest, name: String) {
        if self.digests.len() == MOST_DIGESTS {
            self.digests.pop_front();
        }
        self.digests.push_back((digest, name));
    }

    fn keep(&mut self, bytes: Bytes, name: String) {
        self.kept_bytes += bytes.len();
        self.kept.push_back((bytes, name));
        while self.kept_bytes > MOST_KEPT_BYTES
            && let Some((bytes, name)) = self.kept.pop_front()
        {
            self.kept_bytes -= bytes.len();
            self.add(Digest::of(&bytes), name);
        }
    }

    /// There is no file of that name after all.
    pub(super) fn forget(&mut self, name: &str) {
        self.kept.retain(|(_, known)| known != name);
        self.kept_bytes = self.kept.iter().map(|(bytes, _)| bytes.len()).sum();
        self.digests.retain(|(_, known)| known != name);
    }
}

/// A body that is to become a file.
pub(super) struct Attachment {
    pub(super) body: Body,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) secrets: Secrets,
    pub(super) serials: Vec<u32>,
    /// Held until it is written.
    pub(super) room: Option<Arc<Room>>,
}

/// The files that entries name and that are not there yet, and who hears when one is, or never will be.
#[derive(Default)]
pub(super) struct Unfinished {
    names: Mutex<HashSet<String>>,
    listeners: Mutex<Vec<Sender<()>>>,
}

impl Unfinished {
    /// One more, until what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>, name: &str) -> InProgress {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        InProgress { all: Arc::clone(self), name: name.to_owned() }
    }

    /// Whether that file is being written, or waits for it.
    #[cfg(feature = "follow")]
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Something after each that is finished from now on; several may have one in common.
    #[cfg(feature = "follow")]
    pub(super) fn listen(&self) -> Receiver<()> {
        let (to, finished) = bounded(1);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(to);
        finished
    }
}

/// A file that is being written.
pub(super) struct InProgress {
    all: Arc<Unfinished>,
    name: String,
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.all.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        let mut listeners = self.all.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| !matches!(listener.try_send(()), Err(TrySendError::Disconnected(()))));
    }
}

/// The thread that writes files, and what goes to and from it.
pub(super) struct Attachments {
    queue: Option<Sender<(Attachment, InProgress)>>,
    unfinished: Arc<Unfinished>,
    failed: Sender<(String, String)>,
    failures: Receiver<(String, String)>,
    abandoned: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Attachments {
    /// Writes into `folder`, until that is `abandoned`. A job that inflates to more than the limit is not kept.
    pub(super) fn start(folder: &Path, limits: puls::Limits, abandoned: Arc<AtomicBool>) -> io::Result<Self> {
        let (queue, attachments) = bounded::<(Attachment, InProgress)>(QUEUE);
        let (failed, failures) = unbounded();
        let keeper = Keeper { folder: folder.into(), limits, abandoned: Arc::clone(&abandoned) };
        let tell = failed.clone();
        let run = move || {
            for (Attachment { body, name, kind, secrets, serials, room }, in_progress) in attachments {
                if let Err(e) = keeper.keep(body, &name, kind, &secrets, &serials) {
                    // Who wrote the lines is told, and writes one more.
                    let _ = tell.send((name, e.to_string()));
                }
                drop((room, in_progress));
            }
        };
        let thread = Some(thread::Builder::new().name("gf-recorder-files".into()).spawn(run)?);
        Ok(Self { queue: Some(queue), unfinished: Arc::default(), failed, failures, abandoned, thread })
    }

    /// Has a file written; waits for a moment where too many wait already.
    pub(super) fn hand_over(&mut self, attachment: Attachment) {
        let Some(queue) = &self.queue else { return };
        let patience = if self.abandoned.load(Ordering::Relaxed) { Duration::ZERO } else { PATIENCE };
        let in_progress = self.unfinished.begin(&attachment.name);
        if let Err(unsent) = queue.send_timeout((attachment, in_progress), patience) {
            let (attachment, _in_progress) = unsent.into_inner();
            let _ = self.failed.send((attachment.name, "the disk is too slow".into()));
        }
    }

    /// The files that are not there yet.
    pub(super) fn unfinished(&self) -> Arc<Unfinished> {
        Arc::clone(&self.unfinished)
    }

    /// The next file that could not be written, and why.
    pub(super) fn failure(&self) -> Option<(String, String)> {
        self.failures.try_recv().ok()
    }

    /// Waits until all are written.
    pub(super) fn finish(&mut self) {
        self.queue = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            let _ = self.failed.send(("a file".into(), "its thread panicked".into()));
        }
    }
}

/// Writes files: a thread's own.
struct Keeper {
    folder: PathBuf,
    limits: puls::Limits,
    abandoned: Arc<AtomicBool>,
}

impl Keeper {
    fn keep(&self, body: Body, name: &str, kind: Kind, secrets: &Secrets, serials: &[u32]) -> io::Result<()> {
        let mut body: Box<dyn Source> = match body {
            Body::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Body::Spilled(file, _) => Box::new(file),
            Body::None | Body::Confidential(_) => return Ok(()),
        };
        body.rewind()?;
        let file = tempfile::Builder::new().prefix(".recording-").suffix(".part").tempfile_in(&self.folder)?;
        let matcher = secrets.matcher();
        let file = if kind == Kind::Job {
            self.job(&mut *body, Masked::new(file, matcher), serials)?
        } else if kind == Kind::Other && is_text(&mut *body)? {
            self.copy(&mut *body, Masked::new(Cleaned::new(file), matcher))?.finish()?.finish()?
        } else {
            self.copy(&mut *body, Masked::new(file, matcher))?.finish()?
        };
        file.persist(self.folder.join(name)).map(drop).map_err(|e| e.error)
    }

    /// A pulse file, without the serial numbers that are to be hidden: compressed if it came so.
    fn job(&self, body: &mut dyn Source, to: Masked<NamedTempFile>, serials: &[u32]) -> io::Result<NamedTempFile> {
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
            let mut packed = GzEncoder::new(to, Compression::new(3));
            packed.write_all(&header.encode())?;
            self.copy_steps(&mut job, &mut packed)?;
            packed.finish()?.finish()
        } else {
            let mut to = to;
            to.write_all(&header.encode())?;
            self.copy_steps(&mut job, &mut to)?;
            to.finish()
        }
    }

    /// The steps as far as they are whole: what is broken has been noted with the exchange, or is seen when it is read.
    fn copy_steps<R: Read>(&self, job: &mut puls::Job<R>, to: &mut dyn Write) -> io::Result<()> {
        loop {
            match job.next_chunk() {
                Ok(Some(chunk)) => to.write_all(chunk)?,
                Err(e @ puls::Error::TooLarge { .. }) => return Err(io::Error::other(e)),
                Ok(None) | Err(_) => return Ok(()),
            }
            self.go_on()?;
        }
    }

    fn copy<W: Write>(&self, from: &mut dyn Source, mut to: W) -> io::Result<W> {
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(to),
                Ok(read) => to.write_all(&buffer[..read])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            self.go_on()?;
        }
    }

    fn go_on(&self) -> io::Result<()> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(io::Error::other("the program ended before the disk had taken it"));
        }
        Ok(())
    }
}

/// Where a body is.
trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// Whether a body begins as text does.
fn is_text(body: &mut dyn Source) -> io::Result<bool> {
    let mut start = Vec::new();
    body.take(COPY_BYTES as u64).read_to_end(&mut start)?;
    body.rewind()?;
    // The last character may be cut.
    let is_utf8 = std::str::from_utf8(&start).map_or_else(|e| e.valid_up_to() + 4 > start.len(), |_| true);
    Ok(is_utf8 && !start.contains(&0))
}
