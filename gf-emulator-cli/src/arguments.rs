//! What can be asked for on the command line, and what `--help` says of it.
//!
//! The arguments of a subcommand are in its own file.

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::{check, collect, demo, import, pipe, puls, report, run, serve};

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
  0  done, or ended by Ctrl-C or SIGTERM
  1  something failed
  2  wrong usage or configuration
  130  ended by a second Ctrl-C before the first was through

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
    /// Does what was asked for.
    pub(crate) fn follow(self) -> Result<(), Failure> {
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

    use clap::CommandFactory;

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
