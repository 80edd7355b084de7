//! `puls check`: tells whether a machine would run a job.

use std::path::{Path, PathBuf};

use gf_emulator_core::puls::Limits;

use super::source;
use crate::error::CliError;
use crate::numbers;
use crate::output::{eprint, print};

/// Check whether a machine would run a job, and if not, why
///
/// Reads the whole file, and finds headers that are refused, a laser that fires before its power is set, gzip files that
/// are truncated or damaged, and anything unexpected.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls check job.puls
  gf-machine-emulator puls check job.puls --serial 12345

Without --serial, a job that is locked to one machine passes.

Exit codes: 0 all are good; 1 one is refused or broken; 2 wrong usage, or a file
that cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The machine's serial number
    #[arg(long, value_name = "N", value_parser = numbers::serial)]
    serial: Option<u32>,
    #[command(flatten)]
    limit: source::Limit,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut errors = Vec::new();
    for path in &arguments.files {
        match check(path, arguments.serial, arguments.limit.into()) {
            Ok(true) => {}
            Ok(false) => errors.push(CliError::failed("refused")),
            Err(error) => {
                eprint(&error);
                errors.push(error);
            }
        }
    }
    super::sum_up(&errors, arguments.files.len(), "would not run")
}

/// Prints remarks on a file and why it is refused. Returns whether a machine would run it. Fails if it is broken.
fn check(path: &Path, serial: Option<u32>, limits: Limits) -> Result<bool, CliError> {
    let (measured, _) = source::measure(path, limits)?;
    let name = source::name(path);
    for remark in measured.header.remarks() {
        print(format_args!("{name}: remark: {remark}"));
    }
    let reasons = measured.check(serial);
    for reason in &reasons {
        print(format_args!("{name}: refused: {reason}"));
    }
    if reasons.is_empty() {
        print(format_args!("{name}: good"));
    }
    Ok(reasons.is_empty())
}
