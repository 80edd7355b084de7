//! The folders and files that a session writes to: tried before anything is promised to a service.

use std::fs::OpenOptions;
use std::path::Path;

use gf_emulator_core::{Config, Error, files};

use crate::failure::Failure;

/// What cannot be written, each with the key that names it.
pub(crate) fn unwritable(config: &Config) -> Vec<String> {
    let firmware = config.firmware.check && config.downloads_firmware();
    let folders = [
        ("motion_dir", Some(&config.motion.dir)),
        ("firmware_dir", Some(&config.firmware.dir).filter(|_| firmware)),
        ("record", config.logging.record_dir.as_ref()),
        ("dir", config.logging.sent_images_dir.as_ref()),
    ];
    let folders = folders.into_iter().filter_map(|(key, folder)| Some((key, files::can_write_in(folder?))));
    let log_file = config.logging.file.as_deref().map(|file| ("log_file", can_append_to(file)));
    folders.chain(log_file).filter_map(|(key, outcome)| Some(format!("{key}: {}", outcome.err()?))).collect()
}

/// A failure where something cannot be written.
pub(crate) fn check(config: &Config) -> Result<(), Failure> {
    match &*unwritable(config) {
        [] => Ok(()),
        problems => Err(Failure::misused(problems.join("\n"))),
    }
}

fn can_append_to(file: &Path) -> Result<(), Error> {
    if file.exists() {
        let failed = |source| Error::File { doing: "write", path: file.into(), source };
        return OpenOptions::new().append(true).open(file).map(drop).map_err(failed);
    }
    match file.parent() {
        Some(folder) => files::can_write_in(folder),
        None => Ok(()),
    }
}
