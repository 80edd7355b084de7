//! Renders a recording, or a job ([`JobView`]), as one self-contained HTML page.
//!
//! The page needs no network, and can be read without scripts. All recorded text is untrusted: it is escaped where it is
//! written (`escape`), it never becomes a link, and the Content Security Policy allows only this crate's own script.

// `timeline` groups the entries by action; the other modules each render one part of the page.

mod action;
mod attachments;
mod bounded_map;
pub(crate) mod csp;
mod diagram;
mod drawing;
mod entry_summary;
mod escape;
mod format;
mod image;
mod job_view;
mod json;
mod model;
mod page;
mod settings;
mod timeline;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;
use crate::record::Recording;
pub(crate) use attachments::JobRenderer;
#[cfg(feature = "follow")]
pub(crate) use diagram::live_row;
#[cfg(feature = "follow")]
pub(crate) use drawing::{DrawResult, JobDrawing, draw};
pub use job_view::JobView;
#[cfg(feature = "follow")]
pub(crate) use page::{ChangedSince, LiveParts};
use timeline::{Timeline, Window};

/// A recording that has been read and can be written as a page.
///
/// Page size and memory are bounded:
///
/// - A page has at most 20,000 entries (from the first one, or see [`read_from`](Self::read_from)) and 2000 actions.
/// - Messages, pictures and jobs are read again while the page is written, one at a time. Values longer than 256 KiB are
///   shortened.
/// - A page embeds at most 64 MiB of pictures and drawings. Pictures over 4 MiB and jobs over 64 Mi ticks are only named.
/// - Reading and writing take less than 200 MB of memory for any recording, and less than 30 MB for most.
///
/// ```
/// use gf_emulator_core::record::{Recorder, Recording};
/// use gf_emulator_core::report::Report;
/// use gf_emulator_core::Config;
///
/// let folder = tempfile::tempdir().unwrap();
/// let recorder = Recorder::of_machine(folder.path(), &Config::default())?;
/// recorder.state("stopped", None);
/// drop(recorder);
///
/// let report = Report::read(Recording::open(folder.path())?)?;
/// let mut page = Vec::new();
/// report.write(&mut page).unwrap();
/// assert!(page.starts_with(b"<!DOCTYPE html>"));
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Report {
    timeline: Arc<Timeline>,
    folder: PathBuf,
}

impl Report {
    /// Reads the remaining entries of `recording`. Lines that are not valid entries count as problems.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) if reading fails; [`Error::Recording`](crate::Error::Recording) if it holds
    /// several machines of which none is [chosen](Recording::of_machine).
    pub fn read(recording: Recording) -> Result<Self> {
        Self::read_from(recording, 1)
    }

    /// Like [`read`](Self::read), for a page that starts at entry `first`, counted from 1. Earlier entries count towards
    /// the summary.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn read_from(recording: Recording, first: u64) -> Result<Self> {
        let mut recording = recording.of_machine(None)?;
        let mut timeline = Timeline::new(recording.about().clone(), Window::From(first.saturating_sub(1)));
        timeline.machine = recording.machine();
        while let Some(entry) = recording.next_for_display() {
            timeline.add(&entry?);
        }
        timeline.finish(recording.skipped());
        Ok(Self { timeline: Arc::new(timeline), folder: recording.folder().into() })
    }

    /// Writes the page. A picture or job that is missing, invalid or too large becomes a note on the page; returns the
    /// number of these notes.
    ///
    /// # Errors
    ///
    /// Errors of `out`, and if the recording cannot be read again.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<usize> {
        self.write_with_progress(out, &mut |_| {})
    }

    /// Like [`write`](Self::write); calls `on_progress` after each action, with the part of them done so far, 0 to 1.
    /// Returns the same.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub fn write_with_progress(&self, out: &mut dyn Write, on_progress: &mut dyn FnMut(f64)) -> io::Result<usize> {
        page::write(&self.timeline, &self.folder, &JobRenderer::Inline, None, on_progress, out)
    }

    /// Writes the live page.
    #[cfg(feature = "follow")]
    pub(crate) fn write_live(
        &self,
        live: &LiveParts,
        renderer: &JobRenderer<'_>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        page::write(&self.timeline, &self.folder, renderer, Some(live), &mut |_| {}, out).map(drop)
    }

    /// Writes the sections of a live page that change, without the rows: the summary, and the actions that `changed`
    /// selects.
    #[cfg(feature = "follow")]
    pub(crate) fn write_sections(
        &self,
        renderer: &JobRenderer<'_>,
        changed: Option<&ChangedSince>,
        lid_is_open: bool,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        page::write_sections(&self.timeline, &self.folder, renderer, changed, lid_is_open, out)
    }

    /// Returns the number of entries in the recording.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.timeline.entry_count
    }

    /// Returns the numbers of the first and last entry on the page, counted from 1, or `None` if the page has none.
    #[must_use]
    pub fn shown(&self) -> Option<(u64, u64)> {
        let count = self.timeline.shown.len() as u64;
        (count > 0).then(|| (self.timeline.first_shown + 1, self.timeline.first_shown + count))
    }

    /// Returns the number of messages that the machine sent over the WebSocket.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.timeline.counts.messages
    }

    /// Returns the number of actions in the recording.
    #[must_use]
    pub fn actions(&self) -> usize {
        self.timeline.counts.actions
    }

    /// Returns the number of problems: actions that did not complete, failed requests, lost connections, invalid lines.
    #[must_use]
    pub fn problems(&self) -> usize {
        self.timeline.counts.problems
    }
}

/// Builds reports of a recording that is still being written, reading each entry once.
#[cfg(feature = "follow")]
#[derive(Debug)]
pub(crate) struct LiveReport {
    recording: Recording,
    timeline: Arc<Timeline>,
}

#[cfg(feature = "follow")]
impl LiveReport {
    pub(crate) fn open(folder: &std::path::Path) -> Result<Self> {
        let recording = Recording::open_growing(folder)?;
        let timeline = Arc::new(Timeline::new(recording.about().clone(), Window::Latest));
        Ok(Self { recording, timeline })
    }

    /// Reads the new entries and returns a report of the latest ones, or `None` if `keep_going` returned false. Unfinished
    /// actions count as problems only once the machine has stopped.
    pub(crate) fn update(&mut self, keep_going: &dyn Fn() -> bool) -> Result<Option<Report>> {
        // `make_mut` copies the timeline if an earlier report is still being written from it.
        while let Some(entry) = self.recording.next_for_display() {
            Arc::make_mut(&mut self.timeline).add(&entry?);
            if !keep_going() {
                return Ok(None);
            }
        }
        let mut timeline = Arc::clone(&self.timeline);
        if timeline.has_stopped() {
            Arc::make_mut(&mut timeline).finish(self.recording.skipped());
        }
        Ok(Some(Report { timeline, folder: self.recording.folder().into() }))
    }
}
