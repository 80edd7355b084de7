//! `gf-machine-emulator`: a Glowforge machine without the hardware, from the command line.
//!
//! Arguments, logger, signals and exit codes live here, one file a subcommand; what a machine does is in
//! `gf-emulator-core`.

mod arguments;
mod check;
mod collect;
mod configuration;
mod conversation;
mod demo;
mod failure;
mod folders;
mod import;
mod input;
mod logging;
mod numbers;
mod output;
mod pipe;
mod puls;
mod report;
mod run;
mod serve;
mod signals;
mod sink;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Wrong usage ends in here, with 2.
    let outcome = arguments::CommandLine::read().follow();
    log::logger().flush();
    match outcome {
        Ok(()) if output::is_complete() => ExitCode::SUCCESS,
        Ok(()) => {
            output::tell("gf-machine-emulator: standard output: cannot write all of it");
            ExitCode::FAILURE
        }
        Err(failure) => {
            output::tell(format_args!("gf-machine-emulator: {}", logging::clean(&failure.to_string())));
            failure.exit_code()
        }
    }
}
