//! What a configured session writes to.

use std::path::Path;

use super::check_not_an_input;
use crate::{Config, Result, files};

/// Lists the configured folders and files that cannot be written, each as `key: reason`. Creates nothing.
///
/// `source` is the configuration file. A log file must not replace it, nor another file that the configuration names.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let mut config = gf_emulator_core::Config::default();
/// config.motion.dir = folder.path().join("file");
/// std::fs::write(&config.motion.dir, "")?;
/// let problems = gf_emulator_core::storage::unwritable(&config, "my.cfg".as_ref());
/// assert!(problems[0].starts_with("motion_dir: ") && problems[0].ends_with("it is a file, not a folder"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn unwritable(config: &Config, source: &Path) -> Vec<String> {
    let firmware = config.firmware.check && config.downloads_firmware();
    let folders = [
        ("motion_dir", Some(&config.motion.dir)),
        ("firmware_dir", Some(&config.firmware.dir).filter(|_| firmware)),
        ("record", config.logging.record_dir.as_ref()),
        ("capture_dir or dir", config.logging.sent_images_dir.as_ref()),
    ];
    let folders = folders.into_iter().filter_map(|(key, folder)| Some((key, files::can_write_in(folder?))));
    let inputs = [Some(source), config.service.ca_file.as_deref(), config.service.actions_file.as_deref()];
    let inputs: Vec<_> = inputs.into_iter().flatten().collect();
    let log_file = config.logging.file.as_deref().map(|file| {
        let writable = check_not_an_input(file, &inputs).and_then(|()| can_append_to(file));
        ("log_file", writable)
    });
    folders.chain(log_file).filter_map(|(key, writable)| Some(format!("{key}: {}", writable.err()?))).collect()
}

fn can_append_to(file: &Path) -> Result<()> {
    if file.exists() {
        return files::append(file).map(drop);
    }
    file.parent().map_or(Ok(()), files::can_write_in)
}
