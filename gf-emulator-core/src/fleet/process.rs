//! [`ProcessFigures`]: what this process uses of the computer.

use std::fmt;
use std::fs;

use serde_json::{Value, json};

/// What this process uses of the computer. Everything is `None` on systems without `/proc`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessFigures {
    /// Its resident memory, in KiB.
    pub resident_kib: Option<u64>,
    /// The most resident memory that it has had, in KiB.
    pub peak_kib: Option<u64>,
    /// Its threads.
    pub threads: Option<u64>,
    /// Its open files, sockets included.
    pub files: Option<u64>,
}

impl ProcessFigures {
    /// Reads them.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Self {
            resident_kib: number("VmRSS"),
            peak_kib: number("VmHWM"),
            threads: number("Threads"),
            // Without the one that lists them.
            files: fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1)),
        }
    }

    pub(super) fn to_json(self) -> Value {
        let Self { resident_kib, peak_kib, threads, files } = self;
        json!({"resident_kib": resident_kib, "peak_kib": peak_kib, "threads": threads, "files": files})
    }
}

/// A line, or nothing if nothing is known.
impl fmt::Display for ProcessFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident_kib: Some(now), peak_kib: Some(peak), threads: Some(threads), files: Some(files) } = *self
        else {
            return Ok(());
        };
        let mib = |kib: u64| kib as f64 / 1024.0;
        write!(f, "{:.1} MiB resident ({:.1} MiB at most), {threads} threads, {files} files", mib(now), mib(peak))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_opened_is_counted() {
        let figures = ProcessFigures::now();
        assert!(figures.threads >= Some(1) && figures.resident_kib > Some(0) && figures.peak_kib > Some(0));
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        assert!(ProcessFigures::now().files >= Some(100), "{}", files.len());
    }
}
