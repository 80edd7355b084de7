//! The command line and its top-level help. The arguments of a command are in its own file.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::CliError;
use crate::{check, collect, demo, import, numbers, pipe, puls, report, run, serve, signals};

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
    Check(check::Arguments),
    Pipe(pipe::Arguments),
    Puls(puls::Arguments),
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
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        numbers::with_signs(CommandLine::command()).debug_assert();
    }

    #[test]
    fn run_is_the_default_command() {
        for line in [&["x", "--record", "a"][..], &["x", "run", "--record", "a"]] {
            let arguments = CommandLine::try_parse_from(line).unwrap();
            assert!(matches!(arguments.command.unwrap_or(Command::Run(arguments.run)), Command::Run(_)));
        }
        // Options of `run` before another command would be ignored.
        assert!(CommandLine::try_parse_from(["x", "--config", "a.cfg", "demo"]).is_err());
    }
}
