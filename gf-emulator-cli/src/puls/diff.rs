//! `puls diff`: tells what differs between two jobs.

use std::io::Write;
use std::path::PathBuf;

use gf_emulator_core::puls::{Difference, DifferenceError};
use gf_emulator_core::words::size;

use super::{plot, source};
use crate::error::CliError;
use crate::output::{self, print, remark};

/// Compare two jobs: header, path, laser and time
///
/// Prints what differs, in numbers. With -o, draws where the laser fires: only in A, only in B, and in both.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls diff old.puls new.puls
  gf-machine-emulator puls diff old.puls new.puls -o both.png --view job
  gf-machine-emulator puls diff --json old.puls new.puls | jq .distance.mm

Both jobs start at the same place and time. `apart` is the greatest distance of
the heads at the same time; after its end, a head stays where it is. Places
where the laser fires count as the same if they are less than 0.1 mm apart. The
`dose` is the ticks that would fire at full power for the same effect, per mm of
cut: a tick counts by its power level, of 127. What neither job has is left out.
The order of the codes in a header, and compression, are no difference.

--json prints one object: same, header (code, a, b), first_tick,
first_path_tick, first_laser_tick, distance (mm, at_s), fires_mm2 (only_a,
only_b, both), and a and b, each with ticks, run_time, travelled, cut, end_mm,
fire_ticks, density, full_power_ticks.

Exit codes: 0 no difference; 1 the jobs differ; 2 wrong usage, or a file that
cannot be read or written.")]
pub(crate) struct Arguments {
    /// The first pulse file; `-` is standard input
    #[arg(value_name = "FILE")]
    a: PathBuf,
    /// The second pulse file; `-` is standard input
    #[arg(value_name = "FILE")]
    b: PathBuf,
    /// The picture to write, ending in .svg or .png; `-` is standard output
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sheet: plot::Sheet,
    #[command(flatten)]
    limit: source::Limit,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Arguments { a, b, .. } = arguments;
    if source::is_std(a) && source::is_std(b) {
        return Err(CliError::usage("standard input can be one of the two files only"));
    }
    if arguments.output.as_deref().is_some_and(source::is_std) && arguments.json {
        return Err(CliError::usage("standard output can be the picture or JSON: use -o with a file"));
    }
    // An exit code of 1 says that the jobs differ.
    let is_different = compare(arguments).map_err(CliError::usage)?;
    if is_different {
        return Err(CliError::failed(format_args!("{} and {} differ", source::name(a), source::name(b))));
    }
    Ok(())
}

/// Prints and draws what differs. Returns whether something does.
fn compare(arguments: &Arguments) -> Result<bool, CliError> {
    let Arguments { a, b, .. } = arguments;
    let picture = arguments.output.as_ref().map(|path| Ok::<_, CliError>((path, arguments.sheet.format(path)?)));
    let picture = picture.transpose()?;
    let jobs = (source::open(a, arguments.limit.into())?, source::open(b, arguments.limit.into())?);
    // Opened before the work, so that a missing folder is reported at once.
    let output =
        picture.map(|(path, format)| Ok::<_, CliError>((output::create(path, &[a, b])?, format))).transpose()?;
    let found = Difference::read(jobs.0, jobs.1).map_err(|error| match error {
        DifferenceError::A(error) => source::broken(a, &error),
        DifferenceError::B(error) => source::broken(b, &error),
        error => CliError::usage(error),
    })?;
    let mut is_printed = true;
    if let Some((mut output, format)) = output {
        let sheet = arguments.sheet.options(format!("A: {}, B: {}", source::title(a), source::title(b)));
        let picture = match format {
            plot::Format::Svg => found.to_svg(&sheet).into_bytes(),
            plot::Format::Png => found.to_png(&sheet).map_err(CliError::usage)?,
        };
        is_printed = !output.file.is_stdout();
        let name = output.file.name();
        let written = output.file.write_all(&picture);
        if output.finish(written)? && is_printed {
            remark(format_args!("{name}: {}", size(picture.len() as u64)));
        }
    }
    if arguments.json {
        print(serde_json::to_string(&found).map_err(CliError::usage)?);
    } else if is_printed {
        print(&found);
    }
    Ok(!found.is_same())
}
