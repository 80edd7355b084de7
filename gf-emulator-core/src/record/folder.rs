//! Creates the folder of a recording and its `session.jsonl`, readable only by the owner (0700 and 0600 on Unix).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result, disk};

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

/// Creates `folder` if needed, and `session.jsonl` in it. Fails if that file exists.
pub(super) fn create_session(folder: &Path) -> Result<Box<dyn Write + Send>> {
    disk::can_write_in(folder)?;
    disk::create_private_folders(folder).map_err(|e| failed("create", folder, e))?;
    disk::create_private(&folder.join(SESSION_FILE)).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => already_recorded(folder),
        _ => failed("begin a recording in", &folder.join(SESSION_FILE), e),
    })
}

/// Checks that [`create_session`] would succeed, without creating anything.
pub(super) fn check(folder: &Path) -> Result<()> {
    disk::can_write_in(folder)?;
    if folder.join(SESSION_FILE).symlink_metadata().is_ok() { Err(already_recorded(folder)) } else { Ok(()) }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { doing, path: path.into(), source }
}

fn already_recorded(folder: &Path) -> Error {
    let reason = "it already contains a recording: choose another folder, or move the recording";
    let source = io::Error::new(io::ErrorKind::AlreadyExists, reason);
    failed("begin a recording in", &folder.join(SESSION_FILE), source)
}
