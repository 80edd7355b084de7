//! `collect`: goes online until enough jobs have arrived, then lists them.

use std::time::Duration;

use gf_emulator_core::words::count;

use crate::error::CliError;
use crate::output::print;
use crate::{numbers, puls, run};

/// Go online until a number of jobs has arrived, and list them
///
/// Like "run", but ends by itself: after --jobs jobs, or after --for seconds. Then prints a table of the pulse files with
/// their numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator collect
      Until the first job has arrived.
  gf-machine-emulator collect --jobs 3 --for 600
      Until three have arrived, or for ten minutes.

Exit codes: 0 all jobs arrived; 1 fewer arrived (however it ended), or
something failed; 2 wrong usage or configuration.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: run::Arguments,
    /// How many jobs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = numbers::within(1..=u32::MAX, "a whole number of jobs"))]
    jobs: u32,
    /// How many seconds at most [default: no limit]
    #[arg(long = "for", value_name = "S", value_parser = numbers::seconds)]
    timeout: Option<Duration>,
    /// Print one JSON object a line for each job, as "puls info --json" does
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let wanted = arguments.jobs as usize;
    let (jobs, ended) = run::set_up(&arguments.run)?.emulator.collect(wanted, arguments.timeout);
    let ended = run::report_end(ended);
    if arguments.json {
        puls::print_json(&jobs)?;
    } else if let Some(folder) = jobs.first().and_then(|job| job.parent()) {
        print(format_args!("{} in {}:", count(jobs.len(), "job"), folder.display()));
        puls::table(&jobs)?;
    }
    ended?;
    match jobs.len() {
        0 => Err(CliError::failed("no job arrived")),
        arrived if arrived < wanted => {
            Err(CliError::failed(format_args!("only {arrived} of {} arrived", count(wanted, "job"))))
        }
        _ => Ok(()),
    }
}
