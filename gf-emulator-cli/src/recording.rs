//! Opens recordings for the commands that read them.

use std::path::Path;

use gf_emulator_core::record::Recording;

use crate::error::CliError;
use crate::progress;

/// Opens the recording in a folder, of the machine with this number if it holds several. Draws the progress of reading it.
pub(crate) fn open(folder: &Path, machine: Option<u32>) -> Result<Recording, CliError> {
    let recording = Recording::open(folder).and_then(|recording| recording.of_machine(machine));
    Ok(recording.map_err(CliError::usage)?.on_progress(progress::of(folder.display().to_string())))
}
