//! The body of a request or a response as a string of a HAR file, read from its file while it is written.

use std::cell::Cell;
use std::fmt::{self, Display, Write as _};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

/// A longer file is not examined for text.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Divisible by three, so that the base64 of pieces is that of the whole.
const PIECE_BYTES: usize = 48 << 10;

/// The `text` of a body.
pub(super) enum BodyText {
    /// There is none.
    Absent,
    Text(String),
    /// Binary.
    Base64(BodyFile),
    /// Binary: a character for each byte.
    Latin1(BodyFile),
}

/// The file of a binary body.
pub(super) struct BodyFile {
    file: File,
    /// A serializer accepts only errors of its own output: an error of the file is kept here.
    failure: Cell<Option<io::Error>>,
}

impl BodyText {
    /// Reads a body from a file. `binary` is how it is written if it is not text.
    pub(super) fn open(path: &Path, binary: fn(BodyFile) -> Self) -> io::Result<Self> {
        // A symbolic link could lead out of the recording.
        if !path.symlink_metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut file = File::open(path)?;
        if file.metadata()?.len() <= MAX_TEXT_BYTES {
            let mut bytes = Vec::new();
            (&file).take(MAX_TEXT_BYTES).read_to_end(&mut bytes)?;
            if let Ok(text) = String::from_utf8(bytes)
                && !text.contains('\0')
            {
                return Ok(Self::Text(text));
            }
            file.rewind()?;
        }
        Ok(binary(BodyFile { file, failure: Cell::default() }))
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Returns the error that ended the reading of the file.
    pub(super) fn take_failure(&self) -> Option<io::Error> {
        match self {
            Self::Absent | Self::Text(_) => None,
            Self::Base64(file) | Self::Latin1(file) => file.failure.take(),
        }
    }
}

impl BodyFile {
    /// Calls `write` for each piece of the file.
    fn each(&self, mut write: impl FnMut(&[u8]) -> fmt::Result) -> fmt::Result {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        loop {
            piece.clear();
            match (&self.file).take(PIECE_BYTES as u64).read_to_end(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(_) => write(&piece)?,
                Err(e) => {
                    self.failure.set(Some(e));
                    return Ok(());
                }
            }
        }
    }
}

impl Display for BodyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Base64(file) => file.each(|piece| f.write_str(&STANDARD.encode(piece))),
            Self::Latin1(file) => file.each(|piece| piece.iter().try_for_each(|&byte| f.write_char(byte.into()))),
        }
    }
}

impl Serialize for BodyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
