//! Reads recordings.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::display;
use super::entry::{About, Entry, Event, FORMAT_VERSION, MAX_LINE_BYTES};
use super::folder::SESSION_FILE;
use super::watched_file::{OnProgress, WatchedFile};
use crate::{Error, Result, files};

/// At most this many skipped lines are reported.
pub const MAX_SKIPPED: usize = 1000;
/// The reason why an incomplete last line is skipped.
const PARTIAL_LINE: &str = "the file ends in the middle of this line: the program that wrote it was killed";

/// Iterates over the entries of a recording. Holds one line (at most 1 MiB) in memory.
///
/// Lines that cannot be read are skipped and reported by [`skipped`](Self::skipped): a killed program leaves a partial
/// line.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    about: About,
    lines: Lines,
    skipped: Vec<SkippedLine>,
    /// Entries of other machines are left out.
    machine: Option<u32>,
}

/// A line that is not an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedLine {
    /// The line number, counted from 1.
    pub line: u64,
    /// Why it was skipped.
    pub reason: String,
}

/// The byte range of a line in the session file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LineSpan {
    offset: u64,
    bytes: usize,
}

#[cfg(all(test, feature = "report"))]
impl LineSpan {
    /// Returns an arbitrary span identified by a number.
    pub(crate) fn for_test(number: u64) -> Self {
        Self { offset: number, bytes: 0 }
    }

    pub(crate) fn number(self) -> u64 {
        self.offset
    }
}

/// An entry for display, in bounded memory: long values are truncated.
#[cfg(feature = "report")]
#[derive(Debug, Clone)]
pub(crate) struct DisplayEntry {
    pub(crate) entry: Entry,
    pub(crate) is_truncated: bool,
    pub(crate) place: LineSpan,
}

/// Reads lines of bounded length.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<WatchedFile>,
    /// The number of the last line read, counted from 1.
    pub(super) number: u64,
    /// The span of the last line read.
    span: LineSpan,
    /// The offset of the next line.
    next: u64,
    /// The file is still being written: a partial line at its end is not read yet.
    is_growing: bool,
}

