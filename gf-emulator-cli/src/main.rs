//! `gf-machine-emulator`: a Glowforge machine without the hardware, from the command line.
//!
//! Arguments, the logger, signals and exit codes live here, one file for each command. What a machine does is in
//! `gf-emulator-core`.

mod arguments;
mod check;
mod collect;
mod completions;
mod configuration;
mod conform;
mod console;
mod demo;
mod error;
mod export;
mod faults;
mod fleet;
mod import;
mod init;
mod listening;
mod logging;
mod man;
mod numbers;
mod output;
mod pipe;
mod progress;
mod puls;
mod recording;
mod report;
mod run;
mod serve;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Exits with 2 on wrong usage.
    let outcome = arguments::CommandLine::read().run();
    log::logger().flush();
    match outcome {
        Ok(()) => match output::failure() {
            None => ExitCode::SUCCESS,
            Some(error) => {
                output::error(format_args!("standard output is incomplete: {error}"));
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            output::error(logging::clean(&error.to_string()));
            error.exit_code()
        }
    }
}
