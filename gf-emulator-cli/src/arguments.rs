//! The command line and its top-level help. The arguments of a command are in its own file.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::console::{self, ConsoleArguments};
use crate::error::CliError;
use crate::{
    check, collect, completions, conform, demo, export, fleet, import, init, man, numbers, pipe, puls, report, run,
    serve, signals,
};

const AFTER_HELP: &str = "\
Examples:
  gf-machine-emulator demo
      Runs a whole session on this computer; needs no account.
  gf-machine-emulator init
      Writes a configuration, and asks for what it needs.
  gf-machine-emulator
      Goes online with the configuration.
  gf-machine-emulator check --config my.cfg
      Reports what is wrong or missing, without connecting.
  gf-machine-emulator puls info job.puls
      Shows what a job does, in numbers.

Exit codes:
  0    success, or a session (run, pipe) was stopped by Ctrl-C or SIGTERM
  1    failure, or Ctrl-C or SIGTERM came before the end
  2    wrong usage or configuration
  130  a second Ctrl-C or SIGTERM came before the first had stopped the
       session (two within 0.2 seconds count as one)

Configuration: the first of these is read, relative paths in it are relative to
the current directory, and \"gf-machine-emulator check\" says which one it is.
  the file of --config
  the file that GF_MACHINE_CONFIG names
  gf-machine-emulator.cfg in the current directory
  gf-machine-emulator/gf-machine-emulator.cfg in $XDG_CONFIG_HOME or ~/.config;
      on macOS in ~/Library/Application Support; on Windows in %APPDATA%

Environment:
  GF_MACHINE_CONFIG
      The configuration file.
  GF_MACHINE_SERIAL, GF_MACHINE_PASSWORD
      Take precedence over the configuration file.
  RUST_LOG
      Takes precedence over the configured log levels, and turns the console
      log on: RUST_LOG=debug, or RUST_LOG=gf_emulator_core::websocket=debug.
      --verbose and --quiet take precedence over it on the console.
      Only this project's own lines are logged: those of its HTTP and WebSocket
      libraries can contain tokens.
  NO_COLOR, CLICOLOR, CLICOLOR_FORCE
      With --color auto, there are colours on a terminal, unless NO_COLOR is set
      or CLICOLOR is 0. If CLICOLOR_FORCE is set, there are colours always.

With --json, check, collect, fleet, puls and serve print one JSON object a line
on standard output; the help of each lists the fields.";

/// A Glowforge machine without the hardware.
///
/// Signs in to the service like a machine, performs its actions, and keeps every job (pulse file) it is sent. Without a
/// command, does "run".
#[derive(Debug, Parser)]
#[command(
    name = "gf-machine-emulator",
    version,
    max_term_width = 80,
    after_help = AFTER_HELP
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Arguments,
    #[command(flatten)]
    console: ConsoleArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Arguments),
    Run(run::Arguments),
    Collect(collect::Arguments),
    Demo(demo::Arguments),
    Serve(serve::Arguments),
    Fleet(fleet::Arguments),
    Conform(conform::Arguments),
    Check(check::Arguments),
    Pipe(pipe::Arguments),
    Puls(puls::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Report(report::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

impl CommandLine {
    /// Parses the arguments. Exits with 2 on wrong usage.
    pub(crate) fn read() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        console::apply_color(&arguments);
        Self::parse_line(arguments).unwrap_or_else(|e| e.exit())
    }

    fn parse_line(line: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut command = definition();
        let matches = command.try_get_matches_from_mut(line)?;
        reject_lost_options(&mut command, &matches)?;
        Self::from_arg_matches(&matches)
    }

    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        signals::install()?;
        self.console.apply();
        match self.command.unwrap_or(Command::Run(self.run)) {
            Command::Init(arguments) => init::run(&arguments),
            Command::Run(arguments) => run::run(&arguments),
            Command::Collect(arguments) => collect::run(&arguments),
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Serve(arguments) => serve::run(&arguments),
            Command::Fleet(arguments) => fleet::run(arguments),
            Command::Conform(arguments) => conform::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Pipe(arguments) => pipe::run(&arguments),
            Command::Puls(arguments) => puls::run(&arguments),
            Command::Export(arguments) => export::run(&arguments),
            Command::Import(arguments) => import::run(&arguments),
            Command::Report(arguments) => report::run(&arguments),
            Command::Completions(arguments) => {
                completions::run(&arguments, definition());
                Ok(())
            }
            Command::Man(arguments) => man::run(&arguments, definition()),
        }
    }
}

