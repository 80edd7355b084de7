//! [`JobStore`]: collected pulse files and sent pictures, in their folders.
//!
//! A job is one file, `<time>_<action>_<id>.puls`. Beside it is `<time>_<action>_<id>.info`: JSON with its header, size,
//! run time and step counts.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::atomic_file::{AtomicFile, folder_of};
use super::download::{Download, DownloadEnd};
use crate::config::Motion;
use crate::disk;
use crate::machine::Job;
use crate::{Config, Error, Result, puls, system};

/// Removes the temp files of programs that were killed from the folders of a machine's jobs, pictures and firmware.
pub(crate) fn remove_leftovers_of(config: &Config) {
    let status = config.firmware.status_file.as_deref().map(folder_of);
    let pictures = config.logging.sent_images_dir.as_deref();
    let folders = [Some(&*config.motion.dir), Some(&*config.firmware.dir), pictures, status];
    folders.into_iter().flatten().for_each(disk::remove_leftovers);
}

/// The folders for jobs and pictures.
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

    /// Saves an action's pulse file and measures it. Calls `on_bytes` with the number of bytes so far.
    ///
    /// A readable pulse file is saved even if this machine would refuse it ([`check`](Self::check)).
    pub(crate) fn collect(
        &self,
        mut download: Download,
        action: &str,
        action_id: i64,
        on_bytes: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Job> {
        let limit_bytes = self.motion.max_download_bytes();
        if matches!(download.end(), DownloadEnd::Length(length) if length > limit_bytes) {
            return Err(Error::TooLarge { what: "the job".into(), limit_bytes });
        }
        let name = format!("{}_{action}_{action_id}.puls", local_timestamp());
        let mut file = AtomicFile::create(&self.motion.dir.join(name))?;
        let size = download.copy_to(&mut file, limit_bytes, "the job", on_bytes);
        let size = size.map_err(|e| file.name_error(e))?;
        if self.motion.is_remarkable(size) {
            log::warn!("the job is large: {size} bytes (remark_bytes: {})", self.motion.remark_bytes);
        }
        // Measuring a gzip file checks its trailer, which proves as much as a length does.
        if download.end() == DownloadEnd::Unknown && !is_gzip(file.temp_path())? {
            let what = "a job without Content-Length or chunks, and not gzip: cannot tell whether it is complete";
            return Err(Error::Answer { from: download.from().to_owned(), what: what.into() });
        }
        let measured = measure(file.temp_path(), self.motion.limits(), &download)?;
        let path = file.persist_new()?;
        write_info(&path, &measured)?;
        log::info!("job {} ({} ticks)", path.display(), measured.ticks);
        for remark in measured.header.remarks() {
            log::warn!("{}: {remark}", path.display());
        }
        Ok(Job::new(action_id, action, path, measured))
    }

    /// Checks whether this machine may run the job.
    ///
    /// # Errors
    ///
    /// [`Error::JobRefused`] with all reasons.
    pub(crate) fn check(&self, job: &Job) -> Result<()> {
        match job.measured.refusal_reasons(Some(self.serial)) {
            None => Ok(()),
            Some(reason) => Err(Error::JobRefused { reason }),
        }
    }

    /// Deletes the files of a job that has ended, unless the configuration keeps them.
    pub(crate) fn delete_unless_kept(&self, job: &Job) {
        if self.motion.keep {
            return;
        }
        for path in [info_path(&job.path), job.path.clone()] {
            if let Err(e) = disk::remove(&path) {
                log::warn!("cannot remove {}: {e}", path.display());
            }
        }
    }

    /// Saves a picture that was sent, if the configuration has a folder for them.
    pub(crate) fn save_picture(&self, action: &str, action_id: i64, picture: &[u8]) {
        let Some(folder) = &self.pictures else { return };
        let target = folder.join(format!("{}_{action}_{action_id}.jpg", local_timestamp()));
        if let Err(e) = AtomicFile::with_contents(&target, picture).and_then(AtomicFile::persist_new) {
            log::warn!("cannot save a picture: {e}");
        }
    }
}

fn is_gzip(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    disk::open(path).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(|source| Error::File {
        doing: "read",
        path: path.into(),
        source,
    })?;
    Ok(puls::Encoding::detect(&start) == Some(puls::Encoding::Gzip))
}

/// Measures the whole file. That may take minutes if it inflates to a hundred times its size, so it can be cancelled.
fn measure(path: &Path, limits: puls::Limits, download: &Download) -> Result<puls::Measured> {
    let file = disk::open(path).map_err(|source| Error::File { doing: "read", path: path.into(), source })?;
    let measured = puls::measure(Cancellable { file, download }, limits);
    if download.is_cancelled() { Err(Error::Interrupted) } else { Ok(measured?) }
}

/// A file whose reads fail after the download was cancelled.
struct Cancellable<'a> {
    file: Box<dyn Read + Send>,
    download: &'a Download,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.download.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buf)
    }
}

fn info_path(job: &Path) -> PathBuf {
    job.with_extension("info")
}

/// Writes the description. It is not synced: after a power failure it can be made again from the job.
fn write_info(job: &Path, measured: &puls::Measured) -> Result<()> {
    let path = info_path(job);
    let mut text = serde_json::to_vec_pretty(measured).map_err(|e| Error::File {
        doing: "write",
        path: path.clone(),
        source: e.into(),
    })?;
    text.push(b'\n');
    AtomicFile::with_contents(&path, &text)?.persist_unsynced().map(|_| ())
}

/// The local time as in the file names of the Python clients, such as `2026-11-26_211500`.
pub(crate) fn local_timestamp() -> String {
    let now = jiff::Timestamp::try_from(system::wall_clock()).unwrap_or_default();
    now.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d_%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_machine_removes_what_was_left_in_every_folder_that_it_writes_to() {
        let here = tempfile::tempdir().unwrap();
        let folders = ["motion", "firmware", "sent", "status", "images"].map(|name| here.path().join(name));
        for folder in &folders {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(".arriving-killed.part"), "half").unwrap();
        }
        let [motion, firmware, sent, status, _] = folders.clone();
        let mut config = Config::default();
        config.motion.dir = motion;
        config.firmware.dir = firmware;
        config.firmware.status_file = Some(status.join("status.json"));
        config.logging.sent_images_dir = Some(sent);
        remove_leftovers_of(&config);
        let left = folders.map(|folder| fs::read_dir(folder).unwrap().count());
        assert_eq!(left, [0, 0, 0, 0, 1], "it only reads the last one");
    }
}
