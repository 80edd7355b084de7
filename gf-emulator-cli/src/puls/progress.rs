//! How far a file has been read, on a terminal, once it takes longer than people like to wonder.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
const KNOWN: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
const UNKNOWN: &str = "{msg} {bytes} in {elapsed}";

/// A reader that shows on a terminal (standard error) how far it has got, and shows nothing anywhere else.
pub(super) struct Watched<R> {
    reader: R,
    since: Instant,
    bar: ProgressBar,
    shown: bool,
}

impl<R: Read> Watched<R> {
    pub(super) fn new(reader: R, name: &str, total_bytes: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::hidden());
        let template = if total_bytes.is_some() { KNOWN } else { UNKNOWN };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.to_owned());
        Self { reader, since: Instant::now(), bar, shown: false }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.shown && self.since.elapsed() > PATIENCE {
            self.shown = true;
            // Draws only where standard error is a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let read = self.reader.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
