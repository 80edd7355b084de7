//! What can be asked for on the command line, and what `--help` says of it.
//!
//! The arguments of a subcommand are in its own file.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::failure::Failure;
use crate::{check, collect, demo, import, numbers, pipe, puls, report, run, serve, signals};

const AFTER_HELP: &str = "\
Examples:
  gf-machine-emulator demo
      No account needed: see a whole session on this computer.
  gf-machine-emulator
      Go online with gf-machine-emulator.cfg in the current directory.
  gf-machine-emulator check --config my.cfg
      What is wrong with it or missing, without connecting to anything.
  gf-machine-emulator puls info job.puls
      What a job does, in numbers.

Exit codes:
  0  done, or a session (run, pipe) was ended by Ctrl-C or SIGTERM
  1  something failed, or Ctrl-C or SIGTERM came before the end
  2  wrong usage or configuration
  130  ended by a second Ctrl-C before the first was through (what comes
       within 0.2 seconds of the first is the same)

Environment:
  GF_MACHINE_SERIAL, GF_MACHINE_PASSWORD
      Win over the configuration file.
  RUST_LOG
      Wins over the configured log levels, and turns the console log on:
      RUST_LOG=debug, or RUST_LOG=gf_emulator_core::websocket=debug.
      Only this project's own lines are logged: those of the libraries below
      it hold tokens.";

/// A Glowforge machine without the hardware.
///
/// Signs in to the service as a machine does, does what it is asked, and keeps every job (pulse file) that it is sent.
/// Without a command: run.
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
    Check(check::Arguments),
    Pipe(pipe::Arguments),
    Puls(puls::Arguments),
    Import(import::Arguments),
    Report(report::Arguments),
}

impl CommandLine {
    /// What this process was started with. Wrong usage ends it, with 2.
    pub(crate) fn read() -> Self {
        let matches = numbers::with_signs(Self::command()).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
    }

    /// Does what was asked for.
    pub(crate) fn follow(self) -> Result<(), Failure> {
        signals::hear()?;
        match self.command.unwrap_or(Command::Run(self.run)) {
            Command::Run(arguments) => run::run(&arguments),
            Command::Collect(arguments) => collect::run(&arguments),
            Command::Demo(arguments) => demo::run(&arguments),
            Command::Serve(arguments) => serve::run(arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Pipe(arguments) => pipe::run(&arguments),
            Command::Puls(arguments) => puls::run(&arguments),
            Command::Import(arguments) => import::run(&arguments),
            Command::Report(arguments) => report::run(&arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn run_may_be_left_out_and_its_option_is_not_anothers() {
        for line in [&["x", "--config", "a.cfg"][..], &["x", "run", "--config", "a.cfg"]] {
            let arguments = CommandLine::try_parse_from(line).unwrap();
            let run = match arguments.command {
                None => arguments.run,
                Some(Command::Run(run)) => run,
                Some(other) => panic!("{other:?}"),
            };
            assert_eq!(run.config.as_deref(), Some(Path::new("a.cfg")));
        }
        // It would count for nothing: better said than ignored.
        assert!(CommandLine::try_parse_from(["x", "--config", "a.cfg", "demo"]).is_err());
    }

    /// What options are named for that take no number.
    const NO_NUMBERS: [&str; 3] = ["FILE", "DIR", "OUT"];

    /// Gives every option that takes a number each of `values`, and shows what is said.
    fn each_number(command: &clap::Command, before: &[&str], values: &[&str], seen: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            each_number(sub, &[before, &[sub.get_name()]].concat(), values, seen);
        }
        let takes = |arg: &&clap::Arg| arg.get_action().takes_values() && arg.get_possible_values().is_empty();
        for arg in command.get_arguments().filter(takes) {
            let name = arg.get_value_names().unwrap_or_default()[0].as_str();
            let Some(long) = arg.get_long().filter(|_| !NO_NUMBERS.contains(&name)) else {
                assert!(NO_NUMBERS.contains(&name), "{name} has to be an option");
                continue;
            };
            let option = format!("--{long}");
            for value in values {
                let line = [before, &[option.as_str(), value]].concat();
                let said = numbers::with_signs(CommandLine::command()).try_get_matches_from(&line);
                let error = said.expect_err(&format!("{line:?} is good"));
                assert_eq!(error.exit_code(), 2, "{line:?}");
                let text = error.to_string();
                let option = format!("invalid value '{value}' for '{option} <");
                let first = text.lines().next().unwrap_or_default();
                let has_range = first.contains(" from ") && first.contains(" to ");
                assert!(first.contains(&option) && has_range, "{line:?}: {text}");
            }
            seen.push(format!("{} {option}", before[1..].join(" ")));
        }
    }

    #[test]
    fn a_number_out_of_its_range_is_told_the_range() {
        let mut command = CommandLine::command();
        command.build();
        let mut seen = Vec::new();
        let huge = "9".repeat(400);
        each_number(&command, &["x"], &[&huge, "1e999", "nan", "-inf", "many", "", "-"], &mut seen);
        assert!(seen.len() > 20 && seen.iter().any(|option| option == "puls make --circle"), "{seen:?}");
        let line = |words: &str| {
            let words = ["x"].into_iter().chain(words.split(' '));
            numbers::with_signs(CommandLine::command()).try_get_matches_from(words).map_err(|e| e.to_string())
        };
        for words in ["collect --jobs -1", "collect --for -1", "report r --from -3", "--follow -1", "report r --from 0"]
        {
            let error = line(words).expect_err(words);
            assert!(error.contains("invalid value") && error.contains(" from "), "{words}: {error}");
        }
        assert!(line("puls make --line -5,-5 -o x").is_ok());
    }

    #[test]
    fn help_fits_80_columns() {
        let mut command = CommandLine::command();
        command.build();
        let mut helps = vec![command.render_long_help().to_string()];
        for sub in command.get_subcommands_mut() {
            helps.push(sub.render_long_help().to_string());
            helps.extend(sub.get_subcommands_mut().map(|sub| sub.render_long_help().to_string()));
        }
        for line in helps.iter().flat_map(|help| help.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
