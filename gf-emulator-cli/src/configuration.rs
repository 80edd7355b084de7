//! Finding and reading the configuration file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gf_emulator_core::config::Warning;
use gf_emulator_core::storage::unwritable;
use gf_emulator_core::{Config, Error};

use crate::error::CliError;
use crate::logging;

/// The file that is read without `--config`.
pub(crate) const DEFAULT: &str = "gf-machine-emulator.cfg";
/// A file to begin with, with every key explained.
pub(crate) const SAMPLE: &str = include_str!("../../gf-machine-emulator.cfg.sample");

/// A configuration and the remarks on its file.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    path: PathBuf,
    remarks: Vec<Warning>,
}

impl Loaded {
    /// Fails if a session could not write its files.
    pub(crate) fn check_writable(&self) -> Result<(), CliError> {
        match &*unwritable(&self.config, &self.path) {
            [] => Ok(()),
            problems => Err(CliError::usage(problems.join("\n"))),
        }
    }

    /// Formats the remarks, one line each.
    pub(crate) fn remarks(&self) -> impl Iterator<Item = String> {
        self.remarks.iter().map(|remark| format!("{}:{}: {}", self.path.display(), remark.line, remark.what))
    }
}

/// Returns the file to read.
pub(crate) fn path(option: Option<&PathBuf>) -> &Path {
    option.map_or(Path::new(DEFAULT), PathBuf::as_path)
}

/// Reads the file.
pub(crate) fn load(path: &Path) -> Result<Loaded, CliError> {
    hide_password(path, Config::load(path))
}

/// Reads the file for a machine that never signs in: serial, hostname and password may be missing.
pub(crate) fn load_offline(path: &Path) -> Result<Loaded, CliError> {
    hide_password(path, Config::load_offline(path))
}

fn hide_password(path: &Path, loaded: Result<(Config, Vec<Warning>), Error>) -> Result<Loaded, CliError> {
    let (config, remarks) = loaded.map_err(|error| explain(path, error))?;
    logging::secrets().add(&config.machine.password);
    Ok(Loaded { config, path: path.into(), remarks })
}

/// Returns the error of a file that cannot be used.
pub(crate) fn explain(path: &Path, error: Error) -> CliError {
    match error {
        Error::Config(problems) => CliError::usage(format_args!("the configuration has problems:\n{problems}")),
        Error::File { source, .. } if source.kind() == ErrorKind::NotFound => CliError::usage(format_args!(
            "there is no configuration file {0}\n\n\
             To create one (a copy of gf-machine-emulator.cfg.sample):\n\
             \x20 gf-machine-emulator check --sample > {0}\n\
             Then fill in serial, hostname and password under [MACHINE].\n\n\
             \"gf-machine-emulator demo\" needs no file and no account.",
            path.display()
        )),
        // Most likely the wrong path.
        other => CliError::usage(other),
    }
}
