//! Lines on stdout and stderr, and output files.
//!
//! `println!` panics if the reader has closed the pipe; these functions ignore that. Other failures on stdout, such as a
//! full disk, are reported at the end.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use gf_emulator_core::Error;
use gf_emulator_core::storage::{Output, TempGuard};

use crate::error::CliError;
use crate::signals::TEMP_FILES;

/// Set if a line for stdout could not be written, for another reason than a closed pipe.
static INCOMPLETE: AtomicBool = AtomicBool::new(false);

/// Prints a line of the command's output to stdout.
pub(crate) fn print(line: impl Display) {
    note(writeln!(io::stdout(), "{line}"));
}

/// Flushes stdout. Returns whether everything was written.
pub(crate) fn is_complete() -> bool {
    note(io::stdout().flush());
    !INCOMPLETE.load(Ordering::Relaxed)
}

fn note(written: io::Result<()>) {
    if written.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
        INCOMPLETE.store(true, Ordering::Relaxed);
    }
}

/// Prints a line to stderr.
pub(crate) fn eprint(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a line to stderr, with the program's name in front.
pub(crate) fn notice(line: impl Display) {
    eprint(format_args!("gf-machine-emulator: {line}"));
}

/// Opens an output that is none of the command's `inputs`. A signal removes its temp file.
pub(crate) fn create(path: &Path, inputs: &[&Path]) -> Result<(Output, TempGuard<'static>), CliError> {
    let path_of = |output: &Output| output.temp_path().map(Path::to_owned);
    TEMP_FILES.create(|| Output::create(path, inputs), path_of).map_err(CliError::usage)
}

/// Completes an output. Returns `false` if it is a pipe that its reader has closed.
pub(crate) fn finish(output: Output, written: io::Result<()>) -> Result<bool, CliError> {
    match output.finish(written) {
        Ok(()) => Ok(true),
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::failed(error)),
    }
}
