//! Files that are whole or not there.
//!
//! A [`AtomicFile`] is a temporary file beside its goal: written, synced, renamed, and its folder synced. Dropped
//! before that, it leaves nothing. Where a system cannot sync a folder (Windows cannot), a power cut right after the
//! rename may lose the file whole.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result, files};

/// As many symbolic links as Linux follows.
const MOST_LINKS: usize = 40;

/// A file on its way in: see the module `files`. Dropped before it is put in its place, it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    file: NamedTempFile,
    goal: PathBuf,
}

impl AtomicFile {
    /// Starts a file that is to become `goal`, and makes the folder for it.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the folder or a file in it cannot be made.
    pub fn start(goal: &Path) -> Result<Self> {
        make_folders(folder_of(goal))?;
        Self::in_place_of(goal.into(), false)
    }

    /// Creates a temp file for `goal`, in an existing folder, that only its owner can read (mode 0600 on Unix).
    pub(crate) fn private(goal: &Path) -> Result<Self> {
        Self::in_place_of(goal.into(), true)
    }

    /// Starts a file that is to become what `name` leads to, in a folder that is there: a symbolic link stays one.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where a file in that folder cannot be made.
    pub fn beside(name: &Path) -> Result<Self> {
        Self::in_place_of(followed(name)?, false)
    }

    fn in_place_of(goal: PathBuf, is_private: bool) -> Result<Self> {
        let folder = folder_of(&goal);
        let mut builder = tempfile::Builder::new();
        // tempfile's default is 0600; otherwise the umask decides.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(if is_private { 0o600 } else { 0o666 }));
        #[cfg(not(unix))]
        let _ = is_private;
        let file = builder.prefix(".arriving-").suffix(".part").tempfile_in(folder).map_err(|source| Error::File {
            doing: "write in",
            path: folder.into(),
            source: files::without_path(source),
        })?;
        Ok(Self { file, goal })
    }

    /// As [`start`](Self::start), with all that will be in it.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the folder cannot be made or the file cannot be written.
    pub fn of(goal: &Path, bytes: &[u8]) -> Result<Self> {
        let mut file = Self::start(goal)?;
        file.write_all(bytes).map_err(|source| file.failed(source))?;
        Ok(file)
    }

    /// Where the bytes are for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Puts the file in its place, in place of one that may be there, and says where that is.
    ///
    /// # Errors
    ///
    /// [`Error::File`] where it cannot be written or renamed.
    pub fn replace(self) -> Result<PathBuf> {
        self.file.as_file().sync_all().map_err(|source| self.failed(source))?;
        let goal = self.replace_unsynced()?;
        sync_folder(folder_of(&goal));
        Ok(goal)
    }

    /// As [`replace`](Self::replace) without fsync: atomic for readers, but not durable across a power failure.
    pub(crate) fn replace_unsynced(self) -> Result<PathBuf> {
        let goal = self.goal;
        self.file.persist(&goal).map_err(|e| Error::File { doing: "write", path: goal.clone(), source: e.error })?;
        Ok(goal)
    }

