//! Opens files named by the user: regular files of bounded size for reading, regular files and character devices for
//! writing.
//!
//! FIFOs, sockets and devices can block a reader forever, and a FIFO also a writer, so they are rejected.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::{Error, Result};

/// Opens the regular file at `path` for reading. Symbolic links are followed.
///
/// # Errors
///
/// [`Error::File`] if it does not exist, cannot be opened, or is not a regular file (a folder, a FIFO, a device).
pub fn open(path: &Path) -> Result<File> {
    let failed = |source| Error::File { doing: "read", path: path.to_owned(), source };
    // Check first: opening a FIFO blocks until there is a writer.
    fs::metadata(path).and_then(|metadata| regular(&metadata)).map_err(failed)?;
    let file = File::open(path).map_err(failed)?;
    file.metadata().and_then(|metadata| regular(&metadata)).map_err(failed)?;
    Ok(file)
}

/// Opens the file at `path` for appending, and creates it if needed.
///
/// # Errors
///
/// [`Error::File`] if it cannot be opened, or is neither a regular file nor a character device.
pub fn append(path: &Path) -> Result<File> {
    let failed = |source| Error::File { doing: "write", path: path.to_owned(), source };
    match device(path)? {
        Some(device) => Ok(device),
        None => OpenOptions::new().create(true).append(true).open(path).map_err(failed),
    }
}

/// Opens the character device at `path` for writing. Returns `None` if it is a regular file or does not exist.
///
/// # Errors
///
/// [`Error::File`] if it is something else (a folder, a FIFO, a socket, a block device), or cannot be opened.
pub(crate) fn device(path: &Path) -> Result<Option<File>> {
    let failed = |source| Error::File { doing: "write", path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) if is_device(&metadata) => OpenOptions::new().write(true).open(path).map(Some).map_err(failed),
        Ok(metadata) => regular(&metadata).map(|()| None).map_err(failed),
        // Creating the file will report the error.
        Err(_) => Ok(None),
    }
}

#[cfg(unix)]
fn is_device(metadata: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_char_device(&metadata.file_type())
}

#[cfg(not(unix))]
fn is_device(metadata: &Metadata) -> bool {
    !metadata.is_file() && !metadata.is_dir()
}

/// Reads the regular file at `path`, of at most `limit_bytes`.
///
/// # Errors
///
/// As [`open`]; [`Error::TooLarge`] if the file is larger than the limit.
pub fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    let too_large = || Error::TooLarge { what: path.display().to_string(), limit_bytes };
    let failed = |source| Error::File { doing: "read", path: path.to_owned(), source };
    let file = open(path)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > limit_bytes {
        return Err(too_large());
    }
    // The file may grow while it is read, and files in /proc report no size.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit_bytes { Err(too_large()) } else { Ok(bytes) }
}

/// Reads the regular UTF-8 file at `path`, of at most `limit_bytes`.
///
/// # Errors
///
/// As [`read`]; [`Error::File`] if the file is not UTF-8.
pub fn read_text(path: &Path, limit_bytes: u64) -> Result<String> {
    String::from_utf8(read(path, limit_bytes)?).map_err(|_| Error::File {
        doing: "read",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"),
    })
}

/// Checks that files can be created in `folder`, or, if it does not exist, that it could be created. Leaves nothing
/// behind.
///
/// # Errors
///
/// [`Error::File`] with `folder` and the reason.
pub fn can_write_in(folder: &Path) -> Result<()> {
    let failed = |source| Error::File { doing: "write in", path: folder.to_owned(), source };
    let nearest = folder.ancestors().find(|path| *path != Path::new("") && fs::symlink_metadata(path).is_ok());
    let nearest = nearest.unwrap_or(Path::new("."));
    let metadata = fs::metadata(nearest).map_err(failed)?;
    if !metadata.is_dir() {
        let name = if nearest == folder { "it".into() } else { nearest.display().to_string() };
        return Err(failed(not_a_folder(&name, &metadata)));
    }
    tempfile::tempfile_in(nearest).map(drop).map_err(|e| failed(without_path(e)))
}

/// Removes the name of a temp file from its error: users do not know that file.
#[must_use]
pub(crate) fn without_path(error: io::Error) -> io::Error {
    if error.get_ref().is_none() {
        return error;
    }
    // tempfile wraps the system's error without access to it, except through its message.
    match error.to_string().split_once(" at path ") {
        Some((reason, _)) => io::Error::new(error.kind(), reason),
        None => error.kind().into(),
    }
}

/// Returns the error for something that is not a folder, called `name` in its message.
pub(crate) fn not_a_folder(name: &str, metadata: &Metadata) -> io::Error {
    let what = if metadata.is_file() { "a file, not a folder" } else { "not a folder" };
    io::Error::new(io::ErrorKind::NotADirectory, format!("{name} is {what}"))
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "it is a folder, not a file" } else { kind(metadata) };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// Describes something that is neither a file nor a folder.
#[cfg(unix)]
fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
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
    fn errors_name_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.ends_with("it is a folder, not a file"), "{error}");
        assert!(open(&folder.path().join("no")).unwrap_err().to_string().contains("no"));
    }

    #[cfg(unix)]
    #[test]
    fn refuses_to_read_devices_and_fifos() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [Path::new("/dev/zero"), &fifo] {
            assert!(read(path, 10).unwrap_err().to_string().contains("not a regular file"), "{}", path.display());
        }
    }

    #[cfg(unix)]
    #[test]
    fn writes_to_devices_but_not_to_fifos_and_folders() {
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
    fn checks_whether_a_folder_is_writable_without_a_trace() {
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
    fn limits_files_that_report_no_size() {
        assert!(matches!(read(Path::new("/proc/self/maps"), 10), Err(Error::TooLarge { .. })));
    }
}
