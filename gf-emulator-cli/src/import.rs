//! `import`: another service's recording, made into one of this project.

use std::path::PathBuf;

use gf_emulator_core::words::count;
use gf_emulator_core::{Error, record};

use crate::failure::Failure;
use crate::folders;
use crate::output::{say, tell};

/// Make another stand-in service's recording into one of this project's
///
/// The folder is then good for whatever takes a recording, such as "serve --replay".
///
/// Passwords, tokens and the queries of URLs are left out, and so are serial numbers, but with --serial. A line that is
/// none of these is left out too, and named.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE has a JSON object a line, with \"t\" in seconds and a \"kind\":
  http       a request that the service got: \"method\", \"path\", \"headers\",
             \"body\", \"size\"
  ws_open    a WebSocket was opened
  ws_tx      an action that the service sent: \"msg\"
  ws_rx      what the machine sent: \"text\"
  ws_closed  the WebSocket is closed: \"code\"
  done       the service has done what it was to do

Example:
  gf-machine-emulator import session.jsonl -o recording
  gf-machine-emulator serve --listen 127.0.0.1:8080 --plain --replay recording

FILE must be a regular file; a line of more than 1 MiB is left out. A recording
of this program needs no import: report and serve --replay take it as it is.

Exit codes: 0 done, though lines may have been left out; 1 nothing in FILE can
be used; 2 wrong usage, FILE cannot be opened, or DIR cannot be written in or has
a recording already. Where it is not 0, nothing is left behind.")]
pub(crate) struct Arguments {
    /// The recording to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder to make
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Keep serial numbers
    #[arg(long)]
    serial: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { file, output, serial } = arguments;
    folders::can_record_in(output)?;
    let imported = record::import(file, output, *serial).map_err(|error| match error {
        Error::File { doing: "read", .. } => Failure::misused(error),
        other => other.into(),
    })?;
    for skipped in &imported.skipped {
        tell(format_args!("{}, line {}, is left out: {}", file.display(), skipped.line, skipped.reason));
    }
    if imported.skipped.len() == record::MAX_SKIPPED {
        tell(format_args!("{}: more lines than these may be left out", file.display()));
    }
    let are = if imported.lines == 1 { "is" } else { "are" };
    say(format_args!("{} {are} in {} now", count(imported.lines, "line"), output.display()));
    Ok(())
}
