//! What is kept of a session: the pulse files with a description of each, and the pictures that were sent.
//!
//! A job is one file of its own, `<time>_<action>_<id>.puls`, whole or not there at all, and beside it `.info`: JSON with
//! its header, size, run time and step counts.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::actions::Action;
use crate::config::Motion;
use crate::machine::Job;
use crate::net::CancelToken;
use crate::puls;
use crate::service::uplink::{DownloadEnd, Uplink, copy_limited};
use crate::storage::AtomicFile;
use crate::{Config, Error, Result};

/// The folders that jobs and pictures go to.
#[derive(Debug)]
pub(crate) struct JobStore {
    motion: Motion,
    pictures: Option<PathBuf>,
    serial: u32,
}

impl JobStore {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            motion: config.motion.clone(),
            pictures: config.logging.sent_images_dir.clone(),
            serial: config.machine.serial,
        }
    }

    /// Fetches an action's pulse file and measures it.
    ///
    /// A file that can be read is kept whether or not this machine would run it, to be looked at, unless files are not
    /// wanted at all.
    pub(crate) fn collect(
        &self,
        uplink: &dyn Uplink,
        action: &Action,
        url: &str,
        on_bytes: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Job> {
        let mut source = uplink.fetch(url)?;
        if matches!(source.end, DownloadEnd::Length(length) if length > self.motion.refuse_bytes) {
            return Err(Error::TooLarge { what: "the job".into(), limit_bytes: self.motion.refuse_bytes });
        }
        let name = format!("{}_{}_{}", local_timestamp(), action.action_type, action.id);
        let mut file = AtomicFile::start(&self.motion.dir.join(format!("{name}.puls")))?;
        let size = copy_limited(&mut source, &mut file, self.motion.refuse_bytes, "the job", on_bytes)?;
        if size > self.motion.remark_bytes {
            log::warn!("the job is large: {size} bytes, more than {}", self.motion.remark_bytes);
        }
        // Measuring gzip checks its trailer: that alone says as much as a length does.
        if source.end == DownloadEnd::Unknown && !is_gzip(file.path())? {
            return Err(Error::Answer {
                from: source.from,
                what: "a job with neither a Content-Length nor chunks, and not gzip: nothing says that it is whole"
                    .into(),
            });
        }
        let measured = measure(file.path(), self.motion.limits(), uplink.cancel_token())?;
        let path = file.land()?;
        write_info(&path, &measured)?;
        log::info!("job {} ({} ticks)", path.display(), measured.ticks);
        for remark in measured.header.remarks() {
            log::warn!("{}: {remark}", path.display());
        }
        Ok(Job { action_id: action.id, action: action.action_type.clone(), path, measured })
    }

    /// Whether this machine may run it.
    pub(crate) fn check(&self, job: &Job) -> Result<()> {
        let refusals = job.measured.header.check(Some(self.serial));
        if refusals.is_empty() {
            return Ok(());
        }
        let reasons: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        Err(Error::JobRefused { reason: reasons.join("; ") })
    }

    /// The job is over: its files stay, unless they are not wanted.
    pub(crate) fn dismiss(&self, job: &Job) {
        if self.motion.keep {
            return;
        }
        for path in [info_path(&job.path), job.path.clone()] {
            if let Err(e) = fs::remove_file(&path) {
                log::warn!("cannot remove {}: {e}", path.display());
            }
        }
    }

    /// Keeps a picture that was sent, where that is wanted.
    pub(crate) fn keep_picture(&self, action: &Action, picture: &[u8]) {
        let Some(folder) = &self.pictures else { return };
        let goal = folder.join(format!("{}_{}_{}.jpg", local_timestamp(), action.action_type, action.id));
        if let Err(e) = AtomicFile::of(&goal, picture).and_then(AtomicFile::land) {
            log::warn!("cannot keep a picture: {e}");
        }
    }
}

fn is_gzip(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(|source| Error::File {
        doing: "read",
        path: path.into(),
        source,
    })?;
    Ok(puls::Encoding::detect(&start) == Some(puls::Encoding::Gzip))
}

/// Reads the whole file, which takes minutes where it inflates to a hundred times what has arrived.
fn measure(path: &Path, limits: puls::Limits, cancel: &CancelToken) -> Result<puls::Measured> {
    let file = File::open(path).map_err(|source| Error::File { doing: "read", path: path.into(), source })?;
    let measured = puls::measure(Interruptible { file, cancel }, limits);
    if cancel.is_cancelled() { Err(Error::Interrupted) } else { Ok(measured?) }
}

/// A file that ends in an error once the action is withdrawn.
struct Interruptible<'a> {
    file: File,
    cancel: &'a CancelToken,
}

impl Read for Interruptible<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        self.file.read(buf)
    }
}

fn info_path(job: &Path) -> PathBuf {
    job.with_extension("info")
}

fn write_info(job: &Path, measured: &puls::Measured) -> Result<()> {
    let path = info_path(job);
    let mut text = serde_json::to_vec_pretty(measured).map_err(|e| Error::File {
        doing: "write",
        path: path.clone(),
        source: e.into(),
    })?;
    text.push(b'\n');
    AtomicFile::of(&path, &text)?.replace().map(|_| ())
}

/// Local time, as in the Python clients' file names.
pub(crate) fn local_timestamp() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d_%H%M%S").to_string()
}
