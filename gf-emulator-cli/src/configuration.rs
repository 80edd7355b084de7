//! Finding and reading the configuration file.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gf_emulator_core::config::Warning;
use gf_emulator_core::storage::unwritable;
use gf_emulator_core::{Config, Error};

use crate::error::CliError;
use crate::logging;

/// The name of the file.
pub(crate) const DEFAULT: &str = "gf-machine-emulator.cfg";
/// Names the file to read.
const VARIABLE: &str = "GF_MACHINE_CONFIG";
/// The folder of the file in the user's folder for configurations.
const FOLDER: &str = "gf-machine-emulator";

/// The option for the configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgument {
    /// The configuration file [default: that of `GF_MACHINE_CONFIG`, else `gf-machine-emulator.cfg` here, else the one in
    /// your folder for configurations]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A file that is read if it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    origin: Origin,
}

/// Why a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Option,
    Variable,
    CurrentFolder,
    UserFolder,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option => f.write_str("from --config"),
            Self::Variable => write!(f, "from {VARIABLE} in the environment"),
            Self::CurrentFolder => f.write_str("in the current directory"),
            Self::UserFolder => f.write_str("in your folder for configurations"),
        }
    }
}

impl Place {
    /// Returns why this file was taken.
    pub(crate) fn reason(&self) -> String {
        self.origin.to_string()
    }

    /// Returns whether the user has named the file.
    fn is_chosen(&self) -> bool {
        matches!(self.origin, Origin::Option | Origin::Variable)
    }
}

impl ConfigArgument {
    /// Finds the file to read. It exists, unless the option or the environment names it.
    pub(crate) fn find(&self) -> Result<Place, CliError> {
        let places = places(self.config.as_deref(), &|name| env::var_os(name));
        match places.iter().find(|place| place.is_chosen() || place.path.exists()) {
            Some(place) => Ok(place.clone()),
            None => Err(none_of(&places)),
        }
    }

    /// As [`find`](Self::find), if there is a file or one is named.
    pub(crate) fn find_any(&self) -> Option<Place> {
        self.find().ok()
    }
}

/// Lists where the file may be, in this order. One that is named is the only one.
fn places(option: Option<&Path>, variable: &dyn Fn(&str) -> Option<OsString>) -> Vec<Place> {
    let variable = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let place = |path: PathBuf, origin| Place { path, origin };
    if let Some(path) = option {
        return vec![place(path.into(), Origin::Option)];
    }
    if let Some(path) = variable(VARIABLE) {
        return vec![place(path, Origin::Variable)];
    }
    let home = |below: &str| variable("HOME").map(|home| home.join(below));
    let folder = if cfg!(windows) {
        variable("APPDATA")
    } else if cfg!(target_os = "macos") {
        home("Library/Application Support")
    } else {
        // A relative path must be ignored.
        variable("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute()).or_else(|| home(".config"))
    };
    let of_user = folder.map(|folder| place(folder.join(FOLDER).join(DEFAULT), Origin::UserFolder));
    [place(DEFAULT.into(), Origin::CurrentFolder)].into_iter().chain(of_user).collect()
}

/// The error if there is no file.
fn none_of(places: &[Place]) -> CliError {
    let list: Vec<_> = places.iter().map(|place| format!("  {}", place.path.display())).collect();
    CliError::usage(format_args!(
        "there is no configuration file. These were looked for:\n{}\n\
         --config or {VARIABLE} can name another one.\n\n{}",
        list.join("\n"),
        how_to_create(Path::new(DEFAULT))
    ))
}

fn how_to_create(path: &Path) -> String {
    let file = if path == Path::new(DEFAULT) { String::new() } else { format!(" {}", path.display()) };
    format!(
        "To create one:\n\
         \x20 gf-machine-emulator init{file}\n\
         On a terminal, it asks for serial, hostname and password.\n\n\
         \"gf-machine-emulator demo\" needs no file and no account."
    )
}

/// A configuration and the remarks on its file.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    path: PathBuf,
    pub(crate) warnings: Vec<Warning>,
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
        self.warnings.iter().map(|remark| format!("{}:{}: {}", self.path.display(), remark.line, remark.what))
    }
}

/// Reads the file.
pub(crate) fn load(place: &Place) -> Result<Loaded, CliError> {
    try_load(place).map_err(|error| explain(place, error))
}

/// As [`load`], with the error as it is.
pub(crate) fn try_load(place: &Place) -> Result<Loaded, Error> {
    hide_password(place, Config::load(&place.path))
}

/// Reads the file for a machine that never signs in: serial, hostname and password may be missing.
pub(crate) fn load_offline(place: &Place) -> Result<Loaded, CliError> {
    hide_password(place, Config::load_offline(&place.path)).map_err(|error| explain(place, error))
}

fn hide_password(place: &Place, loaded: Result<(Config, Vec<Warning>), Error>) -> Result<Loaded, Error> {
    let (config, warnings) = loaded?;
    logging::secrets().add(&config.machine.password);
    Ok(Loaded { config, path: place.path.clone(), warnings })
}

/// Returns the error of a file that cannot be used.
pub(crate) fn explain(place: &Place, error: Error) -> CliError {
    match error {
        Error::Config(problems) => CliError::usage(format_args!("the configuration has problems:\n{problems}")),
        Error::File { source, .. } if source.kind() == ErrorKind::NotFound => CliError::usage(format_args!(
            "there is no configuration file {} ({})\n\n{}",
            place.path.display(),
            place.reason(),
            how_to_create(&place.path)
        )),
        // Most likely the wrong path.
        other => CliError::usage(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(option: Option<&str>, variables: &[(&str, &str)]) -> Vec<PathBuf> {
        let lookup = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        places(option.map(Path::new), &lookup).into_iter().map(|place| place.path).collect()
    }

    #[test]
    fn a_named_file_is_the_only_one() {
        assert_eq!(paths(Some("a.cfg"), &[("GF_MACHINE_CONFIG", "b.cfg")]), [Path::new("a.cfg")]);
        assert_eq!(paths(None, &[("GF_MACHINE_CONFIG", "b.cfg")]), [Path::new("b.cfg")]);
        assert_eq!(paths(None, &[("GF_MACHINE_CONFIG", "")]), [Path::new(DEFAULT)]);
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn the_users_folder_comes_last() {
        let in_folder = |folder: &str| [PathBuf::from(DEFAULT), Path::new(folder).join(FOLDER).join(DEFAULT)];
        assert_eq!(paths(None, &[("HOME", "/home/me")]), in_folder("/home/me/.config"));
        assert_eq!(paths(None, &[("HOME", "/home/me"), ("XDG_CONFIG_HOME", "/etc/my")]), in_folder("/etc/my"));
        for ignored in ["", "my/folder"] {
            let found = paths(None, &[("HOME", "/home/me"), ("XDG_CONFIG_HOME", ignored)]);
            assert_eq!(found, in_folder("/home/me/.config"));
        }
        assert_eq!(paths(None, &[]), [Path::new(DEFAULT)]);
    }
}
