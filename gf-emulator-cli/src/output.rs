//! Lines for people: what was asked for on stdout, everything else on stderr.
//!
//! `println!` panics where nobody reads any more. These do not mind: that nobody looks is no reason to stop. That a disk is full
//! is told at the end.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something that was asked for could not be written, and somebody would have read it.
static LOST: AtomicBool = AtomicBool::new(false);

/// A line on stdout.
pub(crate) fn say(line: impl Display) {
    if let Err(e) = writeln!(io::stdout(), "{line}")
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Whether all that was to be said on stdout has been.
pub(crate) fn is_complete() -> bool {
    if let Err(e) = io::stdout().flush()
        && e.kind() != io::ErrorKind::BrokenPipe
    {
        return false;
    }
    !LOST.load(Ordering::Relaxed)
}

/// A line on stderr.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
