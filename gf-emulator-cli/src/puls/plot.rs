//! `puls plot`: draws a job.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use gf_emulator_core::puls::{MAX_DISTANCE_MM, Plot, PlotOptions, View, WIDTHS_PX, off_bed};

use super::source;
use crate::error::CliError;
use crate::numbers;
use crate::output::{self, eprint};

/// Draw a job: the head's path, the laser, and both over time
///
/// Shows the work area from above, with the back on top: travel as thin lines, cuts coloured by laser density, engravings
/// by dose; below, speed and laser over time and the job's numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls plot job.puls
      Writes job.svg.
  gf-machine-emulator puls plot job.puls -o job.png --size 2400 --view job
  gf-machine-emulator puls plot - -o - < job.puls > job.svg

A pulse file does not say where on the bed it starts: use --start. A job that
leaves the bed is drawn anyway, with a remark on standard error.

Exit codes: 0 done; 1 reading or writing failed; 2 wrong usage, or a file that
cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file to write, ending in .svg or .png; `-` is standard output
    ///
    /// The default is the pulse file's name with .svg, in the current directory; standard output for standard input.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// The format, if the name of OUT does not tell
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The width in pixels, 240 to 10000. A phone has 360, a poster 6000
    #[arg(long, value_name = "PX", default_value_t = 1200, value_parser = numbers::within(WIDTHS_PX, "a whole number of pixels"))]
    size: u32,
    /// What to show
    #[arg(long, value_enum, default_value_t = Shown::Bed)]
    view: Shown,
    /// Where on the bed the job starts, in mm from the back left corner [default: 0,0]
    #[arg(long, value_name = "X,Y", value_parser = numbers::pair(-MAX_DISTANCE_MM..=MAX_DISTANCE_MM, "mm"))]
    start: Option<[f64; 2]>,
    #[command(flatten)]
    limit: source::Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Svg,
    Png,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shown {
    /// The whole work area, and everything the job reaches outside it
    Bed,
    /// The area that the job reaches
    Job,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let path = arguments.output.clone().unwrap_or_else(|| source::default_output(&arguments.file, "svg"));
    let format = format(arguments.format, &path)?;
    let job = source::open(&arguments.file, arguments.limit.into())?;
    // Opened before the work, so that a missing folder is reported at once.
    let mut output = output::create(&path, &[&arguments.file])?;
    let plot = Plot::from_job(job).map_err(|e| source::broken(&arguments.file, &e))?;

    let mut sheet = PlotOptions::new(source::title(&arguments.file));
    sheet.width_px = arguments.size;
    sheet.start_mm = arguments.start.unwrap_or_default().into();
    sheet.view = match arguments.view {
        Shown::Bed => View::Bed,
        Shown::Job => View::Job,
    };
    let picture = match format {
        Format::Svg => plot.to_svg(&sheet).into_bytes(),
        Format::Png => plot.to_png(&sheet).map_err(|e| source::broken(&arguments.file, &e))?,
    };
    let written = output.file.write_all(&picture);
    let (is_stdout, name) = (output.file.is_stdout(), output.file.name());
    if !output.finish(written)? {
        return Ok(());
    }
    let measured = plot.measured();
    if let Some(remark) = off_bed(&measured.header, &measured.extents, arguments.start) {
        eprint(format_args!("{}: remark: {remark}", source::name(&arguments.file)));
    }
    if !is_stdout {
        eprint(format_args!("{name}: {} kB", picture.len().div_ceil(1000)));
    }
    Ok(())
}

fn format(option: Option<Format>, output: &Path) -> Result<Format, CliError> {
    let extension = output.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    match (option, extension.as_deref()) {
        (Some(format), _) => Ok(format),
        (None, Some("png")) => Ok(Format::Png),
        (None, Some("svg")) => Ok(Format::Svg),
        (None, None) if source::is_std(output) => Ok(Format::Svg),
        _ => Err(CliError::usage(format_args!(
            "{}: SVG or PNG? Use a name that ends in .svg or .png, or --format",
            output.display()
        ))),
    }
}
