//! The folders and files that a session writes to: tried before anything is promised to a service.

use std::path::Path;

use gf_emulator_core::record::Recorder;
use gf_emulator_core::{Config, files};

use crate::failure::Failure;
use crate::sink;

/// What cannot be written, each with the key that names it. `source` is the configuration's file.
pub(crate) fn unwritable(config: &Config, source: &Path) -> Vec<String> {
    let firmware = config.firmware.check && config.downloads_firmware();
    let folders = [
        ("motion_dir", Some(&config.motion.dir)),
        ("firmware_dir", Some(&config.firmware.dir).filter(|_| firmware)),
        ("record", config.logging.record_dir.as_ref()),
        ("dir", config.logging.sent_images_dir.as_ref()),
    ];
    let folders = folders.into_iter().filter_map(|(key, folder)| Some((key, can_write_in(folder?))));
    let read = [Some(source), config.service.ca_file.as_deref(), config.service.actions_file.as_deref()];
    let read: Vec<_> = read.into_iter().flatten().collect();
    let log_file = config.logging.file.as_deref().map(|file| {
        let outcome = sink::spare(&read, file).and_then(|()| can_append_to(file));
        ("log_file", outcome)
    });
    folders.chain(log_file).filter_map(|(key, outcome)| Some(format!("{key}: {}", outcome.err()?))).collect()
}

/// A failure where something cannot be written.
pub(crate) fn check(config: &Config, source: &Path) -> Result<(), Failure> {
    match &*unwritable(config, source) {
        [] => Ok(()),
        problems => Err(Failure::misused(problems.join("\n"))),
    }
}

/// A failure where files cannot be written in a folder, or that cannot be made.
pub(crate) fn can_write_in(folder: &Path) -> Result<(), Failure> {
    files::can_write_in(folder).map_err(Failure::misused)
}

/// A failure where no recording can begin in a folder.
pub(crate) fn can_record_in(folder: &Path) -> Result<(), Failure> {
    Recorder::check_folder(folder).map_err(Failure::misused)
}

fn can_append_to(file: &Path) -> Result<(), Failure> {
    if file.exists() {
        return files::append(file).map(drop).map_err(Failure::misused);
    }
    file.parent().map_or(Ok(()), can_write_in)
}
