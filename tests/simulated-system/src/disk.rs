//! [`MemoryDisk`]: files in memory, which know what of them would survive a power failure.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gf_emulator_core::simulation::{Disk, File};

use crate::outside;

/// The contents of a file.
#[derive(Default)]
struct Contents {
    data: Vec<u8>,
    /// How much of it is synced.
    synced: usize,
}

type Shared = Arc<Mutex<Contents>>;

/// Is told what happens to which file, before it does. Its error is that of the operation.
type Check = fn(&str, &Path) -> io::Result<()>;

/// A change of a folder's entries.
enum Change {
    Add(PathBuf, Shared),
    Remove(PathBuf),
}

impl Change {
    fn path(&self) -> &Path {
        match self {
            Self::Add(path, _) | Self::Remove(path) => path,
        }
    }

    fn apply(&self, entries: &mut BTreeMap<PathBuf, Shared>) {
        match self {
            Self::Add(path, file) => _ = entries.insert(path.clone(), Arc::clone(file)),
            Self::Remove(path) => _ = entries.remove(path),
        }
    }
}

/// Files in memory.
pub struct MemoryDisk {
    check: Check,
    folders: RefCell<BTreeSet<PathBuf>>,
    entries: RefCell<BTreeMap<PathBuf, Shared>>,
    /// The entries after the last sync of their folders.
    durable: RefCell<BTreeMap<PathBuf, Shared>>,
    /// The changes since then, in order.
    unsynced: RefCell<Vec<Change>>,
    names: Cell<u32>,
}

impl MemoryDisk {
    /// Creates an empty disk, which calls `check` before each operation that can fail.
    #[must_use]
    pub fn new(check: Check) -> Self {
        Self {
            check,
            folders: RefCell::default(),
            entries: RefCell::default(),
            durable: RefCell::default(),
            unsynced: RefCell::default(),
            names: Cell::default(),
        }
    }

    /// Returns all files.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.entries.borrow().iter().map(|(path, file)| (path.clone(), lock(file).data.clone())).collect()
    }

    /// Returns what would be left after a power failure now: of the changes of folders that were not synced, the first
    /// few, and of a file that was not synced, any part of the rest. `index` returns a number below its argument.
    pub fn after_power_failure(&self, index: impl Fn(usize) -> usize) -> Vec<(PathBuf, Vec<u8>)> {
        let mut entries = self.durable.borrow().clone();
        let unsynced = self.unsynced.borrow();
        let kept = index(unsynced.len() + 1);
        unsynced[..kept].iter().for_each(|change| change.apply(&mut entries));
        let contents = |file: &Shared| {
            let file = lock(file);
            let kept = file.synced + index(file.data.len() - file.synced + 1);
            file.data[..kept].to_vec()
        };
        entries.iter().map(|(path, file)| (path.clone(), contents(file))).collect()
    }

    /// Returns whether a file with these contents would survive a power failure, whatever its name.
    pub fn keeps(&self, contents: &[u8]) -> bool {
        let is_kept = |file: &Shared| {
            let file = lock(file);
            file.synced == file.data.len() && file.data == contents
        };
        self.durable.borrow().values().any(is_kept)
    }

    fn change(&self, change: Change) {
        change.apply(&mut self.entries.borrow_mut());
        self.unsynced.borrow_mut().push(change);
    }
}

impl Disk for MemoryDisk {
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        let _outside = outside();
        (self.check)("create the folder", folder)?;
        self.folders.borrow_mut().extend(folder.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let _outside = outside();
        (self.check)("create the folder", folder)?;
        let is_new = self.folders.borrow_mut().insert(folder.to_owned());
        if is_new { Ok(()) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let _outside = outside();
        (self.check)("create", path)?;
        if self.entries.borrow().contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Shared::default();
        self.change(Change::Add(path.to_owned(), Arc::clone(&file)));
        Ok(Box::new(OpenFile { file, path: path.to_owned(), check: self.check }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let _outside = outside();
        (self.check)("open", path)?;
        let entries = self.entries.borrow();
        let file = entries.get(path).ok_or(io::ErrorKind::NotFound)?;
        let data = lock(file).data.clone();
        Ok(Box::new(Cursor::new(data)))
    }

    fn exists(&self, path: &Path) -> bool {
        self.entries.borrow().contains_key(path)
    }

    fn rename(&self, from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
        let _outside = outside();
        (self.check)("rename to", to)?;
        let file = self.entries.borrow().get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        if !replaces && self.entries.borrow().contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(Change::Remove(from.to_owned()));
        self.change(Change::Add(to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let _outside = outside();
        // Does not fail: a file that cannot be removed stays, and no program can do anything about it.
        if !self.entries.borrow().contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let _outside = outside();
        (self.check)("sync the folder", folder)?;
        let mut unsynced = self.unsynced.borrow_mut();
        let mut durable = self.durable.borrow_mut();
        unsynced.retain(|change| {
            let is_here = change.path().parent() == Some(folder);
            if is_here {
                change.apply(&mut durable);
            }
            !is_here
        });
        Ok(())
    }

    fn unused_name(&self, folder: &Path) -> PathBuf {
        let _outside = outside();
        let number = self.names.replace(self.names.get() + 1);
        folder.join(format!(".arriving-{number}.part"))
    }
}

/// A file that is written. It keeps no reference to the disk, which belongs to one thread.
struct OpenFile {
    file: Shared,
    path: PathBuf,
    check: Check,
}

impl Write for OpenFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let _outside = outside();
        (self.check)("write to", &self.path)?;
        lock(&self.file).data.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File for OpenFile {
    fn sync(&self) -> io::Result<()> {
        let _outside = outside();
        (self.check)("sync", &self.path)?;
        let mut file = lock(&self.file);
        file.synced = file.data.len();
        Ok(())
    }
}

fn lock(file: &Shared) -> MutexGuard<'_, Contents> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}
