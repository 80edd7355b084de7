//! Files that are whole or not there.
//!
//! A [`Landing`] is written beside its goal under another name, and becomes the file it is to be in one step, after all
//! of it is on the disk. Dropped before that, it leaves nothing.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// A file on its way in.
#[derive(Debug)]
pub(crate) struct Landing {
    file: NamedTempFile,
    goal: PathBuf,
}

impl Landing {
    /// Starts a file that is to become `goal`, and makes the folder for it.
    pub(crate) fn start(goal: &Path) -> Result<Self> {
        let folder = match goal.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).map_err(|source| Error::File { doing: "make", path: folder.into(), source })?;
        let mut builder = tempfile::Builder::new();
        // As any other file: the umask decides who reads it.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.prefix(".arriving-").suffix(".part").tempfile_in(folder).map_err(|source| Error::File {
            doing: "write in",
            path: folder.into(),
            source,
        })?;
        Ok(Self { file, goal: goal.into() })
    }

    /// Starts a file that is to become `goal`, with all that will be in it.
    pub(crate) fn of(goal: &Path, bytes: &[u8]) -> Result<Self> {
        let mut landing = Self::start(goal)?;
        landing.write_all(bytes).map_err(|source| landing.failed(source))?;
        Ok(landing)
    }

    /// Where the bytes are for now.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Puts the file in its place, in place of one that may be there.
    pub(crate) fn replace(self) -> Result<PathBuf> {
        self.file.as_file().sync_all().map_err(|source| self.failed(source))?;
        self.settle()
    }

    /// As [`replace`](Self::replace), without waiting for the disk: whole for whoever looks, if not for a power cut.
    pub(crate) fn settle(self) -> Result<PathBuf> {
        let goal = self.goal;
        self.file.persist(&goal).map_err(|e| Error::File { doing: "write", path: goal.clone(), source: e.error })?;
        Ok(goal)
    }

    /// Puts the file in its place, or beside it (`name-2.ext`, `name-3.ext` ...) where something is there already.
    pub(crate) fn land(self) -> Result<PathBuf> {
        self.file.as_file().sync_all().map_err(|source| self.failed(source))?;
        let Self { mut file, goal } = self;
        for n in 1u32.. {
            let place = numbered(&goal, n);
            match file.persist_noclobber(&place) {
                Ok(_) => return Ok(place),
                Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => file = e.file,
                Err(e) => return Err(Error::File { doing: "write", path: place, source: e.error }),
            }
        }
        unreachable!("a folder does not hold 2^32 files of one name")
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::File { doing: "write", path: self.goal.clone(), source }
    }
}

impl Write for Landing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn numbered(goal: &Path, n: u32) -> PathBuf {
    if n == 1 {
        return goal.to_owned();
    }
    let stem = goal.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let mut name = format!("{stem}-{n}");
    if let Some(extension) = goal.extension().and_then(OsStr::to_str) {
        name = format!("{name}.{extension}");
    }
    goal.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let goal = folder.path().join("new/job.puls");
        let mut landing = Landing::start(&goal).unwrap();
        landing.write_all(b"half").unwrap();
        assert!(!goal.exists());
        drop(landing);
        assert_eq!(names(goal.parent().unwrap()), Vec::<String>::new());
        let mut landing = Landing::start(&goal).unwrap();
        landing.write_all(b"whole").unwrap();
        assert_eq!(landing.land().unwrap(), goal);
        assert_eq!(fs::read(&goal).unwrap(), b"whole");
    }

    #[test]
    fn never_takes_anothers_place_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let goal = folder.path().join("2026-01-01_000000_print_7.puls");
        for _ in 0..3 {
            Landing::start(&goal).unwrap().land().unwrap();
        }
        Landing::start(&goal).unwrap().replace().unwrap();
        assert_eq!(
            names(folder.path()),
            ["2026-01-01_000000_print_7-2.puls", "2026-01-01_000000_print_7-3.puls", "2026-01-01_000000_print_7.puls"]
        );
    }
}
