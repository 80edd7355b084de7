//! [`MemoryDisk`]: files in memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gf_emulator_core::simulation::{Disk, File};

type Contents = Arc<Mutex<Vec<u8>>>;

#[derive(Default)]
pub(crate) struct MemoryDisk {
    files: RefCell<BTreeMap<PathBuf, Contents>>,
    names: Cell<u32>,
}

impl Disk for MemoryDisk {
    fn create_folders(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut files = self.files.borrow_mut();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let contents = Contents::default();
        files.insert(path.to_owned(), Arc::clone(&contents));
        Ok(Box::new(OpenFile(contents)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let files = self.files.borrow();
        let contents = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let data = contents.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Box::new(Cursor::new(data)))
    }

    fn rename(&self, from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
        let mut files = self.files.borrow_mut();
        if !replaces && files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let contents = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.borrow_mut().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn unused_name(&self, folder: &Path) -> PathBuf {
        self.names.set(self.names.get() + 1);
        folder.join(format!("temp-{}.part", self.names.get()))
    }
}

struct OpenFile(Contents);

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File for OpenFile {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
