//! `import`: makes a recording of a HAR file, or of the log of another mock service.

use std::path::PathBuf;

use gf_emulator_core::record::Recorder;
use gf_emulator_core::words::count;
use gf_emulator_core::{Error, record};

use crate::error::CliError;
use crate::output::{print, remark};
use crate::progress;

/// Make a recording of a HAR file, or of the log of another mock service
///
/// The recording can be used like any other, for example with "report" or "serve --replay".
///
/// Passwords, tokens and the queries of URLs are left out; so are serial numbers, unless --serial is given. What cannot
/// be converted is skipped and reported with its line.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE is recognised by its content.

A HAR file (version 1.2) is what mitmproxy and the network panel of a browser
save: requests, and the WebSocket's messages as \"_webSocketMessages\". Bodies of
responses are kept up to 64 MiB; bodies of requests only if they are JSON or not
text. One that was written by \"export\" may refer to files beside it.

A log of a mock service has one JSON object a line, with \"t\" in seconds and a
\"kind\":
  http       a request to the service: \"method\", \"path\", \"headers\", \"body\",
             \"size\"
  ws_open    a WebSocket was opened
  ws_tx      an action that the service sent: \"msg\"
  ws_rx      a message that the machine sent: \"text\"
  ws_closed  the WebSocket was closed: \"code\"
  done       the service has finished

Examples:
  mitmdump --set hardump=session.har
  gf-machine-emulator import session.har -o recording
  gf-machine-emulator serve --listen 127.0.0.1:8080 --plain --replay recording

FILE must be a regular file; a line of a log of more than 1 MiB is skipped.
Recordings of this program need no import: report and serve --replay read them
directly.

Exit codes: 0 done, even if something was skipped; 1 nothing in FILE can be
converted, or it is a HAR file that is not valid; 2 wrong usage, FILE cannot be
opened, or DIR cannot be written to or has a recording already. Unless it is 0,
nothing is left behind.")]
pub(crate) struct Arguments {
    /// The HAR file or log to read
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
    let on_progress = progress::of(file.display().to_string());
    let imported = record::import_with_progress(file, output, *serial, on_progress).map_err(|error| match error {
        Error::File { doing: "read", .. } => CliError::usage(error),
        other => other.into(),
    })?;
    for skipped in &imported.skipped {
        remark(format_args!("{}, line {}: skipped: {}", file.display(), skipped.line, skipped.reason));
    }
    if imported.skipped.len() == record::MAX_SKIPPED {
        remark(format_args!("{}: more lines may have been skipped", file.display()));
    }
    let converted = if imported.lines > 0 {
        count(imported.lines, "line")
    } else {
        format!("{} and {}", count(imported.requests, "request"), count(imported.messages, "message"))
    };
    print(format_args!("{}: converted {converted}", output.display()));
    Ok(())
}
