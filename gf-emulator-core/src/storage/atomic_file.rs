//! Atomic writes: temp file, fsync, rename.
//!
//! [`AtomicFile`] writes to a temp file beside its target, syncs it, renames it, and syncs the folder. If it is dropped
//! before that, nothing is left. Windows cannot sync a folder: there, a power cut right after the rename may lose the
//! file, but never leaves half of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::disk::{self, TempFile};
use crate::{Error, Result};

/// The number of symbolic links that Linux follows.
const MAX_LINKS: usize = 40;

/// A file that appears complete or not at all.
///
/// ```
/// use std::io::Write;
///
/// use gf_emulator_core::storage::AtomicFile;
///
/// let folder = tempfile::tempdir().unwrap();
/// let target = folder.path().join("job.puls");
/// let mut file = AtomicFile::create(&target)?;
/// file.write_all(b"steps").unwrap();
/// assert!(!target.exists());
/// file.persist()?;
/// assert_eq!(std::fs::read(&target).unwrap(), b"steps");
/// # Ok::<(), gf_emulator_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    file: TempFile,
    target: PathBuf,
}

impl AtomicFile {
    /// Creates a temp file that will become `target`, and the folders above it.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the folder or the temp file cannot be created.
    pub fn create(target: &Path) -> Result<Self> {
        create_folders(folder_of(target))?;
        Self::create_beside(target.into(), false)
    }

    /// Creates a temp file for `target`, in an existing folder, that only its owner can read (mode 0600 on Unix).
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the temp file cannot be created.
    pub fn create_private(target: &Path) -> Result<Self> {
        Self::create_beside(target.into(), true)
    }

    /// Creates a temp file that will become the file `name` points to: if `name` is a symbolic link, its target is
    /// replaced and the link stays. The folder must exist; temp files of programs that were killed are removed from it.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the temp file cannot be created, or there are more than 40 links.
    pub fn create_following_links(name: &Path) -> Result<Self> {
        let target = follow_links(name)?;
        disk::remove_leftovers(folder_of(&target));
        Self::create_beside(target, false)
    }

    /// Creates a temp file with these contents: [`create`](Self::create) and write.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the folder cannot be created or the file cannot be written.
    pub fn with_contents(target: &Path, bytes: &[u8]) -> Result<Self> {
        let mut file = Self::create(target)?;
        file.write_all(bytes).map_err(|source| file.error(source))?;
        Ok(file)
    }

    fn create_beside(target: PathBuf, is_private: bool) -> Result<Self> {
        let folder = folder_of(&target);
        let file = TempFile::create(folder, is_private).map_err(|source| Error::File {
            doing: "write in",
            path: folder.into(),
            source,
        })?;
        Ok(Self { file, target })
    }

    /// The path of the temp file.
    #[must_use]
    pub fn temp_path(&self) -> &Path {
        self.file.path()
    }

    /// Syncs the file and renames it to its target, replacing an existing file. Returns the target.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if it cannot be written or renamed.
    pub fn persist(self) -> Result<PathBuf> {
        self.file.sync().map_err(|source| self.error(source))?;
        let target = self.persist_unsynced()?;
        sync_folder(folder_of(&target));
        Ok(target)
    }

    /// As [`persist`](Self::persist) without fsync: atomic for readers, but not durable across a power failure.
    pub(crate) fn persist_unsynced(self) -> Result<PathBuf> {
        let target = self.target;
        self.file.replace(&target).map_err(|source| Error::File { doing: "write", path: target.clone(), source })?;
        Ok(target)
    }

    /// Syncs the file and renames it to its target, without replacing another.
    ///
    /// # Errors
    ///
    /// As [`persist`](Self::persist); with [`AlreadyExists`](io::ErrorKind::AlreadyExists) if there is such a file.
    pub fn persist_without_replacing(self) -> Result<PathBuf> {
        self.persist_numbered(1)
    }

    /// Syncs the file and renames it without replacing another: if the target exists, to `name-2.ext`, `name-3.ext`
    /// and so on. Returns the path.
    ///
    /// # Errors
    ///
    /// As [`persist`](Self::persist).
    pub fn persist_new(self) -> Result<PathBuf> {
        self.persist_numbered(u32::MAX)
    }

    /// Syncs the file and renames it to the first of its numbered names that is free, up to the name with number `last`.
    fn persist_numbered(self, last: u32) -> Result<PathBuf> {
        self.file.sync().map_err(|source| self.error(source))?;
        let Self { mut file, target } = self;
        let mut n = 1;
        loop {
            let path = numbered(&target, n);
            match file.rename_new(&path) {
                Ok(()) => {
                    sync_folder(folder_of(&path));
                    return Ok(path);
                }
                Err((unchanged, e)) if e.kind() == io::ErrorKind::AlreadyExists && n < last => file = unchanged,
                Err((_, source)) => return Err(Error::File { doing: "write", path, source }),
            }
            n += 1;
        }
    }

