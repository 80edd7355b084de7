//! Opening the files that a person or a configuration names: regular files of bounded size.
//!
//! A FIFO, a socket or a device can block its reader for ever or never end, so none of them is opened at all.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::{Error, Result};

/// Opens the regular file at `path` for reading. Symbolic links are followed.
///
/// # Errors
///
/// [`Error::File`] where it does not exist, cannot be opened, or is not a regular file (a folder, a FIFO, a device).
pub fn open(path: &Path) -> Result<File> {
    let failed = |source| Error::File { doing: "read", path: path.to_owned(), source };
    // Asked before opening: opening a FIFO blocks until somebody writes to it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(not_regular()));
    }
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(not_regular()));
    }
    Ok(file)
}

/// Reads all of the regular file at `path`, which may have `limit_bytes` at most.
///
/// # Errors
///
/// As [`open`]; [`Error::TooLarge`] where the file is larger than the limit.
pub fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    let too_large = || Error::TooLarge { what: path.display().to_string(), limit_bytes };
    let failed = |source| Error::File { doing: "read", path: path.to_owned(), source };
    let file = open(path)?;
    if file.metadata().map_err(failed)?.len() > limit_bytes {
        return Err(too_large());
    }
    // The file may grow while it is read, and files of /proc have no size.
    let mut bytes = Vec::new();
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit_bytes { Err(too_large()) } else { Ok(bytes) }
}

/// As [`read`], as text.
///
/// # Errors
///
/// As [`read`]; [`Error::File`] where the file is not UTF-8.
pub fn read_text(path: &Path, limit_bytes: u64) -> Result<String> {
    String::from_utf8(read(path, limit_bytes)?).map_err(|_| Error::File {
        doing: "read",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"),
    })
}

/// Checks that files can be written in `folder`, or, where it is not there yet, that it could be made. Leaves nothing
/// behind.
///
/// # Errors
///
/// [`Error::File`] with the folder that was asked for and why nothing can be written there.
pub fn can_write_in(folder: &Path) -> Result<()> {
    let failed = |source| Error::File { doing: "write in", path: folder.to_owned(), source };
    let nearest = folder.ancestors().find(|path| *path != Path::new("") && fs::symlink_metadata(path).is_ok());
    let nearest = nearest.unwrap_or(Path::new("."));
    if !fs::metadata(nearest).map_err(failed)?.is_dir() {
        return Err(failed(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is not a folder", nearest.display()),
        )));
    }
    // A file without a name, where the system has such.
    tempfile::tempfile_in(nearest).map(drop).map_err(|e| failed(without_path(e)))
}

/// An error of a temporary file, without that file's name: nobody has asked for it.
#[must_use]
pub fn without_path(error: io::Error) -> io::Error {
    if error.get_ref().is_none() {
        return error;
    }
    // The system's own error is not to be had from what tempfile makes of it, but its words are.
    match error.to_string().split_once(" at path ") {
        Some((words, _)) => io::Error::new(error.kind(), words),
        None => error.kind().into(),
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_regular_file_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert!(matches!(read(&path, 4), Err(Error::TooLarge { limit_bytes: 4, .. })));
        fs::write(&path, [0xff]).unwrap();
        assert!(read_text(&path, 5).unwrap_err().to_string().contains("not UTF-8"));
    }

    #[test]
    fn a_folder_and_a_missing_file_are_errors_that_name_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("it is not a regular file"), "{error}");
        assert!(open(&folder.path().join("no")).unwrap_err().to_string().contains("no"));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_and_a_fifo_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [Path::new("/dev/zero"), &fifo] {
            assert!(read(path, 10).unwrap_err().to_string().contains("not a regular file"), "{}", path.display());
        }
    }

    #[test]
    fn tells_whether_a_folder_can_be_written_in_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::write(here.join("file"), "").unwrap();
        for good in [here.to_owned(), here.join("new"), here.join("new/deep")] {
            can_write_in(&good).unwrap();
        }
        for bad in ["file", "file/new"] {
            let error = can_write_in(&here.join(bad)).unwrap_err().to_string();
            assert!(error.contains("file is not a folder"), "{error}");
        }
        assert_eq!(fs::read_dir(here).unwrap().count(), 1);
        #[cfg(target_os = "linux")]
        for bad in ["/proc", "/proc/new", "/proc/new/deep"] {
            let error = can_write_in(Path::new(bad)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot write in {bad}: ")), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_claims_no_size_is_bounded_all_the_same() {
        assert!(matches!(read(Path::new("/proc/self/maps"), 10), Err(Error::TooLarge { .. })));
    }
}
