//! `puls plot`: a job as a picture.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use gf_emulator_core::puls::{MAX_DISTANCE_MM, Plot, PlotOptions, View, WIDTHS_PX};

use super::source;
use crate::failure::Failure;
use crate::numbers;
use crate::output::tell;
use crate::sink::Sink;

/// Draw a job: where the head goes, what the laser does, when
///
/// The work area from above, back left corner first: travel as thin lines, cuts by how often the laser fires, engravings
/// by dose; below, speed and laser over time and the job's numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls plot job.puls
      Writes job.svg.
  gf-machine-emulator puls plot job.puls -o job.png --size 2400 --view job
  gf-machine-emulator puls plot - -o - < job.puls > job.svg

A pulse file does not say where on the bed it begins: --start does. A job that
leaves the bed is drawn all the same, with a remark on standard error.

Exit codes: 0 done, 1 it could not be read or written, 2 wrong usage, or a file
that cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse file; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to, ending in .svg or .png; `-` is standard output
    ///
    /// Without it, the file's name with .svg behind it, in the current directory; standard output for standard input.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// As what, where the ending of OUT does not say
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// How wide, in pixels: 240 to 10000. A phone has 360, a poster 6000
    #[arg(long, value_name = "PX", default_value_t = 1200, value_parser = numbers::whole(WIDTHS_PX, " of pixels"))]
    size: u32,
    /// What to show
    #[arg(long, value_enum, default_value_t = Shown::Bed)]
    view: Shown,
    /// Where on the bed the job begins, in mm from its back left corner [default: 0,0]
    #[arg(long, value_name = "X,Y", value_parser = numbers::pair(-MAX_DISTANCE_MM..=MAX_DISTANCE_MM, " of mm"))]
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
    /// The whole work area, and what is outside of it
    Bed,
    /// What the job reaches
    Job,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = arguments.output.clone().unwrap_or_else(|| default_output(&arguments.file));
    let format = format(arguments.format, &output)?;
    let job = source::open(&arguments.file, arguments.limit.into())?;
    // Before the work: a folder that is not there is better known at once.
    let mut sink = Sink::create(&output, &[&arguments.file])?;
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
    let written = sink.write_all(&picture);
    let is_stdout = sink.is_stdout();
    if !sink.finish(written)? {
        return Ok(());
    }
    let measured = plot.measured();
    if let Some(how) = super::off_the_bed(&measured.header, &measured.extents, arguments.start) {
        tell(format_args!("{}: remark: {how}", source::name(&arguments.file)));
    }
    if !is_stdout {
        tell(format_args!("{}: {} kB", output.display(), picture.len().div_ceil(1000)));
    }
    Ok(())
}

fn default_output(file: &Path) -> PathBuf {
    match file.file_stem() {
        Some(stem) if file != Path::new("-") => Path::new(stem).with_added_extension("svg"),
        _ => PathBuf::from("-"),
    }
}

fn format(asked: Option<Format>, output: &Path) -> Result<Format, Failure> {
    if let Some(format) = asked {
        return Ok(format);
    }
    let ending = output.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("png") => Ok(Format::Png),
        Some("svg") => Ok(Format::Svg),
        None if output == Path::new("-") => Ok(Format::Svg),
        _ => Err(Failure::misused(format_args!(
            "{}: should it be SVG or PNG? Let it end in .svg or .png, or say so with --format",
            output.display()
        ))),
    }
}