/// The definition that help, completions and manual pages are made from.
fn definition() -> clap::Command {
    numbers::with_signs(CommandLine::command())
}

/// Refuses options of `run` before the name of a command, which would be ignored.
fn reject_lost_options(command: &mut clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(name) = matches.subcommand_name() else { return Ok(()) };
    let is_given = |arg: &&clap::Arg| {
        let source = matches.try_contains_id(arg.get_id().as_str()).is_ok_and(|is_known| is_known);
        source && !arg.is_global_set() && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let given = command.get_arguments().find(is_given).map(ToString::to_string);
    match given {
        Some(option) => Err(command.error(
            ErrorKind::ArgumentConflict,
            format!("{option} before \"{name}\" has no effect: give the options of a command after its name"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    /// Help is wrapped at 80 columns, which would break examples and tables.
    #[test]
    fn texts_after_the_options_are_not_wrapped() {
        fn check(command: &clap::Command) {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&CommandLine::command());
    }

    #[test]
    fn run_is_the_default_command() {
        for line in [&["x", "--record", "a"][..], &["x", "run", "--record", "a"]] {
            let parsed = CommandLine::parse_line(line).unwrap();
            let arguments = match parsed.command {
                None => parsed.run,
                Some(Command::Run(arguments)) => arguments,
                Some(other) => panic!("{line:?}: {other:?}"),
            };
            assert!(format!("{arguments:?}").contains("record: Some(\"a\")"), "{line:?}: {arguments:?}");
        }
    }

    #[test]
    fn only_console_options_may_come_before_a_command() {
        for line in [&["x", "-v", "demo"][..], &["x", "demo", "-v"], &["x", "--color", "never", "puls", "info", "a"]] {
            CommandLine::parse_line(line).unwrap();
        }
        for option in ["--config", "--record", "--follow"] {
            let error = CommandLine::parse_line(["x", option, "1", "demo"]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{option} <")) && error.contains("before \"demo\" has no effect"),
                "{error}"
            );
        }
    }

    /// Parses a line that must be wrong, and returns the first line of the error.
    fn error_of(line: &[&str]) -> String {
        let error = definition().try_get_matches_from(line);
        let error = error.expect_err(&format!("{line:?} is valid")).to_string();
        error.lines().next().unwrap().to_owned()
    }

    /// Tries wrong values for every option of `command` and its subcommands that takes a number. Returns these options.
    fn check_numbers(command: &clap::Command, path: &[&str]) -> Vec<String> {
        let huge = "9".repeat(400);
        let mut checked = Vec::new();
        for arg in command.get_arguments().filter(|arg| arg.get_action().takes_values()) {
            let name = arg.get_value_names().unwrap_or_default()[0].as_str();
            let Some(option) = arg.get_long().filter(|_| !numbers::NO_NUMBERS.contains(&name)) else {
                continue;
            };
            if !arg.get_possible_values().is_empty() {
                continue;
            }
            let option = format!("--{option}");
            for value in [&huge, "1e999", "-1e999", "nan", "-inf", "many", "", "-", "-1e9"] {
                let error = error_of(&[path, &[&option, value]].concat());
                let expected = format!("invalid value '{value}' for '{option} <");
                assert!(error.contains(&expected) && error.contains(" from ") && error.contains(" to "), "{error}");
            }
            checked.push([&path[1..], &[option.as_str()]].concat().join(" "));
        }
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            checked.extend(check_numbers(sub, &[path, &[sub.get_name()]].concat()));
        }
        checked
    }

    #[test]
    fn a_wrong_number_is_answered_with_the_range() {
        let mut command = CommandLine::command();
        command.build();
        let checked = check_numbers(&command, &["x"]);
        for option in ["--follow", "collect --jobs", "serve --listen", "puls info --max-bytes", "puls make --circle"] {
            assert!(checked.contains(&option.to_owned()), "{option}: {checked:?}");
        }
        CommandLine::try_parse_from(["x", "puls", "make", "--line", "5,5", "-o", "x"]).unwrap();
        let negative = ["x", "puls", "make", "--line", "-5,-5", "-o", "x"];
        definition().try_get_matches_from(negative).unwrap();
    }

    #[test]
    fn an_option_with_fixed_choices_takes_no_option_as_its_value() {
        for line in ["x demo --generation --record a", "x puls plot a --view -o b"] {
            let error = error_of(&line.split(' ').collect::<Vec<_>>());
            assert!(error.contains("a value is required for "), "{error}");
        }
    }
}
