//! Opening the files that a person or a configuration names: regular files of bounded size to read, regular files and
//! character devices to write.
//!
//! A FIFO, a socket or a device can block its reader for ever or never end, so none of them is opened for reading. A FIFO
//! can block its writer for ever, so it is not opened for writing.

use std::fs::{self, File, Metadata, OpenOptions};
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
    fs::metadata(path).and_then(|there| regular(&there)).map_err(failed)?;
    let file = File::open(path).map_err(failed)?;
    file.metadata().and_then(|there| regular(&there)).map_err(failed)?;
    Ok(file)
}

/// Opens the file at `path` for writing at its end, and makes it where it is not there.
///
/// # Errors
///
/// [`Error::File`] where it cannot be opened, or is neither a regular file nor a character device.
pub fn append(path: &Path) -> Result<File> {
    let failed = |source| Error::File { doing: "write", path: path.to_owned(), source };
    match device(path)? {
        Some(device) => Ok(device),
        None => OpenOptions::new().create(true).append(true).open(path).map_err(failed),
    }
}

/// Opens the character device at `path` for writing; nothing where a regular file is there, or could be made.
///
/// # Errors
///
/// [`Error::File`] where something else is there (a folder, a FIFO, a socket, a disk), or the device cannot be opened.
pub fn device(path: &Path) -> Result<Option<File>> {
    let failed = |source| Error::File { doing: "write", path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(there) if is_device(&there) => OpenOptions::new().write(true).open(path).map(Some).map_err(failed),
        Ok(there) => regular(&there).map(|()| None).map_err(failed),
        // Whoever makes the file says why it cannot be made.
        Err(_) => Ok(None),
    }
}

#[cfg(unix)]
fn is_device(there: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_char_device(&there.file_type())
}

#[cfg(not(unix))]
fn is_device(there: &Metadata) -> bool {
    !there.is_file() && !there.is_dir()
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
    let there = fs::metadata(nearest).map_err(failed)?;
    if !there.is_dir() {
        let name = if nearest == folder { "it".into() } else { nearest.display().to_string() };
        return Err(failed(no_folder(&name, &there)));
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

/// What is wrong with `there`, called `name`, where a folder is wanted.
pub(crate) fn no_folder(name: &str, there: &Metadata) -> io::Error {
    let what = if there.is_file() { "a file, not a folder" } else { "not a folder" };
    io::Error::new(io::ErrorKind::NotADirectory, format!("{name} is {what}"))
}

fn regular(there: &Metadata) -> io::Result<()> {
    if there.is_file() {
        return Ok(());
    }
    let what = if there.is_dir() { "it is a folder, not a file" } else { kind(there) };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// What is neither a file nor a folder, in words.
#[cfg(unix)]
fn kind(there: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = there.file_type();
    if kind.is_fifo() {
        "it is a pipe (FIFO), not a regular file"
    } else if kind.is_socket() {
        "it is a socket, not a regular file"
    } else {
        "it is a device, not a regular file"
    }
}

#[cfg(not(unix))]
fn kind(_: &Metadata) -> &'static str {
    "it is not a regular file"
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
        assert!(error.starts_with("cannot read ") && error.ends_with("it is a folder, not a file"), "{error}");
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

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_a_fifo_or_a_folder_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [fifo, file] = ["fifo", "file"].map(|name| folder.path().join(name));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, words) in [(&*fifo, "it is a pipe (FIFO)"), (folder.path(), "it is a folder, not a file")] {
            for error in [append(path).unwrap_err(), device(path).unwrap_err()] {
                assert!(error.to_string().contains(words), "{error}");
            }
        }
        assert!(device(Path::new("/dev/null")).unwrap().is_some() && device(&file).unwrap().is_none());
        for _ in 0..2 {
            io::Write::write_all(&mut append(&file).unwrap(), b"line\n").unwrap();
        }
        assert_eq!(fs::read(&file).unwrap(), b"line\nline\n");
    }

    #[test]
    fn tells_whether_a_folder_can_be_written_in_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::write(here.join("file"), "").unwrap();
        for good in [here.to_owned(), here.join("new"), here.join("new/deep")] {
            can_write_in(&good).unwrap();
        }
        for (bad, words) in [("file", "it is a file, not a folder"), ("file/new", "file is a file, not a folder")] {
            let error = can_write_in(&here.join(bad)).unwrap_err().to_string();
            assert!(error.ends_with(words), "{error}");
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
