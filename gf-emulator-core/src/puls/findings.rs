//! What is wrong or odd in a job: every rule that is known of the machine, for the header and for each tick of the body.

use std::io::Read;

use super::body_rules::Body;
use super::finding::{Find, Finding, Severity};
use super::{Job, Result, header_rules};

/// What is known of the machine and of the place of a job.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// The serial number of the machine; `None` is any machine, which passes every lock.
    pub serial: Option<u32>,
    /// Where on the bed the job starts, in mm from the back left corner; `None` if unknown: the job has to fit somewhere.
    pub start_mm: Option<[f64; 2]>,
}

/// What was found in a job.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Findings {
    /// Those of the header first, then those of the body by tick, then those of the job as a whole.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// Returns whether a machine would run the job: there is no error.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Remark)
    }
}

/// How much of a body a machine holds at once: a ring buffer of 32 MiB, of which 32 KiB stay unwritten (read from firmware
/// 2.6). The rest is added while it plays.
const RING_BYTES: u64 = (32 << 20) - (32 << 10);
/// Sizes of the file as downloaded from which the open-source client logs a remark, and above which it refuses it.
const LARGE_BYTES: u64 = 32 << 20;
const MAX_BYTES: u64 = 128 << 20;

/// Reads a job to its end and checks it: the header, each tick of the body, and the job as a whole. Returns what is wrong or
/// odd in it.
///
/// The rules are those of the open-source clients and what was measured on hardware or read from the firmware. A factory
/// machine may still refuse a job without errors: it demands 29 codes in the header, of which nobody knows the names.
///
/// ```
/// use gf_emulator_core::puls::{Builder, CheckOptions, Job, check, code};
///
/// let mut job = Builder::new();
/// job.move_to(300.0, 0.0)?;
/// assert!(check(Job::open(&job.to_bytes()[..])?, &CheckOptions::default())?.is_good());
///
/// job.set(code::DATA_FORMAT, 7)?.move_to(600.0, 0.0)?;
/// let found = check(Job::open(&job.to_bytes()[..])?, &CheckOptions::default())?;
/// let rules: Vec<_> = found.findings.iter().map(|finding| finding.rule).collect();
/// assert_eq!(rules, ["data-format", "off-bed"]);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// Those of [`Job::next_chunk`].
pub fn check<R: Read>(mut job: Job<R>, options: &CheckOptions) -> Result<Findings> {
    let header = job.header().clone();
    let mut body = Body::new(&header, options.start_mm);
    while let Some(chunk) = job.next_chunk()? {
        body.add(chunk);
    }
    let mut findings = Vec::new();
    let mut find = |severity, rule, message| {
        findings.push(Finding { severity, rule, tick: None, time_s: None, message });
    };
    header_rules::check(&header, options.serial, body.fires(), &mut find);
    size_findings(job.bytes_read(), body.ticks(), &mut find);
    findings.extend(body.finish());
    Ok(Findings { findings })
}

fn size_findings(file_bytes: u64, ticks: u64, find: Find<'_>) {
    if file_bytes > MAX_BYTES {
        let message = format!("the file has {file_bytes} bytes; machines refuse more than {MAX_BYTES}");
        find(Severity::Error, "file-size", message);
    } else if file_bytes >= LARGE_BYTES {
        let message = format!("the file has {file_bytes} bytes; machines log a warning from {LARGE_BYTES}");
        find(Severity::Remark, "file-size", message);
    }
    if ticks == 0 {
        find(Severity::Remark, "empty", "the body is empty".to_owned());
    } else if ticks > RING_BYTES {
        let message =
            format!("the body has {ticks} ticks; a machine holds {RING_BYTES} and loads the rest while it plays");
        find(Severity::Remark, "length", message);
    }
}
