//! Finding and reading the configuration file, and what to say where there is none.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use gf_emulator_core::config::{Problems, Remark};
use gf_emulator_core::{Config, Error, Secrets, files};

use crate::failure::Failure;
use crate::logging;

/// Read where no other file is named.
pub(crate) const DEFAULT: &str = "gf-machine-emulator.cfg";
/// A file to begin with, every key explained.
pub(crate) const SAMPLE: &str = include_str!("../../gf-machine-emulator.cfg.sample");
/// What is past this is refused by whoever reads the text.
const MOST_BYTES: u64 = (1 << 20) + 1;

/// A configuration and what is odd in its file.
pub(crate) struct Loaded {
    pub(crate) config: Config,
    path: PathBuf,
    remarks: Vec<Remark>,
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
    let (config, remarks) = Config::load(path).map_err(|error| failure(path, error))?;
    let secrets = Secrets::default();
    secrets.keep(&config.machine.password);
    logging::hide(secrets);
    Ok(Loaded { config, path: path.into(), remarks })
}

/// Reads the file for a machine that never signs in: it needs no password, and a serial number only where it has one.
pub(crate) fn load_for_nobody(path: &Path, serial: u32) -> Result<Loaded, Failure> {
    let cannot_read = |source| failure(path, Error::File { doing: "read", path: path.into(), source });
    let mut text = String::new();
    let file = files::open(path).map_err(|error| failure(path, error))?;
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(cannot_read)?;

    let with_password = |name: &str| match name {
        "GF_MACHINE_PASSWORD" => Some("0".repeat(64)),
        "GF_MACHINE_SERIAL" => std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
        // It connects to nothing: which proxies there are does not matter.
        _ => None,
    };
    // The variable wins over the file, so it is made up only where the file is good but for it.
    let with_both = |name: &str| match name {
        "GF_MACHINE_SERIAL" => Some(serial.to_string()),
        _ => with_password(name),
    };
    let source = path.display().to_string();
    let read = Config::from_cfg(&source, &text, &with_password);
    let read = read.or_else(|problems| Config::from_cfg(&source, &text, &with_both).map_err(|_| problems));
    let (config, remarks) = read.map_err(|problems| has_problems(&problems))?;
    Ok(Loaded { config, path: path.into(), remarks })
}

fn failure(path: &Path, error: Error) -> Failure {
    match error {
        Error::Config(problems) => has_problems(&problems),
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

fn has_problems(problems: &Problems) -> Failure {
    Failure::misused(format_args!("the configuration has problems:\n{problems}"))
}
