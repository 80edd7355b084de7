//! Reading a recording.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::entry::{About, Entry, Event, FORMAT_VERSION, LONGEST_LINE};
use super::recorder::SESSION_FILE;
use super::shortened;
use crate::{Error, Result, files};

/// So many lines that are none are named; of more nothing is said.
pub const MOST_SKIPPED: usize = 1000;

/// A recording, read line by line: however long it is, one line of 1 MiB at most is in memory.
///
/// A line that cannot be read is skipped and counted ([`skipped`](Self::skipped)): a program that was killed leaves half
/// a line.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    about: About,
    lines: Lines,
    skipped: Vec<Skipped>,
}

/// A line that is not an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Which one, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Where a line is in the file of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    offset: u64,
    bytes: usize,
}

#[cfg(all(test, feature = "report"))]
impl Place {
    /// A place in no file, with a number.
    pub(crate) fn of_test(number: u64) -> Self {
        Self { offset: number, bytes: 0 }
    }

    pub(crate) fn number(self) -> u64 {
        self.offset
    }
}

/// An entry as it is kept for people: in bounded memory.
#[cfg(feature = "report")]
#[derive(Debug, Clone)]
pub(crate) struct Shortened {
    pub(crate) entry: Entry,
    /// Some of its values are not whole.
    pub(crate) lacks_values: bool,
    pub(crate) place: Place,
}

#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<File>,
    /// Of the line that was read last, counted from 1.
    pub(super) number: u64,
    /// Where the line that was read last begins, and where the next one does.
    place: Place,
    next: u64,
    /// The file is still being written: half a line at its end is no line yet.
    grows: bool,
}

impl Recording {
    /// Opens the recording in a folder, or the `session.jsonl` of one, and reads its first line.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where there is none, or no regular file; [`Error::Recording`] where its first line is not one, or of
    /// a format that is newer than this library.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (folder, path) = match path.parent() {
            Some(folder) if path.file_name().is_some_and(|name| name == SESSION_FILE) && !path.is_dir() => {
                (if folder.as_os_str().is_empty() { Path::new(".") } else { folder }, path.to_owned())
            }
            _ => (path, path.join(SESSION_FILE)),
        };
        if let Ok(there) = folder.metadata()
            && !there.is_dir()
        {
            return Err(Error::File { doing: "read", path: folder.into(), source: files::no_folder("it", &there) });
        }
        let failed = |source| Error::File { doing: "read", path: path.clone(), source };
        let wrong = |reason: String| Error::Recording { path: path.clone(), line: 1, reason: printable(&reason) };
        let mut lines = Lines::of(files::open(&path)?);
        let first = lines.next().map_err(failed)?;
        let text = first.ok_or_else(|| wrong("the file is empty".into()))?.map_err(&wrong)?;
        // The version first: what else is there may be otherwise in a newer one.
        let (json, _) = shortened::value(&text).map_err(|e| wrong(e.to_string()))?;
        match json["format"].as_u64() {
            Some(1) if FORMAT_VERSION == 1 => {}
            Some(format) => return Err(wrong(format!("format {format}, and {FORMAT_VERSION} is what is known here"))),
            None => return Err(wrong("it does not say which format it is".into())),
        }
        match serde_json::from_value::<Entry>(json) {
            Ok(Entry { event: Event::Session(about), .. }) => {
                Ok(Self { folder: folder.into(), about, lines, skipped: Vec::new() })
            }
            Ok(_) => Err(wrong("expected an entry of the kind session".into())),
            Err(e) => Err(wrong(e.to_string())),
        }
    }

    /// The same for a recording that goes on. What there is not yet can be asked for again: the end is none, and half a
    /// line there is not read before it is whole.
    #[cfg(feature = "follow")]
    pub(crate) fn open_growing(folder: impl AsRef<Path>) -> Result<Self> {
        let mut recording = Self::open(folder)?;
        recording.lines.grows = true;
        Ok(recording)
    }

    /// The next entry, with its long values shortened: a line takes 1 MiB while it is read, and a few MB then.
    #[cfg(feature = "report")]
    pub(crate) fn next_shortened(&mut self) -> Option<Result<Shortened>> {
        self.next_as(|text, place| {
            let (entry, lacks_values) = shortened::parse(text)?;
            Ok(Shortened { entry, lacks_values, place })
        })
    }

    /// Reads entries once more, each by its place.
    #[cfg(feature = "report")]
    pub(crate) fn again(folder: &Path) -> std::io::Result<Again> {
        File::open(folder.join(SESSION_FILE)).map(|file| Again { file, text: Vec::new() })
    }

    fn next_as<T>(&mut self, parse: impl Fn(&str, Place) -> serde_json::Result<T>) -> Option<Result<T>> {
        loop {
            let line = match self.lines.next() {
                Ok(line) => line?,
                Err(source) => {
                    return Some(Err(Error::File { doing: "read", path: self.folder.join(SESSION_FILE), source }));
                }
            };
            match line.and_then(|text| parse(&text, self.lines.place).map_err(|e| e.to_string())) {
                Ok(entry) => return Some(Ok(entry)),
                Err(reason) if self.skipped.len() < MOST_SKIPPED => {
                    self.skipped.push(Skipped { line: self.lines.number, reason: printable(&reason) });
                }
                Err(_) => {}
            }
        }
    }

    /// What was recorded, and how.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The lines so far that were no entries: the first thousand of them.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// A file beside the recording, as an entry names it; nothing where that is no plain name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        file_beside(&self.folder, name)
    }
}

