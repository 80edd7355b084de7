//! The file operations of jobs, pictures and recordings, on the operating system's files or on those of a simulation.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

#[cfg(feature = "simulation")]
use crate::simulation;
use crate::system::simulated;
use crate::{files, temp_file};

/// A temp file with a name. It is removed when dropped.
#[derive(Debug)]
pub(crate) struct TempFile {
    file: OpenFile,
    name: TempName,
}

enum OpenFile {
    Real(fs::File),
    #[cfg(feature = "simulation")]
    Simulated(Box<dyn simulation::File>),
}

impl TempFile {
    /// Creates one in `folder`. Only its owner can read it if `is_private` (mode 0600 on Unix).
    pub(crate) fn create(folder: &Path, is_private: bool) -> io::Result<Self> {
        simulated!(system => {
            let path = system.disk().unused_name(folder);
            let file = OpenFile::Simulated(system.disk().create(&path)?);
            Ok(Self { file, name: TempName::Simulated(SimulatedName { path, is_renamed: false }) })
        });
        // Other files follow the umask.
        let (file, path) = temp_file::create(folder, if is_private { 0o600 } else { 0o666 })?.into_parts();
        Ok(Self { file: OpenFile::Real(file), name: TempName::Real(path) })
    }

    pub(crate) fn path(&self) -> &Path {
        match &self.name {
            TempName::Real(path) => path,
            #[cfg(feature = "simulation")]
            TempName::Simulated(name) => &name.path,
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match &self.file {
            OpenFile::Real(file) => file.sync_all(),
            #[cfg(feature = "simulation")]
            OpenFile::Simulated(file) => file.sync(),
        }
    }

    /// Renames it to `target`, replacing another file.
    pub(crate) fn replace(self, target: &Path) -> io::Result<()> {
        match self.name {
            TempName::Real(path) => path.persist(target).map_err(|e| e.error),
            #[cfg(feature = "simulation")]
            TempName::Simulated(name) => name.rename(target, true).map_err(|(_, e)| e),
        }
    }

    /// Renames it to `target`. If there is such a file, the error has `AlreadyExists`.
    pub(crate) fn rename_new(self, target: &Path) -> Result<(), (Self, io::Error)> {
        let Self { file, name } = self;
        name.rename_new(target).map_err(|(name, e)| (Self { file, name }, e))
    }

    /// Returns the file, to write to it also after it has got its name.
    pub(crate) fn into_parts(self) -> (Box<dyn Write + Send>, TempName) {
        let file: Box<dyn Write + Send> = match self.file {
            OpenFile::Real(file) => Box::new(file),
            #[cfg(feature = "simulation")]
            OpenFile::Simulated(file) => Box::new(file),
        };
        (file, self.name)
    }

    /// Replaces the file by another, for tests of its errors.
    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn redirect(&mut self, file: fs::File) {
        self.file = OpenFile::Real(file);
    }
}

impl Write for TempFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            OpenFile::Real(file) => file.write(buf),
            #[cfg(feature = "simulation")]
            OpenFile::Simulated(file) => file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpenFile")
    }
}

/// The name of a temp file. Dropping it removes the file.
#[derive(Debug)]
pub(crate) enum TempName {
    Real(TempPath),
    #[cfg(feature = "simulation")]
    Simulated(SimulatedName),
}

impl TempName {
    /// Renames the file to `target`. If there is such a file, the error has `AlreadyExists`.
    pub(crate) fn rename_new(self, target: &Path) -> Result<(), (Self, io::Error)> {
        match self {
            Self::Real(path) => path.persist_noclobber(target).map_err(|e| (Self::Real(e.path), e.error)),
            #[cfg(feature = "simulation")]
            Self::Simulated(name) => name.rename(target, false).map_err(|(name, e)| (Self::Simulated(name), e)),
        }
    }
}

/// The name of a temp file of a simulation.
#[cfg(feature = "simulation")]
#[derive(Debug)]
pub(crate) struct SimulatedName {
    path: PathBuf,
    is_renamed: bool,
}

#[cfg(feature = "simulation")]
impl SimulatedName {
    fn rename(mut self, target: &Path, replaces: bool) -> Result<(), (Self, io::Error)> {
        let Some(system) = simulation::current() else { return Ok(()) };
        match system.disk().rename(&self.path, target, replaces) {
            Ok(()) => {
                self.is_renamed = true;
                Ok(())
            }
            Err(e) => Err((self, e)),
        }
    }
}

#[cfg(feature = "simulation")]
impl Drop for SimulatedName {
    fn drop(&mut self) {
        if let Some(system) = simulation::current().filter(|_| !self.is_renamed) {
            let _ = system.disk().remove(&self.path);
        }
    }
}

/// As [`temp_file::remove_leftovers`]. Does nothing in a simulation, where no program is killed.
pub(crate) fn remove_leftovers(folder: &Path) {
    simulated!(_ => nothing);
    temp_file::remove_leftovers(folder);
}

/// Opens a file to read it.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    simulated!(system => system.disk().open(path));
    Ok(Box::new(fs::File::open(path)?))
}

/// Creates a folder and those above it that only its owner can enter (mode 0700 on Unix).
pub(crate) fn create_private_folders(folder: &Path) -> io::Result<()> {
    simulated!(system => system.disk().create_folders(folder));
    private_folders(true).create(folder)
}

/// Creates a folder that only its owner can enter. Fails if it exists.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    simulated!(system => system.disk().create_folder(folder));
    private_folders(false).create(folder)
}

fn private_folders(recursive: bool) -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(recursive);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// As [`files::can_write_in`]. Returns `Ok` in a simulation.
pub(crate) fn can_write_in(folder: &Path) -> crate::Result<()> {
    simulated!(_ => Ok(()));
    files::can_write_in(folder)
}

/// Returns whether there is something of this name, also a symbolic link to nothing.
pub(crate) fn exists(path: &Path) -> bool {
    simulated!(system => system.disk().exists(path));
    path.symlink_metadata().is_ok()
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    simulated!(system => system.disk().remove(path));
    fs::remove_file(path)
}

/// Creates a folder and those above it, and returns which of them are new.
pub(crate) fn create_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    simulated!(system => system.disk().create_folders(folder).map(|()| Vec::new()));
    let missing = folder.ancestors().take_while(|folder| *folder != Path::new("") && !folder.exists());
    let missing = missing.map(Path::to_owned).collect();
    fs::create_dir_all(folder)?;
    Ok(missing)
}

/// Syncs a folder's entries. Windows cannot do that.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    simulated!(system => system.disk().sync_folder(folder));
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
}
