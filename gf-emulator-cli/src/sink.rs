//! Where something made goes: a file that is whole or not there, standard output, or a device.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use gf_emulator_core::Error;
use gf_emulator_core::files;
use gf_emulator_core::storage::AtomicFile;

use crate::failure::Failure;
use crate::signals::Temporary;

/// Something being written.
pub(crate) struct Sink {
    out: BufWriter<Out>,
    path: PathBuf,
}

enum Out {
    Stdout(io::Stdout),
    /// It is written to, not replaced.
    Device(fs::File),
    File(AtomicFile, Temporary),
}

impl Sink {
    /// An output that is not one of a command's `inputs`. `-` is standard output or input.
    pub(crate) fn create(path: &Path, inputs: &[&Path]) -> Result<Self, Failure> {
        spare(inputs, path)?;
        let out = if is_stdout(path) {
            Out::Stdout(io::stdout())
        } else {
            let out = files::device(path).and_then(|device| match device {
                Some(device) => Ok(Out::Device(device)),
                None => {
                    Temporary::made(|| AtomicFile::create_following_links(path), |landing| landing.temp_path().into())
                        .map(|(landing, temporary)| Out::File(landing, temporary))
                }
            });
            out.map_err(|error| uncreated(path, error))?
        };
        Ok(Self { out: BufWriter::new(out), path: path.into() })
    }

    /// Whether what is said beside it may go to standard output.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.out.get_ref(), Out::Stdout(_))
    }

    /// Puts it in its place, whole, where all of it was `written`. Dropped before that, it leaves no file. False where
    /// whoever was reading it has had enough.
    pub(crate) fn finish(self, written: io::Result<()>) -> Result<bool, Failure> {
        let Self { out, path } = self;
        let flushed = written.and_then(|()| out.into_inner().map_err(io::IntoInnerError::into_error));
        let landed = flushed.and_then(|out| match out {
            Out::Stdout(mut stdout) => stdout.flush(),
            Out::Device(_) => Ok(()),
            Out::File(landing, _temporary) => landing.persist().map(drop).map_err(reason),
        });
        match landed {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(e) => Err(Failure::failed(format_args!("{}: cannot write it: {e}", name(&path)))),
        }
    }
}

/// A failure where writing to `output` would change one of `inputs`, whatever they are called. In a folder, everything is
/// an input but pages: those are made from it.
pub(crate) fn spare(inputs: &[&Path], output: &Path) -> Result<(), Failure> {
    let stream = |path: &Path, stream: &str| if path == Path::new("-") { stream.into() } else { path.to_owned() };
    let Some(written) = identity(&stream(output, "/dev/stdout")) else { return Ok(()) };
    let is_page = |path: &Path| path.extension().is_some_and(|extension| extension == "html");
    for input in inputs {
        let below = fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut read = below.filter(|path| !is_page(path)).chain([stream(input, "/dev/stdin")]);
        if read.any(|path| identity(&path).as_ref() == Some(&written)) {
            let input = if *input == Path::new("-") { "standard input".into() } else { input.display().to_string() };
            return Err(Failure::misused(format_args!(
                "{}: cannot write it: it belongs to the input {input}; name another file",
                name(output)
            )));
        }
    }
    Ok(())
}

/// Which regular file a path leads to.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| (file.dev(), file.ino()))
}

/// Which regular file a path leads to, as far as its name tells.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().filter(|path| path.is_file())
}

/// Opening the second name would not be standard output where that is a pipe, or a file that is appended to.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || (cfg!(unix) && path == Path::new("/dev/stdout"))
}

fn name(path: &Path) -> String {
    if is_stdout(path) { "standard output".into() } else { path.display().to_string() }
}

/// Why there can be no file.
fn uncreated(path: &Path, error: Error) -> Failure {
    let reason = reason(error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let reason = match folder {
        Some(folder) if !folder.exists() && reason.kind() == io::ErrorKind::NotFound => {
            format!("there is no folder {}", folder.display())
        }
        Some(folder) if folder.is_file() => format!("{} is a file, not a folder", folder.display()),
        _ => reason.to_string(),
    };
    Failure::misused(format_args!("{}: cannot write it: {reason}", path.display()))
}

/// The error of a file, without the file's name.
pub(crate) fn reason(error: Error) -> io::Error {
    match error {
        Error::File { source, .. } => source,
        other => io::Error::other(other),
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Device(out) => out.write(bytes),
            Self::File(out, _) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Device(out) => out.flush(),
            Self::File(out, _) => out.flush(),
        }
    }
}
