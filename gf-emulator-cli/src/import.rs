//! `import`: converts the log of another mock service into a recording.

use std::path::PathBuf;

use gf_emulator_core::record::Recorder;
use gf_emulator_core::words::count;
use gf_emulator_core::{Error, record};

use crate::error::CliError;
use crate::output::{eprint, print};

/// Convert the log of another mock service into a recording
///
/// The recording can be used like any other, for example with "serve --replay".
///
/// Passwords, tokens and the queries of URLs are left out; so are serial numbers, unless --serial is given. A line that
/// cannot be converted is skipped and reported.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE has one JSON object a line, with \"t\" in seconds and a \"kind\":
  http       a request to the service: \"method\", \"path\", \"headers\", \"body\",
             \"size\"
  ws_open    a WebSocket was opened
  ws_tx      an action that the service sent: \"msg\"
  ws_rx      a message that the machine sent: \"text\"
  ws_closed  the WebSocket was closed: \"code\"
  done       the service has finished

Example:
  gf-machine-emulator import session.jsonl -o recording
  gf-machine-emulator serve --listen 127.0.0.1:8080 --plain --replay recording

FILE must be a regular file; a line of more than 1 MiB is skipped. Recordings of
this program need no import: report and serve --replay read them directly.

Exit codes: 0 done, even if lines were skipped; 1 no line of FILE can be
converted; 2 wrong usage, FILE cannot be opened, or DIR cannot be written to or
has a recording already. Unless it is 0, nothing is left behind.")]
pub(crate) struct Arguments {
    /// The log to read
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder to create
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Keep serial numbers
    #[arg(long)]
    serial: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Arguments { file, output, serial } = arguments;
    Recorder::check_folder(output).map_err(CliError::usage)?;
    let imported = record::import(file, output, *serial).map_err(|error| match error {
        Error::File { doing: "read", .. } => CliError::usage(error),
        other => other.into(),
    })?;
    for skipped in &imported.skipped {
        eprint(format_args!("{}, line {}: skipped: {}", file.display(), skipped.line, skipped.reason));
    }
    if imported.skipped.len() == record::MAX_SKIPPED {
        eprint(format_args!("{}: more lines may have been skipped", file.display()));
    }
    print(format_args!("{}: converted {}", output.display(), count(imported.lines, "line")));
    Ok(())
}
