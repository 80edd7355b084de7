//! The command line and its top-level help. The arguments of a command are in its own file.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::CliError;
use crate::{check, collect, conform, demo, export, fleet, import, numbers, pipe, puls, report, run, serve, signals};

const AFTER_HELP: &str = "\
Examples:
  gf-machine-emulator demo
      Runs a whole session on this computer; needs no account.
  gf-machine-emulator
      Goes online with gf-machine-emulator.cfg in the current directory.
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

Environment:
  GF_MACHINE_SERIAL, GF_MACHINE_PASSWORD
      Take precedence over the configuration file.
  RUST_LOG
      Takes precedence over the configured log levels, and turns the console
      log on: RUST_LOG=debug, or RUST_LOG=gf_emulator_core::websocket=debug.
      Only this project's own lines are logged: those of its HTTP and WebSocket
      libraries can contain tokens.";

/// A Glowforge machine without the hardware.
///
/// Signs in to the service like a machine, performs its actions, and keeps every job (pulse file) it is sent. Without a
/// command, does "run".
#[derive(Debug, Parser)]
#[command(
    name = "gf-machine-emulator",
    version,
    max_term_width = 80,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
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
}

impl CommandLine {
    /// Parses the arguments. Exits with 2 on wrong usage.
    pub(crate) fn read() -> Self {
        let matches = numbers::with_signs(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
    }

    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        signals::install()?;
        match self.into_command() {
            Command::Run(arguments) => run::run(&arguments),
            Command::Collect(arguments) => collect::run(&arguments),
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Serve(arguments) => serve::run(arguments),
            Command::Fleet(arguments) => fleet::run(arguments),
            Command::Conform(arguments) => conform::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Pipe(arguments) => pipe::run(&arguments),
            Command::Puls(arguments) => puls::run(&arguments),
            Command::Export(arguments) => export::run(&arguments),
            Command::Import(arguments) => import::run(&arguments),
            Command::Report(arguments) => report::run(&arguments),
        }
    }

    fn into_command(self) -> Command {
        self.command.unwrap_or(Command::Run(self.run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        numbers::with_signs(CommandLine::command()).debug_assert();
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
            let command = format!("{:?}", CommandLine::try_parse_from(line).unwrap().into_command());
            assert!(command.starts_with("Run(") && command.contains("record: Some(\"a\")"), "{line:?}: {command}");
        }
        // Options of `run` before another command would be ignored.
        assert!(CommandLine::try_parse_from(["x", "--config", "a.cfg", "demo"]).is_err());
    }

    /// Parses a line that must be wrong, and returns the first line of the error.
    fn error_of(line: &[&str]) -> String {
        let error = numbers::with_signs(CommandLine::command()).try_get_matches_from(line);
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
        numbers::with_signs(CommandLine::command()).try_get_matches_from(negative).unwrap();
    }

    #[test]
    fn an_option_with_fixed_choices_takes_no_option_as_its_value() {
        for line in ["x demo --generation --record a", "x puls plot a --view -o b"] {
            let error = error_of(&line.split(' ').collect::<Vec<_>>());
            assert!(error.contains("a value is required for "), "{error}");
        }
    }
}
