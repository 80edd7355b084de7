//! Reads pictures. Machines that send the same picture at the same time share its memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use tungstenite::Bytes;

use crate::sync::lock;
use crate::{Result, files};

/// The pictures that some machine is sending or recording.
static IN_USE: Mutex<Vec<InUse>> = Mutex::new(Vec::new());

struct InUse {
    path: PathBuf,
    version: Version,
    picture: Weak<Vec<u8>>,
}

/// Size and time of the last change.
type Version = (u64, SystemTime);

/// The owner of a picture's bytes.
struct Picture(Arc<Vec<u8>>);

impl AsRef<[u8]> for Picture {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads the picture at `path`, a regular file of at most `limit_bytes`, unless it is in use already and has not changed
/// since.
///
/// # Errors
///
/// As [`files::read`].
pub(super) fn read(path: &Path, limit_bytes: u64) -> Result<Bytes> {
    let metadata = path.metadata();
    let version = metadata.and_then(|metadata| Ok((metadata.len(), metadata.modified()?))).ok();
    // Locked until it is read: of many machines that need the same picture, one reads it.
    let mut in_use = lock(&IN_USE);
    in_use.retain(|known| known.picture.strong_count() > 0);
    let known = in_use.iter().find(|known| known.path == path && Some(known.version) == version);
    let picture = if let Some(picture) = known.and_then(|known| known.picture.upgrade()) {
        picture
    } else {
        let picture = Arc::new(files::read(path, limit_bytes)?);
        if let Some(version) = version {
            in_use.push(InUse { path: path.into(), version, picture: Arc::downgrade(&picture) });
        }
        picture
    };
    Ok(Bytes::from_owner(Picture(picture)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_picture_in_use_is_shared_until_its_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("HOME_1.jpg");
        let read = || read(&path, 100).unwrap();
        fs::write(&path, "one").unwrap();
        let first = read();
        assert_eq!((first.as_ptr(), &*first), (read().as_ptr(), &b"one"[..]));
        fs::write(&path, "another").unwrap();
        let second = read();
        assert_eq!((&*second, read().as_ptr()), (&b"another"[..], second.as_ptr()));
        drop((first, second));
        assert!(lock(&IN_USE).iter().all(|known| known.path != path || known.picture.strong_count() == 0));
    }
}
