//! Where something made goes: a file that is whole or not there, or standard output.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use gf_emulator_core::files;
use tempfile::NamedTempFile;

use crate::failure::Failure;
use crate::signals::Temporary;

/// Something being written.
pub(crate) enum Sink {
    Stdout(BufWriter<io::Stdout>),
    /// What is there already and no ordinary file: a device, a pipe. It is written to, not replaced.
    Stream(BufWriter<File>, PathBuf),
    File(BufWriter<NamedTempFile>, PathBuf, Temporary),
}

impl Sink {
    /// `-` is standard output.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let cannot = |e: io::Error| Failure::failed(format_args!("{}: cannot write it: {e}", path.display()));
        if path == Path::new("-") {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        let stream = path.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir());
        if stream {
            return Ok(Self::Stream(BufWriter::new(File::create(path).map_err(cannot)?), path.into()));
        }
        if path.is_dir() {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        }
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any other file: the umask decides who reads it.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder.prefix(".writing-").suffix(".part");
        let made = Temporary::made(|| builder.tempfile_in(folder), |file| file.path().into());
        let (file, temporary) = made.map_err(|e| cannot(files::without_path(e)))?;
        Ok(Self::File(BufWriter::new(file), path.into(), temporary))
    }

    /// Whether what is said beside it may go to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout(_))
    }

    /// Puts it in its place, whole. Dropped before that, it leaves no file.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut out) => match out.flush() {
                // Whoever reads it has had enough.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other.map_err(|e| Failure::failed(format_args!("standard output: cannot write it: {e}"))),
            },
            Self::Stream(mut out, path) => out.flush().map_err(|e| unwritten(&path, &e)),
            Self::File(out, path, _temporary) => out
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.as_file().sync_all().and_then(|()| file.persist(&path).map_err(|e| e.error)))
                .map(drop)
                .map_err(|e| unwritten(&path, &files::without_path(e))),
        }
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format_args!("{}: cannot write it: {error}", path.display()))
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Stream(out, _) => out.write(bytes),
            Self::File(out, ..) => out.write(bytes).map_err(files::without_path),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Stream(out, _) => out.flush(),
            Self::File(out, ..) => out.flush().map_err(files::without_path),
        }
    }
}
