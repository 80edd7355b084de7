//! Where log lines go: `(LEVEL) module:line MESSAGE` on the console, the same behind a timestamp in a file.
//!
//! A service decides how often most of them have a reason to be written. So that it cannot fill the disk, each place in the
//! source logs 1000 lines a minute at the most; how many more there were is logged once a minute is over and the place has
//! something to say again, or at the end.
//!
//! The form and the names of the levels are those of the Python clients' logs, which people search. Whatever the levels
//! are, only this project's own lines pass: the libraries below it log what they send, tokens and presigned URLs
//! included. And every line, like the error that the program ends with, loses the secrets of the machine that runs: a
//! service may put a password or a token into anything that is worth a line, such as a path.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use env_logger::{Logger, Target};
use gf_emulator_core::config::{LogLevel, Logging};
use gf_emulator_core::{Secrets, Throttle, files};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::failure::Failure;
use crate::output::tell;

/// What may be logged: the library's targets and the binary's.
const OURS: [&str; 2] = ["gf_emulator_core", env!("CARGO_CRATE_NAME")];

/// How many lines a place in the source logs in [`PERIOD`].
const MOST_LINES: u32 = 1000;
const PERIOD: Duration = Duration::from_secs(60);

/// What must be in no line.
static SECRETS: Mutex<Vec<Secrets>> = Mutex::new(Vec::new());

/// Keeps everything that these hide, now and later, out of all lines from now on.
pub(crate) fn hide(secrets: Secrets) {
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner).push(secrets);
}

/// A text as it may be shown: without secrets, and without the queries and user names of URLs.
pub(crate) fn clean(text: &str) -> String {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    secrets.iter().fold(Secrets::default().redact(text), |text, secrets| secrets.redact(&text))
}

/// Sets up what the configuration asks for. `RUST_LOG` wins over its levels and turns the console on.
pub(crate) fn start(logging: &Logging) -> Result<(), Failure> {
    let (variable, wrong) = levels_of(&std::env::var("RUST_LOG").unwrap_or_default());
    if !wrong.is_empty() {
        tell(format_args!(
            "gf-machine-emulator: RUST_LOG: not used: {}; expected off, error, warn, info, debug or trace, or such as \
             gf_emulator_core::websocket=debug",
            clean(&wrong)
        ));
    }
    let levels = |level: LogLevel| variable.clone().unwrap_or_else(|| filter(level).to_string());
    let console = logging.console_level.or_else(|| variable.as_ref().map(|_| LogLevel::Debug));
    let mut sinks = Vec::new();
    if let Some(level) = console {
        sinks.push(sink(&levels(level), Target::Stderr, false));
    }
    if let Some(path) = &logging.file {
        let file = open(path).map_err(|e| {
            Failure::misused(format_args!("cannot write the log file {}: {e}; see log_file", path.display()))
        })?;
        sinks.push(sink(&levels(logging.level), Target::Pipe(Box::new(file)), true));
    }
    let sinks = Sinks::new(sinks);
    let most = sinks.most();
    // It fails where there is a logger already; this is called once.
    if log::set_boxed_logger(Box::new(sinks)).is_ok() {
        log::set_max_level(most);
    }
    Ok(())
}

/// What of `RUST_LOG` says which of our lines are logged, if there is any, and what says nothing of that: levels that
/// there are not, and the lines of others.
fn levels_of(text: &str) -> (Option<String>, String) {
    let is_good = |part: &str| {
        let is_level = |level: &str| level.trim().parse::<LevelFilter>().is_ok();
        let of_ours = |target: &str| is_ours(target) || OURS.iter().any(|ours| ours.starts_with(target));
        match part.split_once('=') {
            Some((target, level)) => of_ours(target.trim()) && (level.trim().is_empty() || is_level(level)),
            None => is_level(part) || is_ours(part.trim()),
        }
    };
    // Behind a slash is what a line has to have in it.
    let (parts, words) = text.split_once('/').map_or((text, None), |(parts, words)| (parts, Some(words)));
    let parts = parts.split(',').filter(|part| !part.trim().is_empty());
    let (good, wrong): (Vec<_>, Vec<_>) = parts.partition(|part| is_good(part));
    let shown = |part: &&str| part.trim().chars().map(|c| if c.is_control() { '?' } else { c }).take(100).collect();
    let wrong: Vec<String> = wrong.iter().map(shown).collect();
    let words = words.map(|words| format!("/{words}")).unwrap_or_default();
    (if good.is_empty() { None } else { Some(good.join(",") + &words) }, wrong.join(", "))
}

