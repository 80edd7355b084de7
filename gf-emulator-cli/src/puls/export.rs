//! `puls export`: a job in other programs' words.

use std::path::PathBuf;

use clap::ValueEnum;
use gf_emulator_core::puls::{self, Error};

use super::source;
use crate::failure::Failure;
use crate::sink::Sink;

/// Write a job as CSV, JSON or G-code
///
/// csv: a row for each straight run of the head, with times, places in mm, speed, laser. json: the same, with every
/// number that is measured. gcode: for GRBL in laser mode, drawing the same path.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls export job.puls --format csv | head
  gf-machine-emulator puls export job.puls --format gcode -o job.gcode

Places are mm from where the job begins: X to the right, Y to the front, Z up.

Exit codes: 0 done, 1 it could not be read or written, 2 wrong usage, or a file
that cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// As what
    #[arg(long, value_enum)]
    format: Format,
    /// Where to; `-` is standard output
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

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let job = source::open(&arguments.file, arguments.limit.into())?;
    let mut sink = Sink::create(&arguments.output, &[&arguments.file])?;
    let format = match arguments.format {
        Format::Csv => puls::Format::Csv,
        Format::Json => puls::Format::Json,
        Format::Gcode => puls::Format::Gcode,
    };
    let written = match puls::export(job, format, &source::title(&arguments.file), &mut sink) {
        Err(Error::Write { source }) => Err(source),
        other => Ok(other.map(drop).map_err(|e| source::broken(&arguments.file, &e))?),
    };
    sink.finish(written).map(drop)
}
