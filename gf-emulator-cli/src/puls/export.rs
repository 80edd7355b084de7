//! `puls export`: converts a job to another format.

use std::path::PathBuf;

use clap::ValueEnum;
use gf_emulator_core::puls::{self, Error};

use super::source;
use crate::error::CliError;
use crate::output;

/// Convert a job to CSV, JSON or G-code
///
/// csv: one row for each straight segment, with times, positions in mm, speed and laser. json: the same with all
/// measurements. gcode: the same path for GRBL in laser mode.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls export job.puls --format csv | head
  gf-machine-emulator puls export job.puls --format gcode -o job.gcode

Positions are in mm from the job's start: X to the right, Y to the front, Z up.

Exit codes: 0 done; 1 reading or writing failed; 2 wrong usage, or a file that
cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The output format
    #[arg(long, value_enum)]
    format: Format,
    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "OUT", default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    limit: source::Limit,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Csv,
    Json,
    Gcode,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let job = source::open(&arguments.file, arguments.limit.into())?;
    let mut output = output::create(&arguments.output, &[&arguments.file])?;
    let format = match arguments.format {
        Format::Csv => puls::Format::Csv,
        Format::Json => puls::Format::Json,
        Format::Gcode => puls::Format::Gcode,
    };
    let written = match puls::export(job, format, &source::title(&arguments.file), &mut output.file) {
        Err(Error::Write { source }) => Err(source),
        other => Ok(other.map(drop).map_err(|e| source::broken(&arguments.file, &e))?),
    };
    output.finish(written).map(drop)
}