/// Sets up the console alone, for what goes wrong.
pub(crate) fn start_with_warnings() -> Result<(), Failure> {
    let mut logging = Logging::default();
    logging.console_level = Some(LogLevel::Warning);
    start(&logging)
}

/// `log` has no level above its errors: `CRITICAL` shows them too.
fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Error | LogLevel::Critical => LevelFilter::Error,
    }
}

fn open(path: &Path) -> io::Result<fs::File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    files::append(path).map_err(crate::sink::reason)
}

fn sink(levels: &str, target: Target, dated: bool) -> Logger {
    env_logger::Builder::new()
        .parse_filters(levels)
        .target(target)
        .format(move |out, record| {
            if dated {
                let now = jiff::Zoned::now();
                write!(out, "{},{:03} ", now.strftime("%Y-%m-%d %H:%M:%S"), now.millisecond())?;
            }
            let module = record.target().rsplit("::").next().unwrap_or_default();
            let line = record.line().unwrap_or_default();
            writeln!(out, "({}) {module}:{line} {}", level_name(record.level()), clean(&record.args().to_string()))
        })
        .build()
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// The console, the file, both or none.
struct Sinks {
    sinks: Vec<Logger>,
    places: Mutex<HashMap<Place, Throttle>>,
}

/// Where in the source a line comes from. There are as many as there are lines in the source that log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    target: String,
    line: Option<u32>,
    level: Level,
}

impl Sinks {
    fn new(sinks: Vec<Logger>) -> Self {
        Self { sinks, places: Mutex::default() }
    }

    fn most(&self) -> LevelFilter {
        self.sinks.iter().map(Logger::filter).max().unwrap_or(LevelFilter::Off)
    }

    fn write(&self, record: &Record<'_>) {
        self.sinks.iter().for_each(|sink| sink.log(record));
    }

    /// One more line from there: whether it may be logged at `now`, and how many were not of those before.
    fn ask(&self, place: Place, now: Instant) -> (bool, u64) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle = places.entry(place).or_insert_with(|| Throttle::new(MOST_LINES, PERIOD));
        let held_back = throttle.take_due(now);
        (throttle.passes(now), held_back)
    }

    fn sum_up(&self, place: &Place, held_back: u64) {
        if held_back > 0 {
            let args = format_args!("{held_back} more lines like this were not logged");
            let mut record = Record::builder();
            self.write(&record.level(place.level).target(&place.target).line(place.line).args(args).build());
        }
    }
}

fn is_ours(target: &str) -> bool {
    OURS.contains(&target.split("::").next().unwrap_or_default())
}

