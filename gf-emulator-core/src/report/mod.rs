//! A recording as a page to read: what was asked, what was done, what went wrong.
//!
//! One file of HTML that needs nothing else: no network, and no script to be read. Everything in it that was recorded is
//! somebody else's text. It is escaped where it is written (`said`), it never becomes a link, and the page's content
//! security policy lets nothing run but the one script that is part of this crate.
//!
//! `story` makes sense of the entries; the others each write one part of the page.

mod article;
mod attachments;
pub(crate) mod diagram;
mod page;
mod parts;
mod policy;
mod raw;
mod recent;
mod said;
mod subsystems;
mod timeline;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;
use crate::record::Recording;
pub(crate) use attachments::Drawer;
#[cfg(feature = "follow")]
pub(crate) use attachments::{Drawing, Drawn, draw};
#[cfg(feature = "follow")]
pub(crate) use diagram::live_row;
#[cfg(feature = "follow")]
pub(crate) use page::{Live, Since};
use timeline::{Story, Window};

/// A recording that has been read, and can be written as a page.
///
/// Page and memory are bounded. A page has the first 20,000 entries, or those from another one on
/// ([`read_from`](Self::read_from)), and the actions that these belong to, 2000 at the most. What is said stays in the
/// recording and is read again while the page is written, an entry at a time, and so are pictures and jobs; values longer
/// than 256 KiB are shortened. What is embedded is bounded: a picture above 4 MiB, a job of more than 64 Mi ticks, or what
/// goes past 64 MiB in all is named and not shown. Reading and writing take less than 200 MB of memory, whatever the
/// recording has; most take less than 30 MB.
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
    story: Arc<Story>,
    folder: PathBuf,
}

impl Report {
    /// Reads what is left of a recording, all of it for one that has just been opened.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) where it cannot be read any further. Lines that are no entries are counted
    /// among what went wrong.
    pub fn read(recording: Recording) -> Result<Self> {
        Self::read_from(recording, 1)
    }

    /// The same, for a page that begins with the entry of that number, counted from 1. What is before it is counted.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_from(mut recording: Recording, first: u64) -> Result<Self> {
        let mut story = Story::new(recording.about().clone(), Window::From(first.saturating_sub(1)));
        while let Some(entry) = recording.next_for_display() {
            story.add(&entry?);
        }
        story.finish(recording.skipped());
        Ok(Self { story: Arc::new(story), folder: recording.folder().into() })
    }

    /// Writes the page. A picture or a job that is not there, or is none, is a remark in it.
    ///
    /// # Errors
    ///
    /// Those of `out`, and where the recording cannot be read again.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        page::write(&self.story, &self.folder, &Drawer::AtOnce, None, out)
    }

    /// Writes the page as somebody wants it who follows the session.
    #[cfg(feature = "follow")]
    pub(crate) fn write_live(&self, live: &Live, drawer: &Drawer<'_>, out: &mut dyn Write) -> io::Result<()> {
        page::write(&self.story, &self.folder, drawer, Some(live), out)
    }

    /// Writes what of that page changes: everything but the conversation, and the actions that have not; no actions
    /// without `since`.
    #[cfg(feature = "follow")]
    pub(crate) fn write_sections(
        &self,
        drawer: &Drawer<'_>,
        since: Option<&Since>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        page::write_sections(&self.story, &self.folder, drawer, since, out)
    }

    /// How many entries there are in the recording.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.story.entries
    }

    /// The first and the last entry on the page, counted from 1; nothing where it has none.
    #[must_use]
    pub fn shown(&self) -> Option<(u64, u64)> {
        let count = self.story.told.len() as u64;
        (count > 0).then(|| (self.story.first + 1, self.story.first + count))
    }

    /// How many messages there are in the recording, both ways.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.story.counts.messages
    }

    /// How many actions were asked for.
    #[must_use]
    pub fn actions(&self) -> usize {
        self.story.counts.actions
    }

    /// How many things went wrong, as far as can be told from what was said.
    #[must_use]
    pub fn troubles(&self) -> usize {
        self.story.counts.troubles
    }
}

/// Reads a recording that goes on: each entry once, however often it is asked for a report.
#[cfg(feature = "follow")]
#[derive(Debug)]
pub(crate) struct Reader {
    recording: Recording,
    story: Arc<Story>,
}

#[cfg(feature = "follow")]
impl Reader {
    pub(crate) fn open(folder: &std::path::Path) -> Result<Self> {
        let recording = Recording::open_growing(folder)?;
        let story = Arc::new(Story::new(recording.about().clone(), Window::Latest));
        Ok(Self { recording, story })
    }

    /// What there is by now, with the last entries on its page; nothing where `go_on` says no before. What has not ended yet
    /// has not gone wrong.
    pub(crate) fn read_on(&mut self, go_on: &dyn Fn() -> bool) -> Result<Option<Report>> {
        // Whoever still writes the last report keeps it as it is.
        while let Some(entry) = self.recording.next_for_display() {
            Arc::make_mut(&mut self.story).add(&entry?);
            if !go_on() {
                return Ok(None);
            }
        }
        let mut story = Arc::clone(&self.story);
        if story.is_over() {
            Arc::make_mut(&mut story).finish(self.recording.skipped());
        }
        Ok(Some(Report { story, folder: self.recording.folder().into() }))
    }
}
