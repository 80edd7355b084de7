//! Reading a recording.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::entry::{About, Entry, Event, FORMAT_VERSION, LONGEST_LINE};
use super::recorder::SESSION_FILE;
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

#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<File>,
    /// Of the line that was read last, counted from 1.
    pub(super) number: u64,
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
        let failed = |source| Error::File { doing: "read", path: path.clone(), source };
        let wrong = |reason: String| Error::Recording { path: path.clone(), line: 1, reason: printable(&reason) };
        let mut lines = Lines::of(files::open(&path)?);
        let first = lines.next().map_err(failed)?;
        let text = first.ok_or_else(|| wrong("the file is empty".into()))?.map_err(&wrong)?;
        // The version first: what else is there may be otherwise in a newer one.
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
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
        let plain = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c));
        (plain && !name.starts_with('.')).then(|| self.folder.join(name))
    }
}

/// What is wrong may quote what is there.
fn printable(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl Iterator for Recording {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.lines.next() {
                Ok(line) => line?,
                Err(source) => {
                    return Some(Err(Error::File { doing: "read", path: self.folder.join(SESSION_FILE), source }));
                }
            };
            let entry = line.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string()));
            match entry {
                Ok(entry) => return Some(Ok(entry)),
                Err(reason) if self.skipped.len() < MOST_SKIPPED => {
                    self.skipped.push(Skipped { line: self.lines.number, reason: printable(&reason) });
                }
                Err(_) => {}
            }
        }
    }
}

impl Lines {
    pub(super) fn of(file: File) -> Self {
        Self { reader: BufReader::new(file), number: 0 }
    }

    /// The next line, or what is wrong with it; nothing at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<std::result::Result<String, String>>> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(LONGEST_LINE as u64).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.pop_if(|last| *last == b'\n').is_none() {
            let whole = self.reader.fill_buf()?.is_empty();
            if whole {
                return Ok(Some(Err("the file ends inside it: whoever wrote it was ended".into())));
            }
            while !self.reader.fill_buf()?.is_empty() {
                let skipped = self.reader.skip_until(b'\n')?;
                if skipped > 0 {
                    break;
                }
            }
            return Ok(Some(Err(format!("it is longer than {LONGEST_LINE} bytes"))));
        }
        Ok(Some(String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())))
    }
}
