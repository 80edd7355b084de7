//! `puls check`: tells whether a machine would run a job.

use std::path::{Path, PathBuf};

use gf_emulator_core::puls::{CheckOptions, MAX_DISTANCE_MM, Severity, check};
use serde_json::json;

use super::source;
use crate::error::CliError;
use crate::numbers;
use crate::output::{eprint, print};

/// Check whether a machine would run a job, and if not, why
///
/// Reads the whole file and prints what is wrong or odd, with its place. An error is what a machine would refuse or stop, or
/// could not do as the job says; a remark is anything else unusual.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls check job.puls
  gf-machine-emulator puls check job.puls --serial 12345 --start 0,0
  gf-machine-emulator puls check --json *.puls | jq 'select(.good | not)'

Checked in the header: its codes, step frequency, serial number lock, data
format, microsteps, fans and limits of a cut. In the body: power before fire,
power bytes in a row, speed and acceleration, the reach of head and lens, its
length, whether the laser is off and the head at rest at its end. And whether
a gzip file is damaged. A job does not say how long it is: one that is cut
short where the head is slow and the laser off looks complete.

Without --serial, a job that is locked to one machine passes. Without --start,
it has to fit on the bed (495 x 279 mm) from some start; if a cut does not fit
from the back left corner, where a homed head is, a remark says from where it
does.

--json prints one object a line for each file: `file`, `good`, `findings` (each
with `severity`, `rule`, `tick`, `time_s`, `message`), and `error` (null, or why
the file could not be read to its end).

A good job is no promise: a factory machine demands 29 codes in a header, and it
is not known which. Lasers blind and burn.

Exit codes: 0 all are good; 1 one has an error or is broken; 2 wrong usage, or a
file that cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The machine's serial number
    #[arg(long, value_name = "N", value_parser = numbers::serial)]
    serial: Option<u32>,
    /// Where on the bed the job starts, in mm from the back left corner
    #[arg(long, value_name = "X,Y", value_parser = numbers::pair(-MAX_DISTANCE_MM..=MAX_DISTANCE_MM, "mm"))]
    start: Option<[f64; 2]>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: source::Limit,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut errors = Vec::new();
    for path in &arguments.files {
        match check_file(arguments, path) {
            Ok(true) => {}
            Ok(false) => errors.push(CliError::failed("refused")),
            Err(error) => {
                eprint(&error);
                errors.push(error);
            }
        }
    }
    super::sum_up(&errors, arguments.files.len(), "had an error")
}

/// Prints what is found in a file. Returns whether a machine would run it. Fails if it is broken.
fn check_file(arguments: &Arguments, path: &Path) -> Result<bool, CliError> {
    let mut options = CheckOptions::default();
    (options.serial, options.start_mm) = (arguments.serial, arguments.start);
    let checked = source::open(path, arguments.limit.into())
        .and_then(|job| check(job, &options).map_err(|e| source::broken(path, &e)));
    let file = path.display().to_string();
    let found = match checked {
        Ok(found) => found,
        Err(error) => {
            if arguments.json {
                print(json!({"file": file, "good": false, "findings": [], "error": error.to_string()}));
            }
            return Err(error);
        }
    };
    if arguments.json {
        print(json!({"file": file, "good": found.is_good(), "findings": found.findings, "error": null}));
        return Ok(found.is_good());
    }
    let name = source::name(path);
    for finding in &found.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Remark => "remark",
        };
        print(format_args!("{name}: {severity}: {finding}"));
    }
    if found.is_good() {
        print(format_args!("{name}: good"));
    }
    Ok(found.is_good())
}
