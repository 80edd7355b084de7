//! `check`: what is wrong or missing, without connecting to anything.

use std::path::PathBuf;

use gf_emulator_core::config::Service;
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::{Emulator, Tls};

use crate::failure::Failure;
use crate::output::say;
use crate::{configuration, folders};

/// Read the configuration and name what is missing; connect to nothing
///
/// Every problem is named with its line, then whatever the file points to and cannot be used: certificate, actions
/// table, pictures, folders that cannot be written in.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator check
  gf-machine-emulator check --config my.cfg
  gf-machine-emulator check --sample > gf-machine-emulator.cfg
      A file to begin with: fill in serial, hostname and password.

Exit codes: 0 good, 2 something is wrong or missing, pictures included (an
action that wants a missing one fails).")]
pub(crate) struct Arguments {
    /// The configuration file [default: gf-machine-emulator.cfg]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a configuration file with every key explained, and check nothing
    #[arg(long, conflicts_with = "config")]
    sample: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.sample {
        say(configuration::SAMPLE.trim_end());
        return Ok(());
    }
    let path = configuration::path(arguments.config.as_ref());
    let loaded = configuration::load(path).map_err(|failure| {
        if path.exists() {
            failure.and("\nCertificate, actions table, pictures and folders are checked once these are fixed.")
        } else {
            failure
        }
    })?;
    for remark in loaded.remarks() {
        say(format_args!("remark: {remark}"));
    }
    let mut config = loaded.config;
    let pictures = CannedMachine::new(&config);
    let mut missing: Vec<_> =
        pictures.missing_pictures().iter().map(|picture| format!("no picture {}", picture.display())).collect();
    let unwritable = folders::unwritable(&config, path);
    // Nothing is recorded by a check.
    config.logging.record_dir = None;
    let mut about = vec![
        ("generation", format!("{} (firmware {})", config.generation(), config.machine.firmware)),
        ("service", ways(&config.service).join("\n            ")),
        ("jobs go to", config.motion.dir.display().to_string()),
        ("pictures", config.emulator.image_dir.display().to_string()),
    ];
    // Where the file is wrong, what follows says so.
    if let Some(ca_file) = &config.service.ca_file
        && let Ok(tls) = Tls::new(Some(ca_file))
    {
        let count = match tls.extra_certificates() {
            1 => "1 certificate".to_owned(),
            count => format!("{count} certificates"),
        };
        about.insert(2, ("trusted", format!("{count} in {}, beside the system's", ca_file.display())));
    }
    missing.splice(0..0, unwritable);
    if let Err(e) = Emulator::new(config) {
        missing.insert(0, e.to_string());
    }
    for (what, value) in about {
        say(format_args!("{what:<12}{value}"));
    }
    if missing.is_empty() {
        say(format_args!("{} is good", path.display()));
        Ok(())
    } else {
        Err(Failure::misused(format_args!("{} is incomplete:\n{}", path.display(), missing.join("\n"))))
    }
}

/// The two addresses of the service, and how each is reached.
fn ways(service: &Service) -> [String; 2] {
    [&service.server_url, &service.status_service_url].map(|url| match service.proxy_for(url) {
        Some(proxy) => format!("{url}, through the proxy {proxy}"),
        None => format!("{url}, direct"),
    })
}
