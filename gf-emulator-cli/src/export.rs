//! `export`: writes a recorded session for other programs.

use std::path::PathBuf;

use clap::ValueEnum;
use gf_emulator_core::record::{self, HarError};
use gf_emulator_core::words::count;

use crate::error::CliError;
use crate::output::{self, remark};
use crate::{numbers, recording};

/// Write a recorded session as a HAR file
///
/// HAR 1.2 with the WebSocket's messages, in the form of the developer tools of browsers and of mitmproxy. It has no
/// secrets: passwords, tokens and the queries of URLs are "***", as in the recording.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator export --har recording
      Writes session.har.
  gf-machine-emulator export --har recording -o monday.har --bodies refer
      With the names of pictures and jobs instead of their content.
  gf-machine-emulator export --har recording -o - |
      jq '.log.entries[].request.url'

Bodies of responses that are not text are base64. Those of requests have a
character for each byte (Latin-1), as in mitmproxy: HAR 1.2 has no encoding for
them. With --bodies refer, \"_file\" is the name of a file of the recording.

mitmproxy's own reader of HAR files ignores the messages of WebSockets.

Exit codes: 0 done, even if a line or a body was skipped; 1 reading or writing
failed; 2 wrong usage, or a recording or an output that cannot be opened.")]
pub(crate) struct Arguments {
    /// The folder of a recording, or its session.jsonl
    #[arg(value_name = "RECORDING")]
    folder: PathBuf,
    /// The number of the machine, in a recording of a fleet
    #[arg(long, value_name = "N", value_parser = numbers::machine)]
    machine: Option<u32>,
    /// Write HAR 1.2, the only format so far
    #[arg(long, required = true)]
    har: bool,
    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "OUT", default_value = "session.har")]
    output: PathBuf,
    /// Where the pictures, jobs and long texts are
    #[arg(long, value_enum, default_value_t = Bodies::Embed)]
    bodies: Bodies,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bodies {
    /// In the HAR file
    Embed,
    /// In the files of the recording: the HAR file has their names
    Refer,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let recording = recording::open(&arguments.folder, arguments.machine)?;
    let mut output = output::create(&arguments.output, &[recording.folder()])?;
    let bodies = match arguments.bodies {
        Bodies::Embed => record::Bodies::Embedded,
        Bodies::Refer => record::Bodies::Referenced,
    };
    let (written, summary) = match record::export_har(recording, bodies, &mut output.file) {
        Ok(summary) => (Ok(()), Some(summary)),
        Err(HarError::Write(source)) => (Err(source), None),
        Err(error) => return Err(CliError::failed(error)),
    };
    let name = output.file.name();
    let (true, Some(summary)) = (output.finish(written)?, summary) else { return Ok(()) };
    for skipped in &summary.skipped {
        remark(format_args!("{}, line {}: skipped: {}", arguments.folder.display(), skipped.line, skipped.reason));
    }
    for missing in &summary.missing {
        remark(format_args!("{}: left out: {missing}", arguments.folder.display()));
    }
    let counts = [(summary.requests, "request"), (summary.web_sockets, "WebSocket"), (summary.messages, "message")];
    let [requests, web_sockets, messages] = counts.map(|(number, what)| count(number, what));
    remark(format_args!("{name}: {requests}, {web_sockets}, {messages}"));
    Ok(())
}
