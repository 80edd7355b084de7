//! A progress bar with an estimate, for what takes longer than a second. Drawn on standard error, if that is a terminal.

use std::fmt::Display;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console;
use crate::output::print;

/// Nothing is drawn before this.
const DELAY: Duration = Duration::from_secs(1);
const OF_BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
const WITHOUT_TOTAL: &str = "{msg} {bytes} in {elapsed}";
const OF_PARTS: &str = "{msg} {wide_bar} {percent}% {eta}";
const PARTS: u64 = 1000;

struct Progress {
    since: Instant,
    bar: ProgressBar,
    // Not `bar.is_hidden()`, which stays true without a terminal.
    is_started: bool,
}

impl Progress {
    fn new(name: String, total: Option<u64>, template: &str) -> Self {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        Self { since: Instant::now(), bar: bar.with_style(style).with_message(name), is_started: false }
    }

    fn start_if_due(&mut self) {
        if !self.is_started && self.since.elapsed() > DELAY {
            self.is_started = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Returns a callback that draws the part done so far, 0 to 1. The bar disappears when it is dropped.
pub(crate) fn of(name: impl Into<String>) -> impl FnMut(f64) + Send + Sync + 'static {
    let mut progress = Progress::new(name.into(), Some(PARTS), OF_PARTS);
    move |part| {
        progress.start_if_due();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most PARTS, not negative")]
        progress.bar.set_position((part * PARTS as f64) as u64);
    }
}

/// A line on standard error that says what is running, if that is a terminal and nothing else is printed there. It
/// disappears when it is dropped.
pub(crate) struct Running(ProgressBar);

impl Running {
    pub(crate) fn new(what: String) -> Self {
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let is_drawn = !console::is_quiet() && log::max_level() <= log::LevelFilter::Warn;
        let target = if is_drawn { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target).with_style(style).with_message(what);
        bar.tick();
        Self(bar)
    }

    /// Prints to standard output, above the line.
    pub(crate) fn print(&self, line: impl Display) {
        self.0.suspend(|| print(line));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A reader that draws its progress.
pub(crate) struct WithProgress<R> {
    reader: R,
    progress: Progress,
}

impl<R: Read> WithProgress<R> {
    pub(crate) fn new(reader: R, name: String, total_bytes: Option<u64>) -> Self {
        let template = if total_bytes.is_some() { OF_BYTES } else { WITHOUT_TOTAL };
        Self { reader, progress: Progress::new(name, total_bytes, template) }
    }
}

impl<R: Read> Read for WithProgress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.progress.start_if_due();
        let read = self.reader.read(buffer)?;
        self.progress.bar.inc(read as u64);
        Ok(read)
    }
}