impl Recording {
    /// Opens the recording in a folder, or a `session.jsonl` itself, and reads its first line.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if it does not exist or is not a regular file; [`Error::Recording`] if its first line is
    /// invalid or has a newer format version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (folder, path) = match path.parent() {
            Some(folder) if path.file_name().is_some_and(|name| name == SESSION_FILE) && !path.is_dir() => {
                (if folder.as_os_str().is_empty() { Path::new(".") } else { folder }, path.to_owned())
            }
            _ => (path, path.join(SESSION_FILE)),
        };
        if folder.metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            let reason = "it is neither the folder of a recording nor its session.jsonl (\"import\" makes a recording of a HAR \
                          file, or of a log of a mock service)";
            let source = io::Error::new(io::ErrorKind::NotADirectory, reason);
            return Err(Error::File { doing: "read", path: folder.into(), source });
        }
        let failed = |source| Error::File { doing: "read", path: path.clone(), source };
        let invalid = |reason: String| Error::Recording { path: path.clone(), line: 1, reason: printable(&reason) };
        let file = files::open(&path).map_err(|error| match error {
            Error::File { doing, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                let source = io::Error::new(source.kind(), "there is no recording (session.jsonl)");
                Error::File { doing, path: folder.into(), source }
            }
            error => error,
        });
        let mut lines = Lines::new(file?);
        let first = lines.next().map_err(failed)?;
        let text = first.ok_or_else(|| invalid("the file is empty".into()))?.map_err(&invalid)?;
        // Check the version before the fields: they may differ in newer versions.
        let (json, _) = display::parse_value(&text).map_err(|e| invalid(format!("this is not a recording: {e}")))?;
        match json["format"].as_u64() {
            Some(format) if (1..=FORMAT_VERSION.into()).contains(&format) => {}
            Some(format) => {
                let newest = FORMAT_VERSION;
                return Err(invalid(format!("format {format} is not supported; this program reads 1 to {newest}")));
            }
            None => return Err(invalid("the format version is missing".into())),
        }
        match serde_json::from_value::<Entry>(json) {
            Ok(Entry { event: Event::Session(about), .. }) => {
                Ok(Self { folder: folder.into(), about, lines, skipped: Vec::new(), machine: None })
            }
            Ok(_) => Err(invalid("expected an entry of the kind session".into())),
            Err(e) => Err(invalid(e.to_string())),
        }
    }

    /// Calls `on_progress` while entries are read, with the part read so far, 0 to 1.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl FnMut(f64) + Send + Sync + 'static) -> Self {
        self.lines.watch(Box::new(on_progress), 1);
        self
    }

    /// Leaves out the entries of all machines but this one, whose number is counted from 1. `None` keeps an
    /// earlier choice; a recording of one machine needs none.
    ///
    /// # Errors
    ///
    /// [`Error::Recording`] if it does not hold the machine, or if it holds several and none is chosen.
    pub fn of_machine(self, number: Option<u32>) -> Result<Self> {
        let machines = self.about.machines;
        let reason = match (number.or(self.machine), machines) {
            (None, None | Some(..=1)) => return Ok(self),
            (Some(number), machines) if (1..=machines.unwrap_or(1)).contains(&number) => {
                return Ok(Self { machine: machines.and(Some(number)), ..self });
            }
            (None, Some(machines)) => {
                format!("it holds {machines} machines: choose one from 1 to {machines} (--machine)")
            }
            (Some(number), Some(machines)) => format!("it holds the machines 1 to {machines}, and not {number}"),
            (Some(number), None) => format!("it is of one machine: there is no machine {number}"),
        };
        Err(Error::Recording { path: self.folder.join(SESSION_FILE), line: 1, reason })
    }

    /// Returns the number of the machine that was [chosen](Self::of_machine) of several.
    #[must_use]
    pub fn machine(&self) -> Option<u32> {
        self.machine
    }

    /// Opens a recording that is still being written. Iteration can be resumed after its end, and leaves a partial last
    /// line for later.
    #[cfg(feature = "follow")]
    pub(crate) fn open_growing(folder: impl AsRef<Path>) -> Result<Self> {
        let mut recording = Self::open(folder)?;
        recording.lines.is_growing = true;
        Ok(recording)
    }

    /// Reads the next entry for display. A 1 MiB line takes a few MB of memory.
    #[cfg(feature = "report")]
    pub(crate) fn next_for_display(&mut self) -> Option<Result<DisplayEntry>> {
        let parse = |text: &str, place| {
            let (entry, is_truncated) = display::parse_entry(text)?;
            Ok(DisplayEntry { entry, is_truncated, place })
        };
        self.next_as(parse, |display| display.entry.machine)
    }

    /// Opens the session file for random access.
    #[cfg(feature = "report")]
    pub(crate) fn entry_reader(folder: &Path) -> io::Result<EntryReader> {
        File::open(folder.join(SESSION_FILE)).map(|file| EntryReader { file, text: Vec::new() })
    }

    fn next_as<T>(
        &mut self,
        parse: impl Fn(&str, LineSpan) -> serde_json::Result<T>,
        machine_of: impl Fn(&T) -> Option<u32>,
    ) -> Option<Result<T>> {
        loop {
            let line = match self.lines.next() {
                Ok(line) => line?,
                Err(source) => {
                    return Some(Err(Error::File { doing: "read", path: self.folder.join(SESSION_FILE), source }));
                }
            };
            match line.and_then(|text| parse(&text, self.lines.span).map_err(|e| e.to_string())) {
                Ok(entry) => match (self.machine, machine_of(&entry)) {
                    (Some(wanted), Some(other)) if other != wanted => {}
                    _ => return Some(Ok(entry)),
                },
                Err(reason) if self.skipped.len() < MAX_SKIPPED => {
                    self.skipped.push(SkippedLine { line: self.lines.number, reason: printable(&reason) });
                }
                Err(_) => {}
            }
        }
    }

    /// Returns the session's metadata.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Returns the folder of the recording.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the lines skipped so far: the first [`MAX_SKIPPED`] of them.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedLine] {
        &self.skipped
    }

    /// Returns the path of a file named by an entry, or `None` if that is not a plain file name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        file_beside(&self.folder, name)
    }
}

