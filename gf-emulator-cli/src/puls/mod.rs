//! `puls`: what is done with pulse files, one file a command.

mod check;
mod export;
mod info;
mod plot;
mod progress;
mod sink;
mod source;

use clap::Subcommand;

use crate::failure::Failure;

/// Pulse files: their numbers, pictures of them, what is wrong with them
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
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.command {
        Command::Info(arguments) => info::run(arguments),
        Command::Plot(arguments) => plot::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Export(arguments) => export::run(arguments),
    }
}

/// A place in mm, as `X,Y`.
fn place(text: &str) -> Result<(f64, f64), String> {
    let number = |text: &str| text.trim().parse().ok().filter(|mm: &f64| mm.is_finite());
    text.split_once(',')
        .and_then(|(x, y)| Some((number(x)?, number(y)?)))
        .ok_or_else(|| "expected two numbers of mm, such as 20,35.5".to_owned())
}

/// The end of a command over many files: each bad one has been named.
fn ended(bad: usize, of: usize) -> Result<(), Failure> {
    if bad == 0 { Ok(()) } else { Err(Failure::failed(format_args!("{bad} of {of} files could not be read"))) }
}
