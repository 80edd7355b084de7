//! Where a pulse file comes from: a file, or standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use gf_emulator_core::puls::Job;

use super::progress::Watched;
use crate::failure::Failure;

pub(super) type Reader = Watched<Box<dyn Read>>;

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
pub(super) fn open(path: &Path) -> Result<Job<Reader>, Failure> {
    let name = name(path);
    let (reader, total_bytes): (Box<dyn Read>, _) = if path == Path::new("-") {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(|e| Failure::failed(format_args!("{name}: cannot open it: {e}")))?;
        let total_bytes = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|known| known.len());
        (Box::new(file), total_bytes)
    };
    Job::open(Watched::new(reader, &name, total_bytes)).map_err(|e| broken(path, &e))
}

/// What is wrong with that file.
pub(super) fn broken(path: &Path, error: &gf_emulator_core::puls::Error) -> Failure {
    Failure::failed(format_args!("{}: {error}", name(path)))
}