/// Returns the path of a file named by an entry, or `None` if that is not a plain file name.
pub(crate) fn file_beside(folder: &Path, name: &str) -> Option<PathBuf> {
    let is_plain = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c));
    (is_plain && !name.starts_with('.')).then(|| folder.join(name))
}

#[cfg(feature = "follow")]
impl DisplayEntry {
    /// Parses a line of a recording.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (entry, is_truncated) = display::parse_entry(text).ok()?;
        Some(Self { entry, is_truncated, place: LineSpan::default() })
    }
}

/// Reads single entries again, by their spans.
#[cfg(feature = "report")]
#[derive(Debug)]
pub(crate) struct EntryReader {
    file: File,
    text: Vec<u8>,
}

#[cfg(feature = "report")]
impl EntryReader {
    /// Reads the entry at `place`, or returns `None` if it is no longer there.
    pub(crate) fn entry(&mut self, place: LineSpan) -> Option<DisplayEntry> {
        self.text.clear();
        // Release the memory of an earlier long line.
        self.text.shrink_to(64 << 10);
        self.file.seek(SeekFrom::Start(place.offset)).ok()?;
        (&self.file).take(place.bytes as u64).read_to_end(&mut self.text).ok()?;
        let (entry, is_truncated) = display::parse_entry(std::str::from_utf8(&self.text).ok()?).ok()?;
        Some(DisplayEntry { entry, is_truncated, place })
    }
}

/// Replaces control characters: an error message may quote the file.
fn printable(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl Iterator for Recording {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_as(|text, _| serde_json::from_str(text), |entry: &Entry| entry.machine)
    }
}

impl Lines {
    pub(super) fn new(file: File) -> Self {
        let reader = BufReader::new(WatchedFile::new(file));
        Self { reader, number: 0, span: LineSpan::default(), next: 0, is_growing: false }
    }

    /// Calls `on_progress` while lines are read, of a file that is read `passes` times.
    pub(super) fn watch(&mut self, on_progress: OnProgress, passes: u64) {
        self.reader.get_mut().watch(on_progress, passes);
    }

    /// Goes back to the first line.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        (self.number, self.span, self.next) = (0, LineSpan::default(), 0);
        self.reader.rewind()
    }

    pub(super) fn modified(&self) -> io::Result<SystemTime> {
        self.reader.get_ref().modified()
    }

    /// Reads the next line; `None` at the end of the file. The inner error says why a line is invalid.
    pub(super) fn next(&mut self) -> io::Result<Option<std::result::Result<String, String>>> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        let is_partial = bytes.last() != Some(&b'\n') && self.reader.fill_buf()?.is_empty();
        if is_partial && self.is_growing {
            self.reader.seek(SeekFrom::Start(self.next))?;
            return Ok(None);
        }
        self.number += 1;
        self.span = LineSpan { offset: self.next, bytes: read };
        self.next += read as u64;
        if bytes.pop_if(|last| *last == b'\n').is_none() {
            if is_partial {
                return Ok(Some(Err(PARTIAL_LINE.into())));
            }
            while !self.reader.fill_buf()?.is_empty() {
                let skipped = self.reader.skip_until(b'\n')?;
                self.next += skipped as u64;
                if skipped > 0 {
                    break;
                }
            }
            return Ok(Some(Err(format!("it is longer than {MAX_LINE_BYTES} bytes"))));
        }
        Ok(Some(String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())))
    }
}
