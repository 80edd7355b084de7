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
mod policy;
mod raw;
mod said;
mod story;
mod subsystems;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::Result;
use crate::record::Recording;
#[cfg(feature = "follow")]
pub(crate) use diagram::live_row;
#[cfg(feature = "follow")]
pub(crate) use page::Live;
use story::Story;

/// A recording that has been read, and can be written as a page.
///
/// Pictures and jobs are read while the page is written, one at a time; what is said stays in memory, as it does in the
/// page. What is embedded is bounded: a picture above 4 MiB, or what goes past 64 MiB in all, is named and not shown.
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
    story: Story,
    recording: Recording,
}

impl Report {
    /// Reads what is left of a recording, all of it for one that has just been opened.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) where it cannot be read any further. Lines that are no entries are counted
    /// among what went wrong.
    pub fn read(recording: Recording) -> Result<Self> {
        let mut report = Self::read_on(recording)?;
        report.story.finish(report.recording.skipped());
        Ok(report)
    }

    /// Reads what there is of a recording that goes on: what has not ended yet has not gone wrong.
    #[cfg(feature = "follow")]
    pub(crate) fn read_so_far(recording: Recording) -> Result<Self> {
        let mut report = Self::read_on(recording)?;
        if report.story.is_over() {
            report.story.finish(report.recording.skipped());
        }
        Ok(report)
    }

    fn read_on(mut recording: Recording) -> Result<Self> {
        let mut story = Story::new(recording.about().clone());
        for entry in recording.by_ref() {
            story.add(entry?);
        }
        Ok(Self { story, recording })
    }

    /// Writes the page. A picture or a job that is not there, or is none, is a remark in it.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        page::write(&self.story, &self.recording, None, out)
    }

    /// Writes the page as somebody wants it who follows the session.
    #[cfg(feature = "follow")]
    pub(crate) fn write_live(&self, live: &Live, out: &mut dyn Write) -> io::Result<()> {
        page::write(&self.story, &self.recording, Some(live), out)
    }

    /// Writes what of that page changes: everything but the conversation, and the actions before `from`.
    #[cfg(feature = "follow")]
    pub(crate) fn write_sections(&self, from: usize, out: &mut dyn Write) -> io::Result<()> {
        page::write_sections(&self.story, &self.recording, from, out)
    }

    /// How many messages there are in it, both ways.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.story.messages
    }

    /// How many actions were asked for.
    #[must_use]
    pub fn actions(&self) -> usize {
        self.story.actions.len()
    }

    /// How many things went wrong, as far as can be told from what was said.
    #[must_use]
    pub fn troubles(&self) -> usize {
        self.story.troubles.len()
    }
}
