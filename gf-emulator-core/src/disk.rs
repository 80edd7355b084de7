//! The file operations of jobs, pictures and recordings, on the operating system's files or on those of a simulation.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::files;
#[cfg(feature = "simulation")]
use crate::simulation::{self, File};

/// A temp file with a name. It is removed when dropped.
#[derive(Debug)]
pub(crate) enum TempFile {
    Real(NamedTempFile),
    #[cfg(feature = "simulation")]
    Simulated(SimulatedFile),
}

impl TempFile {
    /// Creates one in `folder`. Only its owner can read it if `is_private` (mode 0600 on Unix).
    pub(crate) fn create(folder: &Path, is_private: bool) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if let Some(system) = simulation::current() {
            let path = system.disk().unused_name(folder);
            let file = system.disk().create(&path)?;
            return Ok(Self::Simulated(SimulatedFile { file, path, is_renamed: false }));
        }
        let mut builder = tempfile::Builder::new();
        // tempfile's default is 0600. Other files follow the umask.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(if is_private { 0o600 } else { 0o666 }));
        #[cfg(not(unix))]
        let _ = is_private;
        let file = builder.prefix(".arriving-").suffix(".part").tempfile_in(folder).map_err(files::without_path)?;
        Ok(Self::Real(file))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Real(file) => file.path(),
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => &file.path,
        }
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Real(file) => file.as_file().sync_all(),
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => file.file.sync(),
        }
    }

    /// Renames it to `target`, replacing another file.
    pub(crate) fn replace(self, target: &Path) -> io::Result<()> {
        match self {
            Self::Real(file) => file.persist(target).map(drop).map_err(|e| e.error),
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => file.rename(target, true).map_err(|(_, e)| e),
        }
    }

    /// Renames it to `target`. If there is such a file, the error has `AlreadyExists`.
    pub(crate) fn rename_new(self, target: &Path) -> Result<(), (Self, io::Error)> {
        match self {
            Self::Real(file) => file.persist_noclobber(target).map(drop).map_err(|e| (Self::Real(e.file), e.error)),
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => file.rename(target, false).map_err(|(file, e)| (Self::Simulated(file), e)),
        }
    }
}

impl Write for TempFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            // Directly to the file: the errors of NamedTempFile contain its path.
            Self::Real(file) => file.as_file_mut().write(buf),
            #[cfg(feature = "simulation")]
            Self::Simulated(file) => file.file.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A temp file of a simulation.
#[cfg(feature = "simulation")]
pub(crate) struct SimulatedFile {
    file: Box<dyn File>,
    path: PathBuf,
    is_renamed: bool,
}

#[cfg(feature = "simulation")]
impl SimulatedFile {
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
impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if let Some(system) = simulation::current().filter(|_| !self.is_renamed) {
            let _ = system.disk().remove(&self.path);
        }
    }
}

#[cfg(feature = "simulation")]
impl std::fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimulatedFile").field(&self.path).finish()
    }
}

/// Opens a file to read it.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    #[cfg(feature = "simulation")]
    if let Some(system) = simulation::current() {
        return system.disk().open(path);
    }
    Ok(Box::new(fs::File::open(path)?))
}

/// Creates a file that only its owner can read (mode 0600 on Unix), to append to it. Fails if it exists.
pub(crate) fn create_private(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    #[cfg(feature = "simulation")]
    if let Some(system) = simulation::current() {
        return Ok(Box::new(system.disk().create(path)?));
    }
    let mut open = fs::OpenOptions::new();
    open.append(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    Ok(Box::new(open.open(path)?))
}

/// Creates a folder and those above it that only its owner can enter (mode 0700 on Unix).
pub(crate) fn create_private_folders(folder: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if let Some(system) = simulation::current() {
        return system.disk().create_folders(folder);
    }
    private_folders(true).create(folder)
}

/// Creates a folder that only its owner can enter. Fails if it exists.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
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
    #[cfg(feature = "simulation")]
    if simulation::current().is_some() {
        return Ok(());
    }
    files::can_write_in(folder)
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if let Some(system) = simulation::current() {
        return system.disk().remove(path);
    }
    fs::remove_file(path)
}

/// Creates a folder and those above it, and returns which of them are new.
pub(crate) fn create_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    #[cfg(feature = "simulation")]
    if let Some(system) = simulation::current() {
        return system.disk().create_folders(folder).map(|()| Vec::new());
    }
    let missing = folder.ancestors().take_while(|folder| *folder != Path::new("") && !folder.exists());
    let missing = missing.map(Path::to_owned).collect();
    fs::create_dir_all(folder)?;
    Ok(missing)
}

/// Syncs a folder's entries. Windows cannot do that.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if let Some(system) = simulation::current() {
        return system.disk().sync_folder(folder);
    }
    if cfg!(unix) { fs::File::open(folder)?.sync_all() } else { Ok(()) }
}