    /// Puts the file in its place, or beside it (`name-2.ext`, `name-3.ext` ...) where something is there already,
    /// and says which.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace).
    pub fn land(self) -> Result<PathBuf> {
        self.file.as_file().sync_all().map_err(|source| self.failed(source))?;
        let Self { mut file, goal } = self;
        for n in 1u32.. {
            let place = numbered(&goal, n);
            match file.persist_noclobber(&place) {
                Ok(_) => {
                    sync_folder(folder_of(&place));
                    return Ok(place);
                }
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

impl Write for AtomicFile {
    // To the file itself: what holds it would name it in its errors.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Where a name leads: symbolic links are followed, also to what is not there.
fn followed(name: &Path) -> Result<PathBuf> {
    let mut path = name.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = folder_of(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    let source = io::Error::other("there are too many symbolic links");
    Err(Error::File { doing: "write", path: name.into(), source })
}

/// Makes a folder and those above it, and syncs whatever each of them was made in.
fn make_folders(folder: &Path) -> Result<()> {
    let missing: Vec<_> =
        folder.ancestors().take_while(|folder| *folder != Path::new("") && !folder.exists()).collect();
    fs::create_dir_all(folder).map_err(|source| {
        // Where a file is in the way, the system only says that something exists.
        let in_the_way = files::can_write_in(folder).err();
        in_the_way.unwrap_or_else(|| Error::File { doing: "make", path: folder.into(), source })
    })?;
    for made in missing {
        sync_folder(folder_of(made));
    }
    Ok(())
}

/// Has the system write down which files a folder has. Some file systems cannot, and there is nothing to do about that.
fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Err(e) = fs::File::open(folder).and_then(|folder| folder.sync_all())
    {
        log::debug!("cannot sync the folder {}: {e}", folder.display());
    }
    #[cfg(test)]
    tests::SYNCED.with_borrow_mut(|synced| synced.push(folder.to_owned()));
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
    fn is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let goal = folder.path().join("new/job.puls");
        let mut file = AtomicFile::start(&goal).unwrap();
        file.write_all(b"half").unwrap();
        assert!(!goal.exists());
        drop(file);
        assert_eq!(names(goal.parent().unwrap()), Vec::<String>::new());
        let mut file = AtomicFile::start(&goal).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(file.land().unwrap(), goal);
        assert_eq!(fs::read(&goal).unwrap(), b"whole");
    }

    #[test]
    fn never_takes_anothers_place_unless_asked() {
        let folder = tempfile::tempdir().unwrap();
        let goal = folder.path().join("2026-01-01_000000_print_7.puls");
        for _ in 0..3 {
            AtomicFile::start(&goal).unwrap().land().unwrap();
        }
        AtomicFile::start(&goal).unwrap().replace().unwrap();
        assert_eq!(
            names(folder.path()),
            ["2026-01-01_000000_print_7-2.puls", "2026-01-01_000000_print_7-3.puls", "2026-01-01_000000_print_7.puls"]
        );
    }

    #[test]
    fn a_file_in_its_place_is_one_that_its_folder_has() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_owned();
        let deep = here.join("new/deep");
        let synced = || SYNCED.take();
        let file = AtomicFile::of(&deep.join("job.puls"), b"steps").unwrap();
        assert_eq!(synced(), [here.join("new"), here], "each new folder is in one that is synced");
        file.land().unwrap();
        assert_eq!(synced(), [&*deep]);
        // The second finds the first one's place taken.
        AtomicFile::of(&deep.join("job.puls"), b"steps").unwrap().land().unwrap();
        assert_eq!(synced(), [&*deep]);
        AtomicFile::of(&deep.join("job.info"), b"{}").unwrap().replace().unwrap();
        assert_eq!(synced(), [&*deep]);
    }

    #[test]
    fn a_file_where_a_folder_is_to_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = AtomicFile::start(&folder.path().join("file/job.puls")).unwrap_err().to_string();
        assert!(error.ends_with("it is a file, not a folder"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays_and_its_target_is_replaced() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [here, below] = ["", "below"].map(|name| folder.path().join(name));
        fs::create_dir(&below).unwrap();
        symlink("below/second", here.join("first")).unwrap();
        symlink("goal", below.join("second")).unwrap();
        for text in ["not there yet", "there"] {
            let mut file = AtomicFile::beside(&here.join("first")).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.replace().unwrap();
            assert_eq!(fs::read_to_string(below.join("goal")).unwrap(), text);
        }
        assert_eq!(names(&below), ["goal", "second"]);
        symlink("around", here.join("around")).unwrap();
        assert!(AtomicFile::beside(&here.join("around")).unwrap_err().to_string().contains("too many symbolic links"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_error_names_no_temporary_file() {
        let error = AtomicFile::start(Path::new("/proc/job.puls")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write in /proc: ") && !error.contains(".part"), "{error}");
        // A disk that is full, seen from the file.
        let folder = tempfile::tempdir().unwrap();
        let mut file = AtomicFile::start(&folder.path().join("job.puls")).unwrap();
        *file.file.as_file_mut() = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = file.write_all(b"steps").unwrap_err().to_string();
        assert!(!error.contains(".part"), "{error}");
    }
}
