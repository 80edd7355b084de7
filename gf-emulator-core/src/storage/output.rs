//! Output of a command: an atomically written file, a device, or standard output.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::AtomicFile;
use crate::{Error, Result, files};

/// A buffered output that leaves a complete file or none.
///
/// `-` and `/dev/stdout` are standard output. A character device is written to in place. Everything else is an
/// [`AtomicFile`]: [`finish`](Self::finish) renames it to its name; dropped before that, it leaves nothing. The temp files of
/// programs that were killed are removed from its folder.
///
/// ```
/// use std::io::Write;
///
/// use gf_emulator_core::storage::Output;
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("job.csv");
/// let mut output = Output::create(&path, &[])?;
/// let written = output.write_all(b"start_tick,end_tick\n");
/// output.finish(written)?;
/// assert!(path.is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Output {
    writer: BufWriter<Target>,
    path: PathBuf,
}

#[derive(Debug)]
enum Target {
    /// Standard output or a device.
    Stream(fs::File),
    Stdout(io::Stdout),
    File(AtomicFile),
}

impl Output {
    /// Opens an output. `inputs` are the files and folders that the same command reads: see [`check_not_an_input`].
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be created, is a folder, FIFO or socket, or belongs to an input.
    pub fn create(path: &Path, inputs: &[&Path]) -> Result<Self> {
        check_not_an_input(path, inputs)?;
        let target = if is_stdout(path) {
            Target::Stdout(io::stdout())
        } else {
            let target = files::device(path).and_then(|device| match device {
                Some(device) => Ok(Target::Stream(device)),
                None => AtomicFile::create_following_links(path).map(Target::File),
            });
            target.map_err(|error| cannot_create(path, error))?
        };
        Ok(Self { writer: BufWriter::new(target), path: path.into() })
    }

    /// Returns whether this is standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        matches!(self.writer.get_ref(), Target::Stdout(_))
    }

    /// Returns the temp file, for a signal handler that has to remove it. `None` if there is none.
    #[must_use]
    pub fn temp_path(&self) -> Option<&Path> {
        match self.writer.get_ref() {
            Target::File(file) => Some(file.temp_path()),
            Target::Stream(_) | Target::Stdout(_) => None,
        }
    }

    /// Returns the name for messages: the path, or `standard output`.
    #[must_use]
    pub fn name(&self) -> String {
        name_of(&self.path)
    }

    /// Flushes the output and renames the temp file, if `written` is `Ok`. Leaves no file otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::File`] with the error in `written`, or if flushing or renaming fails.
    pub fn finish(self, written: io::Result<()>) -> Result<()> {
        let failed = |source| Error::File { doing: "write", path: name_of(&self.path).into(), source };
        written.map_err(failed)?;
        match self.writer.into_inner().map_err(|e| failed(e.into_error()))? {
            Target::Stdout(mut stdout) => stdout.flush().map_err(failed),
            Target::Stream(_) => Ok(()),
            Target::File(file) => file.persist().map(drop),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::Stream(out) => out.write(bytes),
            Self::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Stream(out) => out.flush(),
            Self::File(out) => out.flush(),
        }
    }
}

/// Checks that writing `output` changes none of `inputs`, under any name: symbolic and hard links count. All files in
/// an input folder count as inputs, except `.html` pages, which are made from it. `-` is standard input or output.
///
/// # Errors
///
/// [`Error::File`] that names the input.
pub fn check_not_an_input(output: &Path, inputs: &[&Path]) -> Result<()> {
    let resolve = |path: &Path, stream: &str| if path == Path::new("-") { stream.into() } else { path.to_owned() };
    let Some(written) = identity(&resolve(output, "/dev/stdout")) else { return Ok(()) };
    let is_page = |path: &Path| path.extension().is_some_and(|extension| extension == "html");
    for input in inputs {
        let inside = fs::read_dir(input).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut read = inside.filter(|path| !is_page(path)).chain([resolve(input, "/dev/stdin")]);
        if read.any(|path| identity(&path).as_ref() == Some(&written)) {
            let input = if *input == Path::new("-") { "standard input".into() } else { input.display().to_string() };
            let source = io::Error::other(format!("it belongs to the input {input}; choose another file"));
            return Err(Error::File { doing: "write", path: name_of(output).into(), source });
        }
    }
    Ok(())
}

/// The device and inode of a regular file.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| (file.dev(), file.ino()))
}

/// The canonical path of a regular file. Hard links are not recognised.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().filter(|path| path.is_file())
}

/// Opening `/dev/stdout` fails if it is a socket, and truncates a file that is appended to.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("-") || (cfg!(unix) && path == Path::new("/dev/stdout"))
}

fn name_of(path: &Path) -> String {
    if is_stdout(path) { "standard output".into() } else { path.display().to_string() }
}

/// Replaces an error of the temp file or its folder by one that names `path`.
fn cannot_create(path: &Path, error: Error) -> Error {
    let Error::File { source, .. } = error else { return error };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let reason = match folder {
        Some(folder) if !folder.exists() && source.kind() == io::ErrorKind::NotFound => {
            format!("there is no folder {}", folder.display())
        }
        Some(folder) if folder.is_file() => format!("{} is a file, not a folder", folder.display()),
        _ => return Error::File { doing: "write", path: path.into(), source },
    };
    Error::File { doing: "write", path: path.into(), source: io::Error::new(source.kind(), reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path, inputs: &[&Path]) -> String {
        Output::create(path, inputs).unwrap_err().to_string()
    }

    #[test]
    fn leaves_a_complete_file_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = Output::create(&path, &[]).unwrap();
        assert!(output.temp_path().is_some_and(Path::exists) && !output.is_stdout());
        output.write_all(b"half").unwrap();
        let failed = output.finish(Err(io::Error::other("the rest is missing"))).unwrap_err().to_string();
        assert!(failed.ends_with("out: the rest is missing"), "{failed}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut output = Output::create(&path, &[]).unwrap();
        let written = output.write_all(b"whole");
        output.finish(written).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn removes_what_programs_that_were_killed_have_left_and_not_what_others_write() {
        let folder = tempfile::tempdir().unwrap();
        let leftover = folder.path().join(".arriving-dead.part");
        fs::write(&leftover, "half").unwrap();
        let living = Output::create(&folder.path().join("first"), &[]).unwrap();
        assert!(!leftover.exists());
        let other = Output::create(&folder.path().join("second"), &[]).unwrap();
        for output in [living, other] {
            assert!(output.temp_path().is_some_and(Path::exists));
            output.finish(Ok(())).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn refuses_a_file_that_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let file = here.join("session.jsonl");
        fs::write(&file, "read").unwrap();
        for (output, input) in [(&*file, &*file), (&here.join("./session.jsonl"), here)] {
            assert!(error(output, &[input]).contains("it belongs to the input "));
        }
        Output::create(&here.join("report.html"), &[here]).unwrap();
    }

    #[test]
    fn names_a_missing_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(error(&folder.path().join("no/out"), &[]).contains("there is no folder "));
        assert!(error(&file.join("out"), &[]).ends_with("file is a file, not a folder"));
        assert!(error(folder.path(), &[]).ends_with("it is a folder, not a file"));
    }
}
