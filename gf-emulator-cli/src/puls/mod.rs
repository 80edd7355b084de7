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

`-` is standard input or output. Files may be gzip-compressed.

Exit codes: 0 done, 1 a file could not be read or is not good (the others were
seen to all the same), 2 wrong usage.")]
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

/// Many jobs, a row each.
pub(crate) fn table(files: &[PathBuf]) -> Result<(), Failure> {
    info::table(files)
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

fn number(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| format!("\"{text}\" is not a number"))
}

/// Two numbers, as `X,Y`.
fn pair(text: &str) -> Result<[f64; 2], String> {
    let (x, y) = text.split_once(',').ok_or("expected two numbers with a comma between them, such as 20,30")?;
    Ok([number(x)?, number(y)?])
}

/// The end of a command over many files: each bad one has been named.
fn ended(bad: usize, of: usize) -> Result<(), Failure> {
    if bad == 0 { Ok(()) } else { Err(Failure::failed(format_args!("{bad} of {of} files could not be read"))) }
}
