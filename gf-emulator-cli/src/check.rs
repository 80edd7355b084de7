//! `check`: checks the configuration without connecting.

use std::path::PathBuf;

use gf_emulator_core::config::Service;
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::storage::unwritable;
use gf_emulator_core::words::count;
use gf_emulator_core::{Emulator, Tls};

use crate::configuration;
use crate::error::CliError;
use crate::output::print;

/// Check the configuration without connecting to anything
///
/// Reports every problem with its line, then every file that cannot be used: certificates, the actions table, pictures,
/// folders that cannot be written to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator check
  gf-machine-emulator check --config my.cfg
  gf-machine-emulator check --sample > gf-machine-emulator.cfg
      A file to start from: fill in serial, hostname and password.

Exit codes: 0 no problem; 2 something is wrong or missing, including pictures
(an action that needs a missing picture fails).")]
pub(crate) struct Arguments {
    /// The configuration file [default: gf-machine-emulator.cfg]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a sample configuration with every key explained, and check nothing
    #[arg(long, conflicts_with = "config")]
    sample: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    if arguments.sample {
        print(configuration::SAMPLE.trim_end());
        return Ok(());
    }
    let path = configuration::path(arguments.config.as_ref());
    let loaded = configuration::load(path).map_err(|error| {
        if path.exists() {
            error.and("\nCertificates, actions table, pictures and folders are checked once these are fixed.")
        } else {
            error
        }
    })?;
    for remark in loaded.remarks() {
        print(format_args!("remark: {remark}"));
    }
    let mut config = loaded.config;
    let mut problems = unwritable(&config, path);
    let machine = CannedMachine::new(&config);
    problems.extend(machine.missing_pictures().iter().map(|picture| format!("no picture {}", picture.display())));
    // A check creates no recording.
    config.logging.record_dir = None;
    let mut settings = vec![
        ("generation", format!("{} (firmware {})", config.generation(), config.machine.firmware)),
        ("service", routes(&config.service).join("\n            ")),
        ("jobs go to", config.motion.dir.display().to_string()),
        ("pictures", config.emulator.image_dir.display().to_string()),
    ];
    // `Emulator::new` reports a file that cannot be read.
    if let Some(ca_file) = &config.service.ca_file
        && let Ok(tls) = Tls::new(Some(ca_file))
    {
        let certificates = count(tls.extra_certificates(), "certificate");
        settings.insert(2, ("trusted", format!("{certificates} in {}, and the system's", ca_file.display())));
    }
    if let Err(e) = Emulator::new(config) {
        problems.insert(0, e.to_string());
    }
    for (name, value) in settings {
        print(format_args!("{name:<12}{value}"));
    }
    if problems.is_empty() {
        print(format_args!("{} is good", path.display()));
        Ok(())
    } else {
        Err(CliError::usage(format_args!("{} is incomplete:\n{}", path.display(), problems.join("\n"))))
    }
}

/// Describes how the two addresses of the service are reached.
fn routes(service: &Service) -> [String; 2] {
    [&service.server_url, &service.status_service_url].map(|url| match service.proxy_for(url) {
        Some(proxy) => format!("{url}, through the proxy {proxy}"),
        None => format!("{url}, direct"),
    })
}
