//! `puls check`: whether a machine would run it.

use std::path::{Path, PathBuf};

use gf_emulator_core::puls::{Header, Limits};

use super::source;
use crate::failure::Failure;
use crate::numbers;
use crate::output::{say, tell};

/// Say whether a machine would run a job, and if not, why
///
/// The whole file is read: a header that is refused, a gzip file that is cut or damaged, anything that should not be
/// there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls check job.puls
  gf-machine-emulator puls check job.puls --serial 12345

Without --serial, a job that is locked to one machine passes, whichever it is.

Exit codes: 0 all are good, 1 one is refused or broken, 2 wrong usage, or a file
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

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut bad = Vec::new();
    for path in &arguments.files {
        match check(path, arguments.serial, arguments.limit.into()) {
            Ok(Verdict { header, reasons }) => {
                for remark in header.remarks() {
                    say(format_args!("{}: remark: {remark}", source::name(path)));
                }
                for reason in &reasons {
                    say(format_args!("{}: refused: {reason}", source::name(path)));
                }
                if reasons.is_empty() {
                    say(format_args!("{}: good", source::name(path)));
                } else {
                    bad.push(Failure::failed(reasons.join("; ")));
                }
            }
            Err(failure) => {
                tell(&failure);
                bad.push(failure);
            }
        }
    }
    super::ended(&bad, arguments.files.len(), "would not run")
}

/// What is found in a file that is whole.
struct Verdict {
    header: Header,
    reasons: Vec<String>,
}

fn check(path: &Path, serial: Option<u32>, limits: Limits) -> Result<Verdict, Failure> {
    let mut job = source::open(path, limits)?;
    while job.next_chunk().map_err(|e| source::broken(path, &e))?.is_some() {}
    let header = job.header().clone();
    let reasons = header.check(serial).iter().map(ToString::to_string).collect();
    Ok(Verdict { header, reasons })
}
