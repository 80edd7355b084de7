//! A progress bar for files that take long to read.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nothing is drawn before this.
const DELAY: Duration = Duration::from_secs(1);
const WITH_TOTAL: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
const WITHOUT_TOTAL: &str = "{msg} {bytes} in {elapsed}";

/// A reader that draws its progress on standard error, if that is a terminal.
pub(super) struct WithProgress<R> {
    reader: R,
    since: Instant,
    bar: ProgressBar,
    // Not `bar.is_hidden()`, which stays true without a terminal.
    is_started: bool,
}

impl<R: Read> WithProgress<R> {
    pub(super) fn new(reader: R, name: String, total_bytes: Option<u64>) -> Self {
        let template = if total_bytes.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::hidden());
        Self { reader, since: Instant::now(), bar: bar.with_style(style).with_message(name), is_started: false }
    }
}

impl<R: Read> Read for WithProgress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_started && self.since.elapsed() > DELAY {
            self.is_started = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let read = self.reader.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

impl<R> Drop for WithProgress<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
