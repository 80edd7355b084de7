//! Where a pulse file comes from: a file, or standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use gf_emulator_core::puls::{Job, Limits, MAX_TICKS};
use gf_emulator_core::{Error, files};

use super::progress::Watched;
use crate::failure::Failure;
use crate::numbers;

pub(super) type Reader = Watched<Box<dyn Read>>;

/// How much of a pulse file is read: the option of every command that reads one.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Limit {
    /// The longest job that is read, in bytes after inflating (one a tick)
    ///
    /// The default, 1 GiB, is thirty hours at 10 kHz.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_TICKS as u64, value_parser = numbers::whole(1..=u64::MAX, " of bytes"))]
    max_bytes: u64,
}

impl From<Limit> for Limits {
    fn from(limit: Limit) -> Self {
        Self::body_bytes(limit.max_bytes)
    }
}

/// What a file is called in lines for people.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") {
        return "standard input".to_owned();
    }
    // A name is somebody else's text.
    path.display().to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What a file is called where its folder does not matter.
pub(super) fn title(path: &Path) -> String {
    match path.file_name() {
        Some(file_name) if path != Path::new("-") => file_name.to_string_lossy().into_owned(),
        _ => name(path),
    }
}

/// Opens a file, or standard input for `-`, and reads the header.
pub(super) fn open(path: &Path, limits: Limits) -> Result<Job<Reader>, Failure> {
    let (reader, total_bytes): (Box<dyn Read>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = open_file(path)?;
        let total_bytes = file.metadata().ok().map(|known| known.len());
        (Box::new(file), total_bytes)
    };
    Job::with_limits(Watched::new(reader, &name(path), total_bytes), limits).map_err(|e| broken(path, &e))
}

/// Opens a regular file: a pipe or a device could block its reader, or never end.
pub(super) fn open_file(path: &Path) -> Result<File, Failure> {
    files::open(path).map_err(|error| {
        let name = name(path);
        let Error::File { source, .. } = error else { return Failure::misused(format_args!("{name}: {error}")) };
        let failure = Failure::misused(format_args!("{name}: cannot open it: {source}"));
        let is_stream = path.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir());
        if is_stream { failure.and("; to read a pipe, redirect it to standard input and name `-`") } else { failure }
    })
}

/// What is wrong with that file.
pub(super) fn broken(path: &Path, error: &gf_emulator_core::puls::Error) -> Failure {
    let failure = Failure::failed(format_args!("{}: {error}", name(path)));
    if error.is_too_large() { failure.and(" (--max-bytes sets the limit)") } else { failure }
}
