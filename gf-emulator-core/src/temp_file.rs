//! Temp files with names, and the removal of those whose program was killed.
//!
//! A program that ends removes its temp files, but nothing can after SIGKILL or a power failure. So a temp file is locked
//! as long as its program has it open: one that can be locked is of a program that is dead, and the next program that
//! uses the folder removes it. On Windows, a file that is open for writing cannot be opened without sharing that.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::files;
use crate::words::count;

/// How many files are created until one can be locked. Then there are no locks that mean anything.
const MAX_ATTEMPTS: u32 = 10;
const PREFIX: &str = ".arriving-";
const SUFFIX: &str = ".part";

/// Creates a temp file with this mode (on Unix, reduced by the umask), which is removed when dropped.
pub(crate) fn create(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let file = builder.prefix(PREFIX).suffix(SUFFIX).tempfile_in(folder).map_err(files::without_path)?;
        if lock_new(file.as_file())? || attempts == MAX_ATTEMPTS {
            return Ok(file);
        }
    }
}

/// Removes the temp files in `folder` whose program is dead: killed, or stopped by a power failure. Does nothing if there
/// is no such folder. What cannot be removed is left.
///
/// The temp files of [`AtomicFile`](crate::storage::AtomicFile) are meant, whose names are `.arriving-*.part`. Those of
/// running programs are locked, and stay; so does everything on a file system that has no locks. Some network file systems
/// keep locks on each computer: programs on several computers must not share a folder there.
pub fn remove_leftovers(folder: &Path) {
    let mut removed = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_temp = is_temp_name(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_file());
        // Locked until it is removed: see `lock_new`.
        if let Some(Ok(_locked)) = is_temp.then(|| lock_leftover(&entry.path()))
            && fs::remove_file(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    if removed > 0 {
        log::info!("removed {} of programs that were killed from {}", count(removed, "temp file"), folder.display());
    }
}

/// Returns whether a file of this name is a temp file.
pub(crate) fn is_temp_name(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
}

/// Locks a new file. Returns `false` if another program, which took it for a leftover, has removed it or is about to.
#[cfg(unix)]
fn lock_new(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(std::os::unix::fs::MetadataExt::nlink(&file.metadata()?) > 0),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        // Without locks, nothing is removed either.
        Err(_) => Ok(true),
    }
}

/// Locks a file whose program is dead. Fails if it is not.
#[cfg(unix)]
fn lock_leftover(path: &Path) -> io::Result<File> {
    use rustix::fs::{FlockOperation, flock};
    let file = OpenOptions::new().read(true).open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
fn lock_new(_: &File) -> io::Result<bool> {
    Ok(true)
}

#[cfg(windows)]
fn lock_leftover(path: &Path) -> io::Result<File> {
    const FILE_SHARE_DELETE: u32 = 4;
    let mut options = OpenOptions::new();
    std::os::windows::fs::OpenOptionsExt::share_mode(options.read(true), FILE_SHARE_DELETE).open(path)
}

#[cfg(not(any(unix, windows)))]
fn lock_leftover(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_the_files_of_dead_programs_only() {
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name);
        let living = create(folder.path(), 0o600).unwrap();
        let kept = [".arriving-.puls", "arriving-1.part", ".tmp1.part", "job.puls"].map(here);
        for path in &kept {
            fs::write(path, "theirs").unwrap();
        }
        fs::create_dir(here(".arriving-folder.part")).unwrap();
        let (open, renamed) = create(folder.path(), 0o600).unwrap().into_parts();
        renamed.persist(here("renamed")).unwrap();
        // A program that was killed leaves its file unlocked.
        let dead = here(".arriving-dead.part");
        fs::write(&dead, "half").unwrap();
        remove_leftovers(folder.path());
        assert!(!dead.exists());
        assert!(living.path().exists() && here(".arriving-folder.part").exists() && here("renamed").exists());
        assert!(kept.iter().all(|path| path.exists()));
        drop(open);
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
        remove_leftovers(&here("nowhere"));
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_that_another_program_takes_for_a_leftover_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".arriving-new.part");
        let new = File::create_new(&path).unwrap();
        let locked = lock_leftover(&path).unwrap();
        assert!(!lock_new(&new).unwrap(), "the other is about to remove it");
        fs::remove_file(&path).unwrap();
        drop(locked);
        assert!(!lock_new(&new).unwrap(), "the other has removed it");
    }
}
