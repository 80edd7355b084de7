//! The log: `(LEVEL) module:line MESSAGE` on the console, the same after a timestamp in a file.
//!
//! Format and level names are those of the Python clients' logs, which people search. What may be logged is decided by
//! [`SafeLogger`].

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use env_logger::fmt::Formatter;
use env_logger::{Logger, Target};
use gf_emulator_core::config::{LogLevel, Logging};
use gf_emulator_core::words::count;
use gf_emulator_core::{Config, Error, SafeLogger, Secrets, files};
use log::{LevelFilter, Log, Record};

use crate::console;
use crate::error::CliError;
use crate::output::{self, notice};

/// The crates that are logged: the library and the binary.
const CRATES: [&str; 2] = ["gf_emulator_core", env!("CARGO_CRATE_NAME")];

static SECRETS: LazyLock<Secrets> = LazyLock::new(Secrets::default);

/// The secrets that are hidden in everything that is logged or printed.
pub(crate) fn secrets() -> &'static Secrets {
    &SECRETS
}

/// Returns a text without secrets, and without the queries and user names of URLs.
pub(crate) fn clean(text: &str) -> String {
    SECRETS.redact(text)
}

/// Sets up the log as configured. `RUST_LOG` takes precedence over the levels, and turns the console log on; so do
/// `--verbose` and `--quiet`, for the console alone.
pub(crate) fn start(logging: &Logging) -> Result<(), CliError> {
    let (variable, invalid) = SafeLogger::split_filters(&std::env::var("RUST_LOG").unwrap_or_default(), &CRATES);
    if !invalid.is_empty() {
        notice(format_args!(
            "RUST_LOG: ignored: {}; expected off, error, warn, info, debug or trace, or a target with a level such as \
             gf_emulator_core::websocket=debug",
            clean(&invalid)
        ));
    }
    let configured = |level: LogLevel| LevelFilter::from(level).to_string();
    let asked = console::log_level().map(|level| level.to_string());
    let mut loggers = Vec::new();
    if let Some(levels) = asked.or_else(|| variable.clone()).or_else(|| logging.console_level.map(configured)) {
        loggers.push(console_logger(&levels));
    }
    if let Some(path) = &logging.file {
        let file = open(path).map_err(|e| CliError::usage(format_args!("log_file: {e}")))?;
        let file = LogFile { file, path: path.clone(), lost: 0 };
        let levels = variable.unwrap_or_else(|| configured(logging.level));
        loggers.push(logger(&levels, Target::Pipe(Box::new(file)), |out, record| {
            let now = jiff::Zoned::now();
            write!(out, "{},{:03} ", now.strftime("%Y-%m-%d %H:%M:%S"), now.millisecond())?;
            writeln!(out, "{}", SafeLogger::format_line(record))
        }));
    }
    let max_level = loggers.iter().map(Logger::filter).max().unwrap_or(LevelFilter::Off);
    let loggers = loggers.into_iter().map(|logger| Box::new(logger) as Box<dyn Log>).collect();
    let logger = SafeLogger::new(loggers, &CRATES, SECRETS.clone());
    // Fails only if there is a logger already; this is called once.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(max_level);
    }
    Ok(())
}

/// Sets up a log of warnings and errors on the console.
pub(crate) fn start_with_warnings() -> Result<(), CliError> {
    let mut config = Config::default();
    config.logging.console_level = Some(LogLevel::Warning);
    start(&config.logging)
}

/// The log file. A disk that is full is reported on the console, and costs lines, but does not stop the machine.
struct LogFile<F> {
    file: F,
    path: PathBuf,
    /// Lines that could not be written since the last one that could.
    lost: u64,
}

impl<F: Write> Write for LogFile<F> {
    /// Writes a line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let path = self.path.display();
        // The line before may have been written in part.
        let start = if self.lost > 0 { "\n" } else { "" };
        match self.file.write_all(start.as_bytes()).and_then(|()| self.file.write_all(line)) {
            Ok(()) if self.lost > 0 => {
                notice(format_args!("log_file: {path} can be written again; it lacks {}", count(self.lost, "line")));
                self.lost = 0;
            }
            Ok(()) => {}
            Err(e) => {
                if self.lost == 0 {
                    output::error(format_args!(
                        "log_file: cannot write {path}: {e}; the log lacks lines until that works again"
                    ));
                }
                self.lost += 1;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> Result<fs::File, Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| Error::File { doing: "write", path: path.into(), source })?;
    }
    files::append(path)
}

fn console_logger(levels: &str) -> Logger {
    if !console::has_color() {
        return logger(levels, Target::Stderr, |out, record| writeln!(out, "{}", SafeLogger::format_line(record)));
    }
    logger(levels, Target::Pipe(Box::new(anstream::stderr())), |out, record| {
        let line = SafeLogger::format_line(record);
        let (level, rest) = line.split_once(' ').unwrap_or((&line, ""));
        writeln!(out, "{} {rest}", console::paint(level, record.level()))
    })
}

fn logger(
    levels: &str,
    target: Target,
    format: impl Fn(&mut Formatter, &Record<'_>) -> io::Result<()> + Send + Sync + 'static,
) -> Logger {
    env_logger::Builder::new().parse_filters(levels).target(target).format(format).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has room for so many bytes.
    struct Disk {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.written.extend(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_goes_on_when_the_disk_has_room_again() {
        let mut log = LogFile { file: Disk { room: 12, written: Vec::new() }, path: "log".into(), lost: 0 };
        for line in ["first\n", "second, cut\n", "lost\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(log.lost, 2);
        log.file.room = 100;
        log.write_all(b"last\n").unwrap();
        assert_eq!((log.lost, log.file.written.as_slice()), (0, &b"first\nsecond\nlast\n"[..]));
    }
}
