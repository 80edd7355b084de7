//! `puls`: commands for pulse files, one file each.

mod check;
mod diff;
mod drawing;
mod export;
mod info;
mod make;
mod plot;
mod source;
mod view;

use std::path::PathBuf;

use clap::Subcommand;
use gf_emulator_core::puls::Limits;
use gf_emulator_core::words::count;

use crate::error::CliError;

/// Measure, draw, check, convert and make pulse files
///
/// A pulse file is a job that the service sends to a machine: a header, then one byte for each tick of the stepper motors
/// and the laser. The emulator keeps every one it receives.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls info motion/*.puls
  gf-machine-emulator puls plot job.puls -o job.png
  gf-machine-emulator puls view job.puls
  gf-machine-emulator puls check job.puls --serial 12345
  gf-machine-emulator puls diff old.puls new.puls
  gf-machine-emulator puls export job.puls --format gcode -o job.gcode
  gf-machine-emulator puls make --circle 30 --at 20,20 -o circle.puls
  gf-machine-emulator puls make --from job.gcode -o job.puls

`-` is standard input or output. Files may be gzip-compressed. Reading a job
stops at --max-bytes of decompressed steps. An input is never overwritten.

Exit codes: 0 done; 1 a file could not be read or was refused (the others were
still processed), or Ctrl-C or SIGTERM came before the end; 2 wrong usage, or a
file that cannot be opened. Those of `puls diff` are like those of diff: 0 no
difference; 1 the jobs differ; 2 wrong usage, or a file that cannot be read or
written.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Info(info::Arguments),
    Plot(plot::Arguments),
    View(view::Arguments),
    Check(check::Arguments),
    Diff(diff::Arguments),
    Export(export::Arguments),
    Make(Box<make::Arguments>),
}

/// Prints a table of jobs that were collected, and so are within their limits.
pub(crate) fn table(files: &[PathBuf]) -> Result<(), CliError> {
    info::table(files, Limits::NONE, source::title)
}

/// Prints each of these jobs as a JSON object.
pub(crate) fn print_json(files: &[PathBuf]) -> Result<(), CliError> {
    info::print_all_json(files, Limits::NONE)
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    match &arguments.command {
        Command::Info(arguments) => info::run(arguments),
        Command::Plot(arguments) => plot::run(arguments),
        Command::View(arguments) => view::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Make(arguments) => make::run(arguments),
    }
}

/// Fails if some of `total` files had errors, which are printed already.
fn sum_up(errors: &[CliError], total: usize, what: &str) -> Result<(), CliError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(CliError::of_many(errors, format_args!("{} of {} {what}", errors.len(), count(total, "file"))))
}
