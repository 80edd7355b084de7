//! `puls`: what is done with pulse files, one file a command.

mod check;
mod export;
mod info;
mod make;
mod plot;
mod progress;
mod source;

use std::path::PathBuf;

use clap::Subcommand;
use gf_emulator_core::puls::{Extents, Header, Limits, Span, WORK_AREA_MM};
use gf_emulator_core::words::count;

use crate::failure::Failure;

/// Read pulse files, draw them, write them in other formats, make new ones
///
/// A pulse file is what the service sends a machine to run: a header, then one byte for each tick of the stepper motors
/// and the laser. The emulator keeps every one it gets.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls info motion/*.puls
  gf-machine-emulator puls plot job.puls -o job.png
  gf-machine-emulator puls check job.puls --serial 12345
  gf-machine-emulator puls export job.puls --format gcode -o job.gcode
  gf-machine-emulator puls make --circle 30 --at 20,20 -o circle.puls
  gf-machine-emulator puls make --from job.gcode -o job.puls

`-` is standard input or output. Files may be gzip-compressed; of a job longer
than --max-bytes, after inflating, no more is read.

Exit codes: 0 done, 1 a file could not be read or is not good (the others were
seen to all the same), or Ctrl-C or SIGTERM came before the end, 2 wrong usage, or
a file that cannot be opened. Nothing is written over a file that is read.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Info(info::Arguments),
    Plot(plot::Arguments),
    Check(check::Arguments),
    Export(export::Arguments),
    Make(make::Arguments),
}

/// Many jobs that have been measured before, within a limit: a row each.
pub(crate) fn table(files: &[PathBuf]) -> Result<(), Failure> {
    info::table(files, Limits::NONE)
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Info(arguments) => info::run(arguments),
        Command::Plot(arguments) => plot::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Make(arguments) => make::run(arguments),
    }
}

/// How a job leaves the bed, if it does: from `start_mm` on, in mm from the bed's back left corner, or, where that is not
/// known, wherever it begins.
fn off_the_bed(header: &Header, extents: &Extents, start_mm: Option<[f64; 2]>) -> Option<String> {
    /// Less than this is rounding to steps.
    const SLACK_MM: f64 = 0.05;
    let reach = |Span { min, max }: Span, mm: fn(&Header, i64) -> f64| [mm(header, min), mm(header, max)];
    let ([left, right], [back, front]) = (reach(extents.x, Header::x_mm), reach(extents.y, Header::y_mm));
    let (width, depth) = WORK_AREA_MM;
    let off = |least: f64, most: f64, size: f64| least < -SLACK_MM || most > size + SLACK_MM;
    if let Some([x, y]) = start_mm
        && (off(x + left, x + right, width) || off(y + back, y + front, depth))
    {
        return Some(format!(
            "begun at {x},{y} the job leaves the bed, which is {width} x {depth} mm: it reaches X {:.1} to {:.1}, \
             Y {:.1} to {:.1} mm",
            x + left,
            x + right,
            y + back,
            y + front
        ));
    }
    (off(0.0, right - left, width) || off(0.0, front - back, depth)).then(|| {
        format!(
            "the job does not fit on the bed, which is {width} x {depth} mm: from where it begins, it reaches \
             X {left:.1} to {right:.1}, Y {back:.1} to {front:.1} mm"
        )
    })
}

/// The end of a command over so many files, of which each bad one has been named, and `what` they all are.
fn ended(bad: &[Failure], of: usize, what: &str) -> Result<(), Failure> {
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure::of(bad, format_args!("{} of {} {what}", bad.len(), count(of, "file"))))
}
