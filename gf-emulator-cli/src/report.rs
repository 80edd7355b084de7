//! `report`: renders a recorded session as an HTML page.

use std::path::PathBuf;

use gf_emulator_core::report::Report;
use gf_emulator_core::words::count;

use crate::error::CliError;
use crate::output::{self, remark};
use crate::{numbers, progress, recording};

/// Render a recorded session as an HTML page
///
/// The page is one self-contained file for any browser: it loads nothing, and works without JavaScript. It shows the
/// conversation as a sequence diagram, and each action with its pictures, a drawing of its job, its settings, and its
/// errors; raw JSON on demand. A page has at most 20,000 entries; use --from for the next page.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator report recording
      Writes report.html.
  gf-machine-emulator report recording -o monday.html
  gf-machine-emulator report recording --from 20001 -o second.html
      The entries that did not fit on the first page.
  gf-machine-emulator report recording -o - | gzip > report.html.gz

Lines of the recording that cannot be read are skipped, and listed on the page.
No file of the recording is overwritten.

Exit codes: 0 done; 1 reading or writing failed; 2 wrong usage, or a recording
or an output that cannot be opened.")]
pub(crate) struct Arguments {
    /// The folder of a recording, or its session.jsonl
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "OUT", default_value = "report.html")]
    output: PathBuf,
    /// The number of the machine, in a recording of a fleet
    #[arg(long, value_name = "N", value_parser = numbers::machine)]
    machine: Option<u32>,
    /// The first entry on the page, counted from 1; earlier ones count in the summary only
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = numbers::within(1..=u64::MAX, "a whole number"))]
    from: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let recording = recording::open(&arguments.folder, arguments.machine)?;
    // Opened before the work, so that a missing folder is reported at once.
    let mut output = output::create(&arguments.output, &[recording.folder()])?;
    let report = Report::read_from(recording, arguments.from)?;
    let entries = report.entries();
    if report.shown().is_none() && entries > 0 {
        let entries = if entries == 1 { "1 entry".into() } else { format!("{entries} entries") };
        return Err(CliError::usage(format_args!("--from {}: the recording has only {entries}", arguments.from)));
    }
    let mut on_progress = progress::of(output.file.name());
    let written = report.write_with_progress(&mut output.file, &mut on_progress);
    drop(on_progress);
    let (is_stdout, name) = (output.file.is_stdout(), output.file.name());
    let not_shown = *written.as_ref().unwrap_or(&0);
    if not_shown > 0 {
        let places = count(not_shown, "place");
        remark(format_args!("{name}: in {places}, a picture or job cannot be shown: the page says why"));
    }
    if !output.finish(written.map(drop))? || is_stdout {
        return Ok(());
    }
    let [actions, messages] = [count(report.actions(), "action"), count(report.messages(), "message")];
    remark(format_args!("{name}: {actions}, {messages}, {}", count(report.problems(), "problem")));
    if let Some((first, last)) = report.shown().filter(|(_, last)| *last < entries) {
        remark(format_args!(
            "{name}: contains entries {first} to {last} of {entries}; use --from {} for the next page",
            last + 1
        ));
    }
    Ok(())
}
