//! The options of every command for what the console shows: how much, and in which colours.

use std::ffi::OsString;
use std::fmt::Display;
use std::io;
use std::sync::OnceLock;

use anstream::AutoStream;
use clap::builder::styling::{AnsiColor, Style};
use clap::{ArgAction, ValueEnum};
use log::{Level, LevelFilter};

const HEADING: &str = "Console options";

/// What is shown, for every command.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConsoleArguments {
    /// Show more of the log on standard error: -v its informational lines, -vv debug, -vvv all
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet", help_heading = HEADING)]
    verbose: u8,
    /// Show only errors on standard error, and what was asked for
    #[arg(short, long, global = true, help_heading = HEADING)]
    quiet: bool,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, help_heading = HEADING)]
    color: Color,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// Uses it for everything that is printed from now on, also by clap.
    fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

static CHOSEN: OnceLock<ConsoleArguments> = OnceLock::new();

impl ConsoleArguments {
    /// Applies the options. Call it once.
    pub(crate) fn apply(self) {
        self.color.apply();
        let _ = CHOSEN.set(self);
    }
}

/// Applies `--color` before the command line is parsed: clap's help and errors are in colour, too.
pub(crate) fn apply_color(arguments: &[OsString]) {
    let mut arguments = arguments.iter().take_while(|argument| *argument != "--").filter_map(|text| text.to_str());
    let mut color = None;
    while let Some(argument) = arguments.next() {
        let value = if argument == "--color" { arguments.next() } else { argument.strip_prefix("--color=") };
        color = value.and_then(|value| Color::from_str(value, false).ok()).or(color);
    }
    color.unwrap_or_default().apply();
}

/// Returns whether only errors are shown, and what was asked for.
pub(crate) fn is_quiet() -> bool {
    CHOSEN.get().is_some_and(|chosen| chosen.quiet)
}

/// Returns the level of the console's log, if the options set it.
pub(crate) fn log_level() -> Option<LevelFilter> {
    match CHOSEN.get()? {
        ConsoleArguments { quiet: true, .. } => Some(LevelFilter::Error),
        ConsoleArguments { verbose: 0, .. } => None,
        ConsoleArguments { verbose: 1, .. } => Some(LevelFilter::Info),
        ConsoleArguments { verbose: 2, .. } => Some(LevelFilter::Debug),
        ConsoleArguments { .. } => Some(LevelFilter::Trace),
    }
}

/// Returns whether standard error is in colour.
pub(crate) fn has_color() -> bool {
    AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// Returns a text for standard error in the colour of log lines of this level.
pub(crate) fn paint(text: impl Display, level: Level) -> String {
    let color = match level {
        Level::Error => AnsiColor::Red,
        Level::Warn => AnsiColor::Yellow,
        Level::Info => AnsiColor::Green,
        Level::Debug | Level::Trace => AnsiColor::BrightBlack,
    };
    if has_color() {
        let style = Style::new().bold().fg_color(Some(color.into()));
        format!("{style}{text}{style:#}")
    } else {
        text.to_string()
    }
}
