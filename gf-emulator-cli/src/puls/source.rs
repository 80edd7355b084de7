//! Reading pulse files and drawings from files or standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gf_emulator_core::puls::{Job, Limits, MAX_TICKS, Measured};
use gf_emulator_core::{Error, files};

use crate::error::CliError;
use crate::numbers;
use crate::progress::WithProgress;

pub(super) type Reader = WithProgress<Box<dyn Read>>;

/// The files of every command that writes a picture or a page of a pulse file.
#[derive(Debug, clap::Args)]
pub(super) struct Paths {
    /// The pulse file; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The file to write; `-` is standard output
    ///
    /// The default is the pulse file's name followed by .svg or, for `puls view`, .html, in the current directory; standard
    /// output for standard input.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

impl Paths {
    /// Returns the file to write. The default is the pulse file's name followed by this extension.
    pub(super) fn output(&self, extension: &str) -> PathBuf {
        self.output.clone().unwrap_or_else(|| default_output(&self.file, extension))
    }
}

/// The option of every command that reads a pulse file.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Limit {
    /// The longest job to read, in bytes after decompression (one per tick)
    ///
    /// The default, 1 GiB, is thirty hours at 10 kHz.
    #[arg(long, value_name = "BYTES", default_value_t = MAX_TICKS as u64, value_parser = numbers::within(1..=u64::MAX, "a whole number of bytes"))]
    max_bytes: u64,
}

impl From<Limit> for Limits {
    fn from(limit: Limit) -> Self {
        Self::body_bytes(limit.max_bytes)
    }
}

/// Returns whether a path means standard input or output.
pub(super) fn is_std(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns a file's name for messages.
pub(super) fn name(path: &Path) -> String {
    if is_std(path) {
        return "standard input".to_owned();
    }
    // A name may come from elsewhere.
    path.display().to_string().chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Returns a file's name without its folder.
pub(super) fn title(path: &Path) -> String {
    match path.file_name() {
        Some(file_name) if !is_std(path) => file_name.to_string_lossy().into_owned(),
        _ => name(path),
    }
}

/// Returns where a picture or a page of a file is written by default. The name has the whole name of the file: beside
/// `box.puls`, `box.svg` may well be the drawing that the job was made from.
fn default_output(file: &Path, extension: &str) -> PathBuf {
    match file.file_name() {
        Some(name) if !is_std(file) => {
            let mut name = name.to_owned();
            name.push(".");
            name.push(extension);
            name.into()
        }
        _ => PathBuf::from("-"),
    }
}

/// Opens a pulse file and reads its header.
pub(super) fn open(path: &Path, limits: Limits) -> Result<Job<Reader>, CliError> {
    let (reader, total_bytes): (Box<dyn Read>, _) = if is_std(path) {
        (Box::new(io::stdin()), None)
    } else {
        let file = open_file(path)?;
        let total_bytes = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(file), total_bytes)
    };
    Job::with_limits(WithProgress::new(reader, name(path), total_bytes), limits).map_err(|e| broken(path, &e))
}

/// Measures a pulse file. Returns whether it is gzip-compressed as well.
pub(super) fn measure(path: &Path, limits: Limits) -> Result<(Measured, bool), CliError> {
    let mut job = open(path, limits)?;
    let measured = job.measure().map_err(|e| broken(path, &e))?;
    Ok((measured, job.is_gzip()))
}

/// Opens a regular file. Reading a pipe or a device could block or never end.
pub(super) fn open_file(path: &Path) -> Result<File, CliError> {
    files::open(path).map_err(|error| {
        let error = CliError::usage(match error {
            Error::File { doing, source, .. } => Error::File { doing, path: name(path).into(), source },
            other => other,
        });
        let is_stream = path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if is_stream { error.and("; to read a pipe, redirect it to standard input and pass `-`") } else { error }
    })
}

/// Adds the file's name to an error in it.
pub(super) fn broken(path: &Path, error: &gf_emulator_core::puls::Error) -> CliError {
    let hint = if error.is_too_large() { " (--max-bytes sets the limit)" } else { "" };
    CliError::failed(format_args!("{}: {error}{hint}", name(path)))
}
