//! Creates the folder of a recording and its `session.jsonl`, readable only by the owner (0700 and 0600 on Unix).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::disk::{self, TempFile, TempName};
use crate::system::simulated;
use crate::temp_file::is_temp_name;
use crate::{Error, Result};

/// The file that holds a recording's entries.
pub const SESSION_FILE: &str = "session.jsonl";
/// The highest number appended to a folder name that is already taken.
const MAX_SUFFIX: usize = 1000;

/// Creates a folder in `parent` that did not exist before: `name`, or `name-2` and so on if that is taken. Safe against
/// concurrent callers.
pub(super) fn create_unique(parent: &Path, name: &str) -> Result<PathBuf> {
    disk::create_private_folders(parent).map_err(|e| failed("create", parent, e))?;
    for n in 1..=MAX_SUFFIX {
        let folder = parent.join(if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
        match disk::create_private_folder(&folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map_err(|e| failed("create", &folder, e)).map(|()| folder),
        }
    }
    let reason = format!("{MAX_SUFFIX} recordings have that name already; move some of them away");
    Err(failed("create", &parent.join(name), io::Error::new(io::ErrorKind::AlreadyExists, reason)))
}

/// The `session.jsonl` of a new recording, before it has that name.
pub(super) struct NewSession {
    folder: PathBuf,
    name: TempName,
}

impl NewSession {
    /// Creates the file in `folder`, which is created if needed. Fails if there is a recording, or another program is about
    /// to make one.
    ///
    /// Removes what recordings of programs that were killed have left in `folder` and in the folders beside it.
    pub(super) fn create(folder: &Path) -> Result<(Self, Box<dyn Write + Send>)> {
        check(folder)?;
        disk::create_private_folders(folder).map_err(|e| failed("create", folder, e))?;
        remove_leftovers(folder);
        let created = TempFile::create(folder, true);
        let created = created.map_err(|e| failed("begin a recording in", &folder.join(SESSION_FILE), e))?;
        check_alone(folder, created.path())?;
        let (file, name) = created.into_parts();
        Ok((Self { folder: folder.into(), name }, file))
    }

    /// Gives the file its name. Fails if there is a recording meanwhile.
    pub(super) fn publish(self) -> Result<()> {
        let path = self.folder.join(SESSION_FILE);
        self.name.rename_new(&path).map_err(|(_, e)| match e.kind() {
            io::ErrorKind::AlreadyExists => already_recorded(&self.folder),
            _ => failed("begin a recording in", &path, e),
        })
    }
}

/// Returns whether a recording in `folder` may have ended before its first line was written.
fn has_only_temp_files(folder: &Path) -> bool {
    let is_temp = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| is_temp_name(&entry.file_name()));
    fs::read_dir(folder).is_ok_and(|mut entries| entries.all(is_temp))
}

fn remove_leftovers(folder: &Path) {
    simulated!(_ => nothing);
    disk::remove_leftovers(folder);
    let parent = folder.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let beside = fs::read_dir(parent).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in beside.filter(|folder| folder.join(SESSION_FILE).is_file() || has_only_temp_files(folder)) {
        disk::remove_leftovers(&folder);
    }
}

/// Checks that [`NewSession::create`] would succeed, without creating anything.
pub(super) fn check(folder: &Path) -> Result<()> {
    disk::can_write_in(folder)?;
    if disk::exists(&folder.join(SESSION_FILE)) { Err(already_recorded(folder)) } else { Ok(()) }
}

/// Checks that `own` is the only temp file in `folder`. Of two programs that begin at the same time, at least one fails.
fn check_alone(folder: &Path, own: &Path) -> Result<()> {
    simulated!(_ => Ok(()));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut others =
        entries.filter(|entry| is_temp_name(&entry.file_name()) && Some(&*entry.file_name()) != own.file_name());
    match others.next() {
        None => Ok(()),
        Some(_) => {
            Err(taken(folder, "another program is writing a recording there: choose another folder, or wait for it"))
        }
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { doing, path: path.into(), source }
}

fn already_recorded(folder: &Path) -> Error {
    taken(folder, "it already contains a recording: choose another folder, or move the recording")
}

fn taken(folder: &Path, reason: &'static str) -> Error {
    let source = io::Error::new(io::ErrorKind::AlreadyExists, reason);
    failed("begin a recording in", folder, source)
}
