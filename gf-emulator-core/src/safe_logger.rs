//! A logger that cannot leak secrets or fill a disk.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::LogLevel;
use crate::sync::lock;
use crate::{Secrets, Throttle, system};

/// The most lines that one call site logs in [`PERIOD`].
const LINES_LIMIT: u32 = 1000;
const PERIOD: Duration = Duration::from_secs(60);

/// Wraps a [logger](Log) and passes on only what is safe to keep.
///
/// - Only targets of the given crates pass. ureq and tungstenite log what they send: tokens and presigned URLs.
/// - Every line goes through [`Secrets::redact`]: a service can put a password or a token into anything that is worth a
///   line, such as a path.
/// - A call site (target, line, level) logs at most 1000 lines a minute, since a service decides how often most of them
///   are reached. How many more there were is logged with its next line in a later minute, or by
///   [`flush`](Log::flush).
///
/// ```
/// use gf_emulator_core::{Config, Emulator, SafeLogger, Secrets};
///
/// # let my_logger: Box<dyn log::Log> = Box::new(SafeLogger::new(Vec::new(), &[], Secrets::default()));
/// let secrets = Secrets::default();
/// let logger = SafeLogger::new(vec![my_logger], &["gf_emulator_core"], secrets.clone());
/// log::set_boxed_logger(Box::new(logger))?;
/// log::set_max_level(log::LevelFilter::Info);
///
/// let (emulator, _peer) = Emulator::offline(Config::default(), std::env::temp_dir())?;
/// secrets.follow(&emulator.secrets()); // From here on, its password and its tokens are masked.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SafeLogger {
    loggers: Vec<Box<dyn Log>>,
    crates: Vec<String>,
    secrets: Secrets,
    call_sites: Mutex<HashMap<CallSite, Throttle>>,
}

impl fmt::Debug for SafeLogger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafeLogger").field("crates", &self.crates).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CallSite {
    target: String,
    line: Option<u32>,
    level: Level,
}

impl SafeLogger {
    /// Wraps `loggers`, each of which gets every line. `crates` are the first parts of the targets to pass on.
    #[must_use]
    pub fn new(loggers: Vec<Box<dyn Log>>, crates: &[&str], secrets: Secrets) -> Self {
        let crates = crates.iter().map(|&name| name.to_owned()).collect();
        Self { loggers, crates, secrets, call_sites: Mutex::default() }
    }

    /// Formats a line as the Python clients do: `(LEVEL) module:line MESSAGE`.
    #[must_use]
    pub fn format_line(record: &Record<'_>) -> String {
        let level = match record.level() {
            Level::Error => "ERROR",
            Level::Warn => "WARNING",
            Level::Info => "INFO",
            Level::Debug | Level::Trace => "DEBUG",
        };
        let module = record.target().rsplit("::").next().unwrap_or_default();
        format!("({level}) {module}:{} {}", record.line().unwrap_or_default(), record.args())
    }

    /// Splits filters in the syntax of `RUST_LOG` into those that apply to `crates`, if any, and the rest: unknown levels,
    /// and other crates, which never pass.
    ///
    /// ```
    /// use gf_emulator_core::SafeLogger;
    ///
    /// let (valid, invalid) = SafeLogger::split_filters("info,ureq=trace,debg", &["gf_emulator_core"]);
    /// assert_eq!((valid.as_deref(), &*invalid), (Some("info"), "ureq=trace, debg"));
    /// ```
    #[must_use]
    pub fn split_filters(filters: &str, crates: &[&str]) -> (Option<String>, String) {
        let is_level = |level: &str| level.trim().parse::<LevelFilter>().is_ok();
        let first = |target: &str| target.trim().split("::").next().unwrap_or_default().to_owned();
        // A target is a prefix: `gf` means all crates that begin with it.
        let applies = |target: &str| {
            crates.iter().any(|name| name.starts_with(target.trim())) || crates.contains(&&*first(target))
        };
        let is_valid = |filter: &str| match filter.split_once('=') {
            Some((target, level)) => applies(target) && (level.trim().is_empty() || is_level(level)),
            None => is_level(filter) || crates.contains(&&*first(filter)),
        };
        // After a slash follows a pattern that lines have to match.
        let (filters, pattern) = filters.split_once('/').map_or((filters, None), |(list, rest)| (list, Some(rest)));
        let parts = filters.split(',').filter(|part| !part.trim().is_empty());
        let (valid, invalid): (Vec<_>, Vec<_>) = parts.partition(|part| is_valid(part));
        let shown = |part: &&str| part.trim().chars().map(|c| if c.is_control() { '?' } else { c }).take(100).collect();
        let invalid: Vec<String> = invalid.iter().map(shown).collect();
        let pattern = pattern.map(|pattern| format!("/{pattern}")).unwrap_or_default();
        ((!valid.is_empty()).then(|| valid.join(",") + &pattern), invalid.join(", "))
    }

    fn write(&self, record: &Record<'_>) {
        self.loggers.iter().for_each(|logger| logger.log(record));
    }

    /// Counts one more line of `site`. Returns whether it may be logged at `now`, and how many earlier ones were not.
    fn count(&self, site: CallSite, now: Instant) -> (bool, u64) {
        let mut sites = lock(&self.call_sites);
        let throttle = sites.entry(site).or_insert_with(|| Throttle::new(LINES_LIMIT, PERIOD));
        let held_back = throttle.take_due(now);
        (throttle.passes(now), held_back)
    }

