//! `collect`: a machine that goes online for its jobs, and then says what they are.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use gf_emulator_core::words::count;

use crate::failure::Failure;
use crate::output::say;
use crate::{numbers, puls, run};

/// Go online until jobs have come, and say what they are
///
/// As "run", and ends by itself: once so many jobs have come, or after some time. Then a table names the pulse files,
/// each with its numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator collect
      Until the first job has come.
  gf-machine-emulator collect --jobs 3 --for 600
      Until three have come, or ten minutes are over.

Exit codes: 0 all the jobs have come, 1 fewer have (however it ended) or
something failed, 2 wrong usage or configuration.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: run::Arguments,
    /// How many jobs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = numbers::whole(1..=u32::MAX, " of jobs"))]
    jobs: u32,
    /// For how many seconds at the most [default: for ever]
    #[arg(long = "for", value_name = "S", value_parser = numbers::seconds)]
    patience: Option<Duration>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut machine = run::make(&arguments.run)?;
    let emulator = &mut machine.emulator;
    let jobs: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
    let (handle, come, wanted) = (emulator.handle(), Arc::clone(&jobs), arguments.jobs as usize);
    emulator.on_job(move |job| {
        let mut jobs = come.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.push(job.path.clone());
        if jobs.len() == wanted {
            handle.stop();
        }
    });
    let (handle, patience) = (emulator.handle(), arguments.patience);
    let (over, ended) = bounded::<()>(0);
    let outcome = thread::scope(|scope| {
        if let Some(patience) = patience {
            scope.spawn(move || {
                if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                    handle.stop();
                }
            });
        }
        let outcome = run::go_online(emulator);
        drop(over);
        outcome
    });
    let jobs = std::mem::take(&mut *jobs.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(folder) = jobs.first().and_then(|job| job.parent()) {
        say(format_args!("{} in {}:", count(jobs.len(), "job"), folder.display()));
        puls::table(&jobs)?;
    }
    outcome?;
    match (jobs.len(), wanted) {
        (0, _) => Err(Failure::failed("no job has come")),
        (come, wanted) if come < wanted => {
            let have = if come == 1 { "has" } else { "have" };
            Err(Failure::failed(format_args!("{come} of {} {have} come", count(wanted, "job"))))
        }
        _ => Ok(()),
    }
}
