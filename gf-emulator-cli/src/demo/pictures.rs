//! The demo's pictures, drawn for it: what a machine's cameras could see.

use std::path::Path;

use gf_emulator_core::storage::{AtomicFile, remove_leftovers};

use crate::error::CliError;
use crate::signals::TEMP_FILES;

/// The head at four places during homing, material on the bed, and the head camera's view with the measure laser on and
/// off. `*` stands for the material's thickness.
const PICTURES: [(&str, &[u8]); 7] = [
    ("HOME_1.jpg", include_bytes!("HOME_1.jpg")),
    ("HOME_2.jpg", include_bytes!("HOME_2.jpg")),
    ("HOME_3.jpg", include_bytes!("HOME_3.jpg")),
    ("HOME_4.jpg", include_bytes!("HOME_4.jpg")),
    ("LID_IMAGE.jpg", include_bytes!("LID_IMAGE.jpg")),
    ("HEAD_LASER_*.jpg", include_bytes!("HEAD_LASER.jpg")),
    ("HEAD_NO_LASER_*.jpg", include_bytes!("HEAD_NO_LASER.jpg")),
];

/// Writes the pictures that `folder` does not have yet.
pub(super) fn write_missing(folder: &Path, thickness: &str) -> Result<(), CliError> {
    remove_leftovers(folder);
    for (name, jpeg) in PICTURES {
        let path = folder.join(name.replace('*', thickness));
        if !path.exists() {
            let (file, _temp) = TEMP_FILES
                .create(|| AtomicFile::with_contents(&path, jpeg), |file| Some(file.temp_path().to_owned()))?;
            file.persist()?;
        }
    }
    Ok(())
}
