//! `puls info`: prints a job's numbers.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gf_emulator_core::puls::{JobRow, Limits, Measured, Summary};
use serde_json::{Map, Value, json};

use super::source;
use crate::error::CliError;
use crate::output::{eprint, print};

/// Measure jobs: times, distances, speeds, laser, steps
///
/// One file is shown in full, several as a table.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls info job.puls
  gf-machine-emulator puls info motion/*.puls
  gf-machine-emulator puls info --json job.puls | jq .stats.XEND

--json prints one object a line for each file: `file`, then the content of the
.info file of a collected job: header, header_len, size, run_time, stats (XP XN
XTOT XEND .. LE LP, ends in mm and inches), extents, fire_box, time, distance,
speed, power, density, dots; or only `error` if the file could not be read to
its end. In `distance`, `cut` is with the laser on, `travel` with the laser off,
`travelled` is both. A dot is a laser that is on for at most 14 ticks, which is
too short to have a density.

Exit codes: 0 done; 1 a file could not be read (the others are still measured);
2 wrong usage, or a file that cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: source::Limit,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let (files, limits) = (&arguments.files, arguments.limit.into());
    if arguments.json {
        return print_all_json(files, limits);
    }
    if files.len() > 1 {
        return table(files, limits, source::name);
    }
    measure_each(files, limits, |path, measured| {
        if let Ok((measured, is_gzip)) = measured {
            let gzip = if *is_gzip { " (gzip)" } else { "" };
            print(format_args!("{}{gzip}\n{}", source::name(path), Summary(measured)));
        }
        Ok(())
    })
}

/// Prints a JSON object for each job.
pub(super) fn print_all_json(files: &[PathBuf], limits: Limits) -> Result<(), CliError> {
    measure_each(files, limits, print_json)
}

/// Prints a table with a row for each job, and their total. `name` returns how a file is called in it.
pub(super) fn table(files: &[PathBuf], limits: Limits, name: fn(&Path) -> String) -> Result<(), CliError> {
    let mut total = JobRow::default();
    print(JobRow::HEADING);
    let outcome = measure_each(files, limits, |path, measured| {
        if let Ok((measured, _)) = measured {
            total.add(measured);
            print(JobRow::new(&name(path), measured));
        }
        Ok(())
    });
    if total.jobs() > 1 {
        print(total);
    }
    outcome
}

/// Measures each file, and whether it is gzip-compressed. A bad one is reported and does not stop the others.
fn measure_each(
    files: &[PathBuf],
    limits: Limits,
    mut show: impl FnMut(&Path, Result<&(Measured, bool), &CliError>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut errors = Vec::new();
    for path in files {
        let measured = source::measure(path, limits);
        show(path, measured.as_ref())?;
        if let Err(error) = measured {
            // Keeps the order of rows and errors on a terminal.
            let _ = io::stdout().flush();
            eprint(&error);
            errors.push(error);
        }
    }
    super::sum_up(&errors, files.len(), "could not be read")
}

fn print_json(path: &Path, measured: Result<&(Measured, bool), &CliError>) -> Result<(), CliError> {
    let mut object = Map::from_iter([("file".to_owned(), Value::from(path.display().to_string()))]);
    let content = match measured {
        Ok((measured, _)) => serde_json::to_value(measured)
            .map_err(|error| CliError::failed(format_args!("{}: {error}", source::name(path))))?,
        Err(error) => json!({"error": error.to_string()}),
    };
    object.extend(content.as_object().cloned().unwrap_or_default());
    print(Value::Object(object));
    Ok(())
}
