//! `puls view`: writes a job as a page with a time slider.

use gf_emulator_core::report::JobView;

use super::source;
use crate::error::CliError;
use crate::output::{self, remark};

/// Write a job as a page for a browser, with a time slider
///
/// Shows the head's path from above. Move the slider, or press Play, to see where the head is at any time, what is done by
/// then, and the speed, lens, laser and power.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls view job.puls
      Writes job.puls.html.
  gf-machine-emulator puls view - -o job.html < job.puls

The page is one file that needs no network. It takes at most a few megabytes.

Exit codes: 0 done; 1 reading or writing failed; 2 wrong usage, or a file that
cannot be opened.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    paths: source::Paths,
    #[command(flatten)]
    limit: source::Limit,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let (file, path) = (&arguments.paths.file, arguments.paths.output("html"));
    if path
        .extension()
        .is_some_and(|extension| !["html", "htm"].iter().any(|html| extension.eq_ignore_ascii_case(html)))
    {
        return Err(CliError::usage(format_args!("{}: a page: use a name that ends in .html", path.display())));
    }
    let job = source::open(file, arguments.limit.into())?;
    // Opened before the work, so that a missing folder is reported at once.
    let mut output = output::create(&path, &[file])?;
    let view = JobView::read(job).map_err(|e| source::broken(file, &e))?;
    let written = view.write(&source::title(file), &mut output.file);
    let (is_stdout, name) = (output.file.is_stdout(), output.file.name());
    if !output.finish(written)? {
        return Ok(());
    }
    if let Some(left_out) = view.left_out() {
        remark(format_args!("{name}: remark: {left_out}"));
    }
    if !is_stdout {
        remark(format_args!("{name}: open it in a browser"));
    }
    Ok(())
}
