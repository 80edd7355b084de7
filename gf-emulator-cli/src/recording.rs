//! Opens recordings for the commands that read them.

use std::path::Path;

use gf_emulator_core::record::Recording;

use crate::error::CliError;

/// Opens the recording in a folder, of the machine with this number if it holds several.
pub(crate) fn open(folder: &Path, machine: Option<u32>) -> Result<Recording, CliError> {
    Recording::open(folder).and_then(|recording| recording.of_machine(machine)).map_err(CliError::usage)
}
