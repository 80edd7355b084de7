//! A file that tells how much of it has been read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::SystemTime;

/// Called with the part done so far, 0 to 1.
pub(super) type OnProgress = Box<dyn FnMut(f64) + Send + Sync>;

pub(super) struct WatchedFile {
    file: File,
    read_bytes: u64,
    /// How many bytes will be read in all.
    total_bytes: u64,
    on_progress: Option<OnProgress>,
}

impl WatchedFile {
    pub(super) fn new(file: File) -> Self {
        Self { file, read_bytes: 0, total_bytes: 0, on_progress: None }
    }

    /// Calls `on_progress` after each read. The file is read `passes` times.
    pub(super) fn watch(&mut self, on_progress: OnProgress, passes: u64) {
        self.total_bytes = self.file.metadata().map_or(0, |metadata| metadata.len()) * passes;
        self.on_progress = Some(on_progress);
    }

    pub(super) fn modified(&self) -> io::Result<SystemTime> {
        self.file.metadata()?.modified()
    }

    /// Returns the callback, for what follows.
    pub(super) fn unwatch(&mut self) -> Option<OnProgress> {
        self.on_progress.take()
    }
}

impl Read for WatchedFile {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(to)?;
        self.read_bytes += read as u64;
        if let Some(on_progress) = &mut self.on_progress {
            // It may have grown.
            on_progress((self.read_bytes as f64 / self.total_bytes.max(1) as f64).min(1.0));
        }
        Ok(read)
    }
}

impl Seek for WatchedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}