    /// Puts the name of this file into an error of writing it.
    pub(crate) fn name_error(&self, error: Error) -> Error {
        match error {
            Error::File { source, .. } => self.error(source),
            other => other,
        }
    }

    fn error(&self, source: io::Error) -> Error {
        Error::File { doing: "write", path: self.target.clone(), source }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns the folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Resolves symbolic links. The last target need not exist.
fn follow_links(name: &Path) -> Result<PathBuf> {
    let mut path = name.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = folder_of(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    let source = io::Error::other("there are too many symbolic links");
    Err(Error::File { doing: "write", path: name.into(), source })
}

/// Creates a folder and its parents, and syncs the parent of each new one.
fn create_folders(folder: &Path) -> Result<()> {
    let created = disk::create_folders(folder).map_err(|source| {
        // If a file is in the way, the system only reports that something exists.
        let in_the_way = disk::can_write_in(folder).err();
        in_the_way.unwrap_or_else(|| Error::File { doing: "create", path: folder.into(), source })
    })?;
    for folder in &created {
        sync_folder(folder_of(folder));
    }
    Ok(())
}

/// Syncs a folder's entries. Some file systems cannot do that; that is only logged.
fn sync_folder(folder: &Path) {
    if let Err(e) = disk::sync_folder(folder) {
        log::debug!("cannot sync the folder {}: {e}", folder.display());
    }
    #[cfg(test)]
    tests::SYNCED.with_borrow_mut(|synced| synced.push(folder.to_owned()));
}

fn numbered(target: &Path, n: u32) -> PathBuf {
    if n == 1 {
        return target.to_owned();
    }
    let stem = target.file_stem().and_then(OsStr::to_str).unwrap_or_default();
    let mut name = format!("{stem}-{n}");
    if let Some(extension) = target.extension().and_then(OsStr::to_str) {
        name = format!("{name}.{extension}");
    }
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    thread_local! {
        /// The folders that were synced in this thread.
        pub(super) static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn appears_complete_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new/job.puls");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!target.exists());
        drop(file);
        assert_eq!(names(target.parent().unwrap()), Vec::<String>::new());
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(file.persist_new().unwrap(), target);
        assert_eq!(fs::read(&target).unwrap(), b"whole");
    }

    #[test]
    fn replaces_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("2026-01-01_000000_print_7.puls");
        for _ in 0..3 {
            AtomicFile::create(&target).unwrap().persist_new().unwrap();
        }
        AtomicFile::create(&target).unwrap().persist().unwrap();
        assert_eq!(
            names(folder.path()),
            ["2026-01-01_000000_print_7-2.puls", "2026-01-01_000000_print_7-3.puls", "2026-01-01_000000_print_7.puls"]
        );
    }

    #[test]
    fn syncs_every_folder_that_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_owned();
        let deep = here.join("new/deep");
        let synced = || SYNCED.take();
        let file = AtomicFile::with_contents(&deep.join("job.puls"), b"steps").unwrap();
        assert_eq!(synced(), [here.join("new"), here], "the parent of each new folder");
        file.persist_new().unwrap();
        assert_eq!(synced(), [&*deep]);
        // The second is numbered.
        AtomicFile::with_contents(&deep.join("job.puls"), b"steps").unwrap().persist_new().unwrap();
        assert_eq!(synced(), [&*deep]);
        AtomicFile::with_contents(&deep.join("job.info"), b"{}").unwrap().persist().unwrap();
        assert_eq!(synced(), [&*deep]);
    }

    #[test]
    fn names_a_file_that_is_in_the_way_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = AtomicFile::create(&folder.path().join("file/job.puls")).unwrap_err().to_string();
        assert!(error.ends_with("it is a file, not a folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn replaces_the_target_of_a_symbolic_link() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [here, below] = ["", "below"].map(|name| folder.path().join(name));
        fs::create_dir(&below).unwrap();
        symlink("below/second", here.join("first")).unwrap();
        symlink("target", below.join("second")).unwrap();
        for text in ["not there yet", "there"] {
            let mut file = AtomicFile::create_following_links(&here.join("first")).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.persist().unwrap();
            assert_eq!(fs::read_to_string(below.join("target")).unwrap(), text);
        }
        assert_eq!(names(&below), ["second", "target"]);
        symlink("around", here.join("around")).unwrap();
        assert!(
            AtomicFile::create_following_links(&here.join("around"))
                .unwrap_err()
                .to_string()
                .contains("too many symbolic links")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn errors_do_not_name_the_temp_file() {
        let error = AtomicFile::create(Path::new("/proc/job.puls")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write in /proc: ") && !error.contains(".part"), "{error}");
        // A full disk.
        let folder = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::create(&folder.path().join("job.puls")).unwrap();
        file.file.redirect(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
        let error = file.write_all(b"steps").unwrap_err().to_string();
        assert!(!error.contains(".part"), "{error}");
    }
}