    fn write_held_back(&self, site: &CallSite, held_back: u64) {
        if held_back > 0 {
            let args = format_args!("{held_back} more lines like this were not logged");
            let mut record = Record::builder();
            self.write(&record.level(site.level).target(&site.target).line(site.line).args(args).build());
        }
    }
}

impl From<LogLevel> for LevelFilter {
    /// `log` has no level above error: `CRITICAL` also shows errors.
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warning => Self::Warn,
            LogLevel::Error | LogLevel::Critical => Self::Error,
        }
    }
}

impl Log for SafeLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let name = metadata.target().split("::").next().unwrap_or_default();
        self.crates.iter().any(|passed| passed == name) && self.loggers.iter().any(|logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        // Macros ask `enabled` first, other callers may not. A line that is not logged is not counted either.
        if !self.enabled(record.metadata()) {
            return;
        }
        let site = CallSite { target: record.target().to_owned(), line: record.line(), level: record.level() };
        let (passes, held_back) = self.count(site.clone(), system::now());
        self.write_held_back(&site, held_back);
        if passes {
            let text = self.secrets.redact(&record.args().to_string());
            let mut clean = Record::builder();
            clean.metadata(record.metadata().clone()).module_path(record.module_path()).file(record.file());
            self.write(&clean.line(record.line()).args(format_args!("{text}")).build());
        }
    }

    fn flush(&self) {
        let held_back: Vec<_> = {
            let mut sites = lock(&self.call_sites);
            sites.iter_mut().map(|(site, throttle)| (site.clone(), throttle.take_suppressed())).collect()
        };
        for (site, held_back) in held_back {
            self.write_held_back(&site, held_back);
        }
        self.loggers.iter().for_each(Log::flush);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Secret;

    /// Keeps what it is given.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl Log for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(format!("{} {}", record.target(), record.args()));
        }

        fn flush(&self) {}
    }

    fn logger(secrets: &Secrets) -> (SafeLogger, Kept) {
        let kept = Kept::default();
        (SafeLogger::new(vec![Box::new(kept.clone())], &["gf_emulator_core"], secrets.clone()), kept)
    }

    fn log(logger: &SafeLogger, target: &str, text: &str) {
        let metadata = Metadata::builder().level(Level::Warn).target(target).build();
        logger.log(&Record::builder().metadata(metadata).line(Some(7)).args(format_args!("{text}")).build());
    }

    #[test]
    fn passes_only_the_named_crates() {
        let (logger, kept) = logger(&Secrets::default());
        for target in ["tungstenite::protocol", "ureq::run", "gf_emulator_core_not", "gf", "", "::"] {
            log(&logger, target, "x");
        }
        log(&logger, "gf_emulator_core::websocket", "x");
        log(&logger, "gf_emulator_core", "x");
        assert_eq!(*kept.0.lock().unwrap(), ["gf_emulator_core::websocket x", "gf_emulator_core x"]);
    }

    #[test]
    fn hides_secrets_and_queries() {
        let secrets = Secrets::default();
        let (logger, kept) = logger(&secrets);
        secrets.add_token(&Secret::new("a password/of mine"));
        log(&logger, "gf_emulator_core", "GET https://user:x@h/a%20password%2Fof+mine?X-Sig=1 failed");
        assert_eq!(*kept.0.lock().unwrap(), ["gf_emulator_core GET https://***@h/***?*** failed"]);
    }

    #[test]
    fn limits_each_call_site_and_counts_the_rest() {
        let (logger, kept) = logger(&Secrets::default());
        (0..2500).for_each(|_| log(&logger, "gf_emulator_core", "x"));
        logger.flush();
        let lines = kept.0.lock().unwrap();
        assert_eq!((lines.len(), &*lines[1000]), (1001, "gf_emulator_core 1500 more lines like this were not logged"));
    }

    #[test]
    fn a_new_minute_reports_what_the_last_one_held_back() {
        let (logger, _) = logger(&Secrets::default());
        let site = CallSite { target: "here".into(), line: Some(1), level: Level::Info };
        let start = Instant::now();
        let passed = (0..1500).filter(|_| logger.count(site.clone(), start).0).count();
        assert_eq!(passed, 1000);
        assert_eq!(logger.count(site.clone(), start + PERIOD / 2), (false, 0));
        assert_eq!(logger.count(site, start + PERIOD), (true, 501));
    }

    #[test]
    fn splits_filters_into_valid_and_invalid() {
        const CRATES: [&str; 2] = ["gf_emulator_core", "gf_machine_emulator"];
        for valid in [
            "debug",
            "WARN",
            "gf_emulator_core::websocket=debug",
            "info,gf_machine_emulator=off",
            "gf=trace",
            "debug/x",
        ] {
            assert_eq!(SafeLogger::split_filters(valid, &CRATES), (Some(valid.to_owned()), String::new()), "{valid}");
        }
        for (text, levels, invalid) in [
            ("", None, ""),
            (" , ", None, ""),
            ("debg", None, "debg"),
            ("info,gf_emulator_core=loud, ureq=trace", Some("info"), "gf_emulator_core=loud, ureq=trace"),
            ("a\u{1b}[2J=b", None, "a?[2J=b"),
        ] {
            assert_eq!(
                SafeLogger::split_filters(text, &CRATES),
                (levels.map(str::to_owned), invalid.to_owned()),
                "{text:?}"
            );
        }
    }

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
            assert_eq!(SafeLogger::format_line(&record), expected);
        }
    }
}
