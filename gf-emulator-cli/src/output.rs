//! Lines for people: what was asked for on stdout, everything else on stderr.
//!
//! `println!` panics where nobody reads any more. These do not mind: that nobody looks is no reason to stop.

use std::fmt::Display;
use std::io::{self, Write};

/// A line on stdout.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line on stderr.
pub(crate) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