impl Log for Sinks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata.target()) && self.sinks.iter().any(|sink| sink.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        // Lines that nobody sees are none to be counted.
        if !self.enabled(record.metadata()) {
            return;
        }
        let place = Place { target: record.target().to_owned(), line: record.line(), level: record.level() };
        let (passes, held_back) = self.ask(place.clone(), Instant::now());
        self.sum_up(&place, held_back);
        if passes {
            self.write(record);
        }
    }

    fn flush(&self) {
        let unsaid: Vec<_> = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.iter_mut().map(|(place, throttle)| (place.clone(), throttle.take_suppressed())).collect()
        };
        for (place, held_back) in unsaid {
            self.sum_up(&place, held_back);
        }
        self.sinks.iter().for_each(Log::flush);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gf_emulator_core::Secret;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(levels: &str, dated: bool, records: &[(Level, &str)]) -> String {
        let paper = Paper::default();
        let sinks = Sinks::new(vec![sink(levels, Target::Pipe(Box::new(paper.clone())), dated)]);
        for &(level, target) in records {
            let (metadata, args) =
                (Metadata::builder().level(level).target(target).build(), format_args!("it happened"));
            let record = Record::builder().metadata(metadata.clone()).line(Some(7)).args(args).build();
            // The macros ask first.
            if sinks.enabled(&metadata) {
                sinks.log(&record);
            }
            assert_eq!(sinks.enabled(&metadata), is_ours(target) && level <= sinks.most());
            // And a library may not.
            if !is_ours(target) {
                sinks.log(&record);
            }
        }
        sinks.flush();
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nobody_elses_lines_are_logged_at_any_level() {
        let others = ["tungstenite::protocol", "ureq::run", "ureq_proto", "gf_emulator_core_not", "gf", "", "::"];
        for levels in ["trace", "tungstenite=trace,ureq=trace", "ureq_proto=trace,gf=trace"] {
            for level in Level::iter() {
                assert_eq!(written(levels, false, &others.map(|target| (level, target))), "");
            }
        }
    }

    #[test]
    fn a_secret_is_in_no_line() {
        let secrets = Secrets::default();
        hide(secrets.clone());
        secrets.add_token(&Secret::new("a password/of mine"));
        let text = "GET https://user:x@h/a%20password%2Fof+mine?X-Sig=1 was answered with HTTP 404";
        assert_eq!(clean(text), "GET https://***@h/***?*** was answered with HTTP 404");
        let paper = Paper::default();
        let sinks = Sinks::new(vec![sink("info", Target::Pipe(Box::new(paper.clone())), false)]);
        let metadata = Metadata::builder().level(Level::Error).target("gf_emulator_core::x").build();
        sinks.log(&Record::builder().metadata(metadata).line(Some(7)).args(format_args!("{text}")).build());
        let line = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        assert_eq!(line, "(ERROR) x:7 GET https://***@h/***?*** was answered with HTTP 404\n");
    }

    #[test]
    fn a_line_has_pythons_level_and_where_it_comes_from() {
        let records = [
            (Level::Error, "gf_emulator_core::websocket"),
            (Level::Warn, "gf_machine_emulator::run"),
            (Level::Info, "gf_emulator_core::local_service::server"),
            (Level::Debug, "gf_emulator_core"),
        ];
        assert_eq!(
            written("debug", false, &records),
            "(ERROR) websocket:7 it happened\n(WARNING) run:7 it happened\n(INFO) server:7 it happened\n\
             (DEBUG) gf_emulator_core:7 it happened\n"
        );
        assert_eq!(written("error", false, &records).lines().count(), 1);
    }

    #[test]
    fn the_file_has_the_time_as_python_writes_it() {
        let line = written("info", true, &[(Level::Info, "gf_emulator_core::voice")]);
        let (time, rest) = line.split_at(23);
        assert_eq!(rest, " (INFO) voice:7 it happened\n");
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(shape, "9999-99-99 99:99:99,999");
    }

    #[test]
    fn a_place_that_logs_without_end_is_held_back_and_counted() {
        const LINES: usize = 2500;
        let records = vec![(Level::Warn, "gf_emulator_core::desk"); LINES];
        let text = written("info", false, &records);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 1001);
        assert_eq!(lines[1000], "(WARNING) desk:7 1500 more lines like this were not logged");
    }

    #[test]
    fn the_next_minute_begins_with_what_the_one_before_left_out() {
        let sinks = Sinks::new(Vec::new());
        let place = Place { target: "here".into(), line: Some(1), level: Level::Info };
        let start = Instant::now();
        let passed = (0..1500).filter(|_| sinks.ask(place.clone(), start).0).count();
        assert_eq!(passed, 1000);
        assert_eq!(sinks.ask(place.clone(), start + PERIOD / 2), (false, 0));
        assert_eq!(sinks.ask(place, start + PERIOD), (true, 501));
    }

    #[test]
    fn what_is_wrong_with_the_variable_is_named() {
        for good in [
            "debug",
            "WARN",
            "gf_emulator_core::websocket=debug",
            "info,gf_machine_emulator=off",
            "gf=trace",
            "debug/x",
        ] {
            assert_eq!(levels_of(good), (Some(good.to_owned()), String::new()), "{good}");
        }
        assert_eq!(levels_of(""), (None, String::new()));
        assert_eq!(levels_of(" , "), (None, String::new()));
        assert_eq!(levels_of("debg"), (None, "debg".to_owned()));
        assert_eq!(
            levels_of("info,gf_emulator_core=loud, ureq=trace"),
            (Some("info".into()), "gf_emulator_core=loud, ureq=trace".into())
        );
        assert_eq!(levels_of("a\u{1b}[2J=b"), (None, "a?[2J=b".into()));
    }

    #[test]
    fn every_level_has_its_filter() {
        use LogLevel::{Critical, Debug, Error, Info, Warning};
        let names = [Debug, Info, Warning, Error, Critical].map(|level| filter(level).to_string());
        assert_eq!(names, ["DEBUG", "INFO", "WARN", "ERROR", "ERROR"]);
    }
}
