//! `report`: a recorded session as a page to read.

use std::path::PathBuf;

use gf_emulator_core::record::Recording;
use gf_emulator_core::report::Report;
use gf_emulator_core::words::count;

use crate::failure::Failure;
use crate::numbers;
use crate::output::tell;
use crate::sink::Sink;

/// Write what was recorded as a page: what was asked, done and drawn, and what went wrong
///
/// One file of HTML with everything in it, for any browser: it opens no connection, and reads with scripts off. The
/// conversation as a sequence diagram, each action with its pictures, its job drawn and its settings; raw JSON on demand.
/// A page has 20,000 entries at the most; --from makes the next ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator report recording
      Writes report.html.
  gf-machine-emulator report recording -o monday.html
  gf-machine-emulator report recording --from 20001 -o second.html
      What did not fit on the first page.
  gf-machine-emulator report recording -o - | gzip > report.html.gz

Lines of the recording that cannot be read are left out, and named in the page.

Nothing of the recording is overwritten.

Exit codes: 0 done, 1 it could not be read or written, 2 wrong usage, or a
recording or an output that cannot be opened.")]
pub(crate) struct Arguments {
    /// The folder of a recording, or the session.jsonl in it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to; `-` is standard output
    #[arg(short, long, value_name = "OUT", default_value = "report.html")]
    output: PathBuf,
    /// Begin the page with this entry, counted from 1; what is before it is counted in the summary
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = numbers::whole(1..=u64::MAX, ""))]
    from: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = &arguments.output;
    let recording = Recording::open(&arguments.folder).map_err(Failure::misused)?;
    // Before the work: a folder that is not there is better known at once.
    let mut sink = Sink::create(output, &[recording.folder()])?;
    let report = Report::read_from(recording, arguments.from)?;
    let written = report.write(&mut sink);
    let is_stdout = sink.is_stdout();
    if sink.finish(written)? && !is_stdout {
        tell(format_args!(
            "{}: {}, {}, {} to look at",
            output.display(),
            count(report.actions(), "action"),
            count(report.messages(), "message"),
            count(report.problems(), "thing")
        ));
        let entries = report.entries();
        match report.shown() {
            Some((first, last)) if last < entries => tell(format_args!(
                "{}: entries {first} to {last} of {entries} are on this page: --from {} makes the next one",
                output.display(),
                last + 1
            )),
            None if entries > 0 => {
                let entries = if entries == 1 { "1 entry".into() } else { format!("{entries} entries") };
                tell(format_args!("{}: the recording has {entries}: none is on this page", output.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
