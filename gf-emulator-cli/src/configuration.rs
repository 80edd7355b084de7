//! Finding and reading the configuration file, and what to say where there is none.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gf_emulator_core::config::Warning;
use gf_emulator_core::{Config, Error, Secrets};

use crate::failure::Failure;
use crate::logging;

/// Read where no other file is named.
pub(crate) const DEFAULT: &str = "gf-machine-emulator.cfg";
/// A file to begin with, every key explained.
pub(crate) const SAMPLE: &str = include_str!("../../gf-machine-emulator.cfg.sample");

/// A configuration and what is odd in its file.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    path: PathBuf,
    remarks: Vec<Warning>,
}

impl Loaded {
    /// The remarks, a line each.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = String> {
        self.remarks.iter().map(|remark| format!("{}:{}: {}", self.path.display(), remark.line, remark.what))
    }
}

/// The file to read.
pub(crate) fn path(named: Option<&PathBuf>) -> &Path {
    named.map_or(Path::new(DEFAULT), PathBuf::as_path)
}

/// Reads the file.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    loaded(path, Config::load(path))
}

/// Reads the file for a machine that never signs in: who it is may be missing.
pub(crate) fn load_offline(path: &Path) -> Result<Loaded, Failure> {
    loaded(path, Config::load_offline(path))
}

fn loaded(path: &Path, read: Result<(Config, Vec<Warning>), Error>) -> Result<Loaded, Failure> {
    let (config, remarks) = read.map_err(|error| failure(path, error))?;
    let secrets = Secrets::default();
    secrets.add(&config.machine.password);
    logging::hide(secrets);
    Ok(Loaded { config, path: path.into(), remarks })
}

fn failure(path: &Path, error: Error) -> Failure {
    match error {
        Error::Config(problems) => Failure::misused(format_args!("the configuration has problems:\n{problems}")),
        Error::File { source, .. } if source.kind() == ErrorKind::NotFound => Failure::misused(format_args!(
            "there is no configuration file {0}\n\n\
             To make one (it is the source's gf-machine-emulator.cfg.sample):\n\
             \x20 gf-machine-emulator check --sample > {0}\n\
             and fill in serial, hostname and password under [MACHINE].\n\n\
             No machine at hand? \"gf-machine-emulator demo\" needs no file and no account.",
            path.display()
        )),
        // It is there and cannot be read: the wrong path, most likely.
        other => Failure::misused(other),
    }
}
