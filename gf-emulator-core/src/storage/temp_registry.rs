//! Temp files and folders that a program removes when it exits without unwinding.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use crate::sync::lock;

/// The temp files and folders of a program, for a signal handler that calls [`std::process::exit`]: that runs no
/// destructors.
///
/// ```
/// use gf_emulator_core::storage::TempRegistry;
///
/// static TEMP_FILES: TempRegistry = TempRegistry::new();
///
/// let (file, guard) = TEMP_FILES.create(tempfile::NamedTempFile::new, |file| Some(file.path().into()))?;
/// let path = file.path().to_owned();
/// drop(TEMP_FILES.remove_all()); // before std::process::exit
/// assert!(!path.exists());
/// drop(guard);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct TempRegistry(Mutex<Vec<PathBuf>>);

/// Keeps a temp file registered until dropped. Its owner renames or removes the file before that.
#[derive(Debug)]
#[must_use]
pub struct TempGuard<'a>(&'a TempRegistry, Option<PathBuf>);

/// Keeps others from creating temp files.
#[derive(Debug)]
#[must_use]
pub struct TempLock<'a>(#[expect(dead_code, reason = "held until dropped")] MutexGuard<'a, Vec<PathBuf>>);

impl TempRegistry {
    /// Creates an empty registry.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Creates something and registers its temp file or folder, if it has one. [`remove_all`](Self::remove_all) waits for
    /// both.
    ///
    /// # Errors
    ///
    /// The error of `create`.
    pub fn create<T, E>(
        &self,
        create: impl FnOnce() -> Result<T, E>,
        path: impl FnOnce(&T) -> Option<PathBuf>,
    ) -> Result<(T, TempGuard<'_>), E> {
        let mut paths = self.lock();
        let created = create()?;
        let path = path(&created);
        paths.extend(path.clone());
        Ok((created, TempGuard(self, path)))
    }

    /// Removes everything that is registered. Nothing is created while the returned lock is held.
    pub fn remove_all(&self) -> TempLock<'_> {
        // Another thread may still write into a folder while it is removed.
        const TRIES: usize = 5;
        let paths = self.lock();
        for path in paths.iter() {
            let _ = (0..TRIES)
                .any(|_| fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)).is_ok() || !path.exists());
        }
        TempLock(paths)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        lock(&self.0)
    }
}

impl Default for TempRegistry {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempGuard<'_> {
    fn drop(&mut self) {
        let Self(registry, path) = self;
        registry.lock().retain(|registered| Some(registered) != path.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_only_what_is_still_registered() {
        let folder = tempfile::tempdir().unwrap();
        let [file, kept, inner] = ["file", "kept", "folder"].map(|name| folder.path().join(name));
        let registry = TempRegistry::new();
        let _file = registry.create(|| fs::write(&file, ""), |()| Some(file.clone())).unwrap();
        let _inner = registry.create(|| fs::create_dir_all(inner.join("deep")), |()| Some(inner.clone())).unwrap();
        drop(registry.create(|| fs::write(&kept, ""), |()| Some(kept.clone())).unwrap());
        assert!(registry.create(|| Err::<(), _>("failed"), |()| Some(kept.clone())).is_err());
        drop(registry.remove_all());
        assert!(!file.exists() && !inner.exists() && kept.exists());
    }
}
