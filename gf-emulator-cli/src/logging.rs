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
use gf_emulator_core::{Error, SafeLogger, Secrets, files};
use log::{Level, LevelFilter, Log, Record};

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
    SECRETS.hide(text)
}

/// Sets up the log as configured. `RUST_LOG` takes precedence over the levels, and turns the console log on.
pub(crate) fn start(logging: &Logging) -> Result<(), CliError> {
    let (variable, invalid) = parse_levels(&std::env::var("RUST_LOG").unwrap_or_default());
    if !invalid.is_empty() {
        notice(format_args!(
            "RUST_LOG: ignored: {}; expected off, error, warn, info, debug or trace, or a target with a level such as \
             gf_emulator_core::websocket=debug",
            clean(&invalid)
        ));
    }
    let levels = |level: LogLevel| variable.clone().unwrap_or_else(|| filter(level).to_string());
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
    let mut logging = Logging::default();
    logging.console_level = Some(LogLevel::Warning);
    start(&logging)
}

fn open(path: &Path) -> Result<fs::File, Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| Error::File { doing: "write", path: path.into(), source })?;
    }
    files::append(path)
}

/// Splits the value of `RUST_LOG` into what sets a level of our crates, if anything, and the rest: unknown levels, and
/// other crates, which are never logged.
fn parse_levels(text: &str) -> (Option<String>, String) {
    let is_level = |level: &str| level.trim().parse::<LevelFilter>().is_ok();
    // A target is a prefix: `gf` means both crates.
    let is_ours = |target: &str| {
        let target = target.trim();
        CRATES.iter().any(|ours| ours.starts_with(target) || target.split("::").next() == Some(ours))
    };
    let is_valid = |part: &str| match part.split_once('=') {
        Some((target, level)) => is_ours(target) && (level.trim().is_empty() || is_level(level)),
        None => is_level(part) || CRATES.contains(&part.trim().split("::").next().unwrap_or_default()),
    };
    // After a slash follows a pattern that lines have to match.
    let (levels, pattern) = text.split_once('/').map_or((text, None), |(levels, pattern)| (levels, Some(pattern)));
    let parts = levels.split(',').filter(|part| !part.trim().is_empty());
    let (valid, invalid): (Vec<_>, Vec<_>) = parts.partition(|part| is_valid(part));
    let shown = |part: &&str| part.trim().chars().map(|c| if c.is_control() { '?' } else { c }).take(100).collect();
    let invalid: Vec<String> = invalid.iter().map(shown).collect();
    let pattern = pattern.map(|pattern| format!("/{pattern}")).unwrap_or_default();
    ((!valid.is_empty()).then(|| valid.join(",") + &pattern), invalid.join(", "))
}

/// `log` has no level above error.
fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Error | LogLevel::Critical => LevelFilter::Error,
    }
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
            writeln!(out, "{}", format_line(record))
        })
        .build()
}

fn format_line(record: &Record<'_>) -> String {
    let level = match record.level() {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    };
    let module = record.target().rsplit("::").next().unwrap_or_default();
    format!("({level}) {module}:{} {}", record.line().unwrap_or_default(), record.args())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_python_level_name_and_its_place() {
        for (level, target, expected) in [
            (Level::Error, "gf_emulator_core::websocket", "(ERROR) websocket:7 x"),
            (Level::Warn, "gf_machine_emulator::run", "(WARNING) run:7 x"),
            (Level::Info, "gf_emulator_core::local_service::server", "(INFO) server:7 x"),
            (Level::Debug, "gf_emulator_core", "(DEBUG) gf_emulator_core:7 x"),
        ] {
            let mut record = Record::builder();
            let record = record.level(level).target(target).line(Some(7)).args(format_args!("x")).build();
            assert_eq!(format_line(&record), expected);
        }
    }

    #[test]
    fn reports_what_is_invalid_in_rust_log() {
        for valid in [
            "debug",
            "WARN",
            "gf_emulator_core::websocket=debug",
            "info,gf_machine_emulator=off",
            "gf=trace",
            "debug/x",
        ] {
            assert_eq!(parse_levels(valid), (Some(valid.to_owned()), String::new()), "{valid}");
        }
        for (text, levels, invalid) in [
            ("", None, ""),
            (" , ", None, ""),
            ("debg", None, "debg"),
            ("info,gf_emulator_core=loud, ureq=trace", Some("info"), "gf_emulator_core=loud, ureq=trace"),
            ("a\u{1b}[2J=b", None, "a?[2J=b"),
        ] {
            assert_eq!(parse_levels(text), (levels.map(str::to_owned), invalid.to_owned()), "{text:?}");
        }
    }
}