/// A file in the folder of a recording, as an entry names it; nothing where that is no plain name.
pub(crate) fn file_beside(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c));
    (plain && !name.starts_with('.')).then(|| folder.join(name))
}

#[cfg(feature = "follow")]
impl Shortened {
    /// The entry in a line of a recording.
    pub(crate) fn of_line(text: &str) -> Option<Self> {
        let (entry, lacks_values) = shortened::parse(text).ok()?;
        Some(Self { entry, lacks_values, place: Place::default() })
    }
}

/// Entries that are read once more: only their places are kept.
#[cfg(feature = "report")]
#[derive(Debug)]
pub(crate) struct Again {
    file: File,
    text: Vec<u8>,
}

#[cfg(feature = "report")]
impl Again {
    /// The entry at a place, shortened as before; nothing where it is not there any more.
    pub(crate) fn entry(&mut self, place: Place) -> Option<Shortened> {
        self.text.clear();
        // A long line is not kept for the sake of the short ones behind it.
        self.text.shrink_to(64 << 10);
        self.file.seek(SeekFrom::Start(place.offset)).ok()?;
        (&self.file).take(place.bytes as u64).read_to_end(&mut self.text).ok()?;
        let (entry, lacks_values) = shortened::parse(std::str::from_utf8(&self.text).ok()?).ok()?;
        Some(Shortened { entry, lacks_values, place })
    }
}

/// What is wrong may quote what is there.
fn printable(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl Iterator for Recording {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_as(|text, _| serde_json::from_str(text))
    }
}

impl Lines {
    pub(super) fn of(file: File) -> Self {
        Self { reader: BufReader::new(file), number: 0, place: Place::default(), next: 0, grows: false }
    }

    /// The next line, or what is wrong with it; nothing at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<std::result::Result<String, String>>> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(LONGEST_LINE as u64).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        let is_half = bytes.last() != Some(&b'\n') && self.reader.fill_buf()?.is_empty();
        if is_half && self.grows {
            self.reader.seek(SeekFrom::Start(self.next))?;
            return Ok(None);
        }
        self.number += 1;
        self.place = Place { offset: self.next, bytes: read };
        self.next += read as u64;
        if bytes.pop_if(|last| *last == b'\n').is_none() {
            if is_half {
                return Ok(Some(Err("the file ends inside it: whoever wrote it was ended".into())));
            }
            while !self.reader.fill_buf()?.is_empty() {
                let skipped = self.reader.skip_until(b'\n')?;
                self.next += skipped as u64;
                if skipped > 0 {
                    break;
                }
            }
            return Ok(Some(Err(format!("it is longer than {LONGEST_LINE} bytes"))));
        }
        Ok(Some(String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())))
    }
}
