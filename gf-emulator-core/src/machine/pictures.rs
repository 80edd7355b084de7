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
    let known = version.and_then(|version| find(&mut lock(&IN_USE), path, version));
    let picture = match (known, version) {
        (Some(picture), _) => picture,
        // `IN_USE` is not locked meanwhile: a disk that does not respond stops one machine, not all.
        (None, Some(version)) => share(path, version, files::read(path, limit_bytes)?),
        (None, None) => Arc::new(files::read(path, limit_bytes)?),
    };
    Ok(Bytes::from_owner(Picture(picture)))
}

fn find(in_use: &mut Vec<InUse>, path: &Path, version: Version) -> Option<Arc<Vec<u8>>> {
    in_use.retain(|known| known.picture.strong_count() > 0);
    in_use.iter().find(|known| known.path == path && known.version == version)?.picture.upgrade()
}

/// Returns the same picture that another machine has read meanwhile, or else makes this one known.
fn share(path: &Path, version: Version, picture: Vec<u8>) -> Arc<Vec<u8>> {
    let mut in_use = lock(&IN_USE);
    find(&mut in_use, path, version).unwrap_or_else(|| {
        let picture = Arc::new(picture);
        in_use.push(InUse { path: path.into(), version, picture: Arc::downgrade(&picture) });
        picture
    })
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
        // Another machine has read it at the same time.
        let metadata = path.metadata().unwrap();
        let third = share(&path, (metadata.len(), metadata.modified().unwrap()), b"another".to_vec());
        assert_eq!(third.as_ptr(), second.as_ptr());
        drop(third);
        drop((first, second));
        assert!(lock(&IN_USE).iter().all(|known| known.path != path || known.picture.strong_count() == 0));
    }
}
