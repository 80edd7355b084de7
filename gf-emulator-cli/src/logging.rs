//! The log: `(LEVEL) module:line MESSAGE` on the console, the same after a timestamp in a file.
//!
//! Format and level names are those of the Python clients' logs, which people search. What may be logged is decided by
//! [`SafeLogger`].

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;

use env_logger::{Logger, Target};
use gf_emulator_core::config::{LogLevel, Logging};
use gf_emulator_core::{Config, Error, SafeLogger, Secrets, files};
use log::{LevelFilter, Log};

use crate::error::CliError;
use crate::output::notice;

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

/// Sets up the log as configured. `RUST_LOG` takes precedence over the levels, and turns the console log on.
pub(crate) fn start(logging: &Logging) -> Result<(), CliError> {
    let (variable, invalid) = SafeLogger::split_filters(&std::env::var("RUST_LOG").unwrap_or_default(), &CRATES);
    if !invalid.is_empty() {
        notice(format_args!(
            "RUST_LOG: ignored: {}; expected off, error, warn, info, debug or trace, or a target with a level such as \
             gf_emulator_core::websocket=debug",
            clean(&invalid)
        ));
    }
    let levels = |level: LogLevel| variable.clone().unwrap_or_else(|| LevelFilter::from(level).to_string());
    let console = logging.console_level.or_else(|| variable.as_ref().map(|_| LogLevel::Debug));
    let mut loggers = Vec::new();
    if let Some(level) = console {
        loggers.push(logger(&levels(level), Target::Stderr, false));
    }
    if let Some(path) = &logging.file {
        let file = open(path).map_err(|e| CliError::usage(format_args!("log_file: {e}")))?;
        loggers.push(logger(&levels(logging.level), Target::Pipe(Box::new(file)), true));
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

fn open(path: &Path) -> Result<fs::File, Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| Error::File { doing: "write", path: path.into(), source })?;
    }
    files::append(path)
}

fn logger(levels: &str, target: Target, with_time: bool) -> Logger {
    env_logger::Builder::new()
        .parse_filters(levels)
        .target(target)
        .format(move |out, record| {
            if with_time {
                let now = jiff::Zoned::now();
                write!(out, "{},{:03} ", now.strftime("%Y-%m-%d %H:%M:%S"), now.millisecond())?;
            }
            writeln!(out, "{}", SafeLogger::format_line(record))
        })
        .build()
}
