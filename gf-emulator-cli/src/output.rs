//! Lines on stdout and stderr, and output files.
//!
//! `println!` panics if the reader has closed the pipe; these functions ignore that. Other failures on stdout, such as a
//! full disk, are reported at the end.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use gf_emulator_core::Error;
use gf_emulator_core::storage::{Output, TempGuard};
use log::Level;

use crate::console;
use crate::error::CliError;
use crate::signals::TEMP_FILES;

/// The program's name in messages.
const NAME: &str = "gf-machine-emulator";

/// The first failure to write to stdout, other than a closed pipe.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Prints a line of the command's output to stdout.
pub(crate) fn print(line: impl Display) {
    note(writeln!(io::stdout(), "{line}"));
}

/// Writes a command's output to stdout.
pub(crate) fn write_stdout(bytes: &[u8]) {
    note(io::stdout().write_all(bytes));
}

/// Flushes stdout. Returns why not everything was written, if so.
pub(crate) fn failure() -> Option<&'static io::Error> {
    note(io::stdout().flush());
    FAILURE.get()
}

fn note(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = FAILURE.set(error);
    }
}

/// Prints a line to stderr: an error, or what was asked for. In one write, so that lines of several programs do not mix.
pub(crate) fn eprint(line: impl Display) {
    let line = format!("{line}\n");
    let _ = if console::has_color() {
        anstream::stderr().write_all(line.as_bytes())
    } else {
        io::stderr().write_all(line.as_bytes())
    };
}

/// Prints a line to stderr, unless `--quiet` was given.
pub(crate) fn remark(line: impl Display) {
    if !console::is_quiet() {
        eprint(line);
    }
}

/// As [`remark`], with the program's name in front.
pub(crate) fn notice(line: impl Display) {
    remark(format_args!("{NAME}: {line}"));
}

/// Prints a line to stderr that was asked for, with the program's name in front.
pub(crate) fn answer(line: impl Display) {
    eprint(format_args!("{NAME}: {line}"));
}

/// Prints an error to stderr, with the program's name in front.
pub(crate) fn error(line: impl Display) {
    eprint(format_args!("{} {line}", console::paint(format_args!("{NAME}:"), Level::Error)));
}

/// An open output. A signal removes its temp file.
pub(crate) struct OpenOutput {
    // Dropped in this order: a temp file stays registered until it is removed.
    pub(crate) file: Output,
    _guard: TempGuard<'static>,
}

/// Opens an output that is none of the command's `inputs`.
pub(crate) fn create(path: &Path, inputs: &[&Path]) -> Result<OpenOutput, CliError> {
    let path_of = |file: &Output| file.temp_path().map(Path::to_owned);
    let (file, guard) = TEMP_FILES.create(|| Output::create(path, inputs), path_of).map_err(CliError::usage)?;
    Ok(OpenOutput { file, _guard: guard })
}

impl OpenOutput {
    /// Completes the output. Returns `false` if it is a pipe that its reader has closed.
    pub(crate) fn finish(self, written: io::Result<()>) -> Result<bool, CliError> {
        match self.file.finish(written) {
            Ok(()) => Ok(true),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CliError::failed(error)),
        }
    }
}
