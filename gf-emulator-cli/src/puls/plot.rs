//! `puls plot`: draws a job.

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;
use gf_emulator_core::puls::{Job, MAX_DISTANCE_MM, Plot, PlotOptions, Seconds, View, WIDTHS_PX, off_bed};
use gf_emulator_core::words::size;

use super::source;
use crate::error::CliError;
use crate::numbers;
use crate::output::{self, remark};

/// The latest time that an option takes: a year.
const MAX_TIME_S: f64 = 31_536_000.0;

/// Draw a job: the path of the head and the laser, and speed, laser and lens over time
///
/// Shows the work area from above, with the back on top: travel as thin lines, cuts coloured by laser density, engravings
/// by dose; below, speed and laser over time, the lens if it moves, and the job's numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls plot job.puls
      Writes job.puls.svg.
  gf-machine-emulator puls plot job.puls -o job.png --size 2400 --view job
  gf-machine-emulator puls plot job.puls --at 1:30
      Marks where the head is after 90 seconds; what comes later is faint.
  gf-machine-emulator puls plot - -o - < job.puls > job.svg

OUT ends in .svg or .png. A pulse file does not say where on the bed it starts:
use --start. A job that does not fit on the bed, from there or from anywhere, is
drawn anyway, with a remark on standard error.

Exit codes: 0 done; 1 reading or writing failed; 2 wrong usage, or a file that
cannot be opened.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    paths: source::Paths,
    #[command(flatten)]
    sheet: Sheet,
    /// Mark where the head is at this time, such as 12.5 (seconds), 0:30 or 1:02:03
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<f64>,
    #[command(flatten)]
    limit: source::Limit,
}

/// The options of every command that draws on the bed.
#[derive(Debug, clap::Args)]
pub(super) struct Sheet {
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
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
    let (file, path) = (&arguments.paths.file, arguments.paths.output("svg"));
    let format = arguments.sheet.format(&path)?;
    let job = source::open(file, arguments.limit.into())?;
    let at_tick = arguments.at.map(|at_s| tick_at(&job, at_s)).transpose();
    let at_tick = at_tick.map_err(|why| CliError::failed(format_args!("{}: {why}", source::name(file))))?;
    // Opened before the work, so that a missing folder is reported at once.
    let mut output = output::create(&path, &[file])?;
    let plot = match at_tick {
        Some(tick) => Plot::from_job_at(job, tick),
        None => Plot::from_job(job),
    };
    let plot = plot.map_err(|e| source::broken(file, &e))?;

    let sheet = arguments.sheet.options(source::title(file));
    let picture = match format {
        Format::Svg => plot.to_svg(&sheet).into_bytes(),
        Format::Png => plot.to_png(&sheet).map_err(|e| source::broken(file, &e))?,
    };
    let written = output.file.write_all(&picture);
    let (is_stdout, name) = (output.file.is_stdout(), output.file.name());
    if !output.finish(written)? {
        return Ok(());
    }
    let measured = plot.measured();
    if let Some(text) = off_bed(&measured.header, &measured.extents, arguments.sheet.start) {
        remark(format_args!("{}: remark: {text}", source::name(file)));
    }
    if let Some(end_s) = measured.run_time_s.filter(|_| at_tick.is_some_and(|tick| tick > measured.ticks)) {
        let end = Seconds(end_s);
        remark(format_args!("{}: remark: --at is after the end of the job, which is at {end}", source::name(file)));
    }
    if !is_stdout {
        remark(format_args!("{name}: {}", size(picture.len() as u64)));
    }
    Ok(())
}

/// Parses a time as seconds, `minutes:seconds` or `hours:minutes:seconds`, in seconds.
fn time(text: &str) -> Result<f64, String> {
    let seconds = |text: &str| {
        let is_decimal =
            text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == '.');
        text.parse::<f64>().ok().filter(|_| is_decimal)
    };
    let minutes = |text: &str| text.parse::<u32>().map(f64::from).ok().filter(|_| !text.starts_with('+'));
    let below_60 = |number: &f64| *number < 60.0;
    let parts: Vec<_> = text.trim().split(':').collect();
    let total = match parts[..] {
        [s] => seconds(s),
        [m, s] => minutes(m).zip(seconds(s).filter(below_60)).map(|(m, s)| 60.0 * m + s),
        [h, m, s] => minutes(h)
            .zip(minutes(m).filter(below_60))
            .zip(seconds(s).filter(below_60))
            .map(|((h, m), s)| 3600.0 * h + 60.0 * m + s),
        _ => None,
    };
    total
        .filter(|total| *total <= MAX_TIME_S)
        .ok_or_else(|| format!("expected a time from 0 to {MAX_TIME_S} seconds, such as 12.5, 0:30 or 1:02:03"))
}

/// Returns the number of ticks until a time.
fn tick_at<R: std::io::Read>(job: &Job<R>, at_s: f64) -> Result<u64, &'static str> {
    let hz =
        job.header().step_frequency_hz().ok_or("the header has no step frequency (STfr), so that --at has no tick")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a year, not negative")]
    let tick = (at_s * f64::from(hz)).round() as u64;
    Ok(tick)
}

impl Sheet {
    /// Returns the format of a picture with this name.
    pub(super) fn format(&self, output: &Path) -> Result<Format, CliError> {
        let extension = output.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match (self.format, extension.as_deref()) {
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

    pub(super) fn options(&self, title: String) -> PlotOptions {
        let mut options = PlotOptions::new(title);
        options.width_px = self.size;
        options.start_mm = self.start.unwrap_or_default();
        options.view = match self.view {
            Shown::Bed => View::Bed,
            Shown::Job => View::Job,
        };
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_a_clock() {
        for (text, seconds) in [
            ("0", 0.0),
            ("12.5", 12.5),
            (" 90 ", 90.0),
            ("0:30", 30.0),
            ("2:05.5", 125.5),
            ("1:02:03", 3723.0),
            ("90:00", 5400.0),
        ] {
            assert_eq!(time(text), Ok(seconds), "{text}");
        }
        for text in [
            "", ":", "-1", "1:60", "1:60:00", "1:-1", "+1:00", "1e3", "inf", "nan", "1:2:3:4", "5s", "31536001", ".",
            "1:",
        ] {
            assert!(time(text).is_err_and(|e| e.contains("from 0 to 31536000 seconds, such as")), "{text}");
        }
    }
}
