//! [`Template`]: one configuration file for many machines.

use std::path::Path;

use super::keys::{HOSTNAME, KEYS, PASSWORD, SERIAL};
use super::read::{PASSWORD_VARIABLE, Purpose, SERIAL_VARIABLE, environment, read_text};
use super::text::Text;
use super::{Config, Problems, Warning};
use crate::Secret;

/// A configuration file from which the configurations of many machines are made.
///
/// Each machine has its own serial number, which `%(serial)s` in `[MACHINE]` refers to. Everything else is the same,
/// unless it is given.
///
/// ```
/// use gf_emulator_core::config::{MachineIdentity, Template};
///
/// let digits = "f".repeat(61); // and three of the serial number: 64
/// let text = format!("[MACHINE]\nserial: 100\nhostname: M-%(serial)s\npassword: {digits}%(serial)s\n");
/// let template = Template::new("example", &text);
/// let (config, _) = template.machine(&MachineIdentity::new(101))?;
/// assert_eq!(config.machine.hostname, "M-101");
/// # Ok::<(), gf_emulator_core::config::Problems>(())
/// ```
#[derive(Debug, Clone)]
pub struct Template {
    source_name: String,
    text: Secret,
}

/// What is particular to one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineIdentity {
    /// The serial number, without the leading `S`.
    pub serial: u32,
    /// Replaces `hostname`.
    pub hostname: Option<String>,
    /// Replaces `password`.
    pub password: Option<Secret>,
}

impl MachineIdentity {
    /// Returns one with a serial number alone.
    #[must_use]
    pub const fn new(serial: u32) -> Self {
        Self { serial, hostname: None, password: None }
    }
}

impl Template {
    /// Takes the text of a `.cfg` file. `source_name` is used in messages.
    #[must_use]
    pub fn new(source_name: &str, text: &str) -> Self {
        Self { source_name: source_name.into(), text: Secret::new(text) }
    }

    /// Reads a `.cfg` file.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) if the file cannot be read or is not a regular file;
    /// [`Error::Config`](crate::Error::Config) if it is too large or not text. Other problems are found by
    /// [`machine`](Self::machine).
    pub fn from_file(path: impl AsRef<Path>) -> crate::Result<Self> {
        let path = path.as_ref();
        Ok(Self::new(&path.display().to_string(), &read_text(path)?))
    }

    /// Returns the name of the file, as in messages.
    #[must_use]
    pub fn source_name(&self) -> &str {
        &self.source_name
    }

    /// Returns the serial number of the file, or of `GF_MACHINE_SERIAL` in the environment.
    ///
    /// # Errors
    ///
    /// All problems of the file.
    pub fn serial(&self) -> Result<u32, Problems> {
        let config = Config::from_cfg(&self.source_name, self.text.reveal(), &environment);
        config.map(|(config, _)| config.machine.serial)
    }

    /// Returns the configuration of one machine, and warnings about the file.
    ///
    /// `GF_MACHINE_SERIAL` in the environment is ignored. `GF_MACHINE_PASSWORD` is used if `identity` has no password.
    ///
    /// # Errors
    ///
    /// All problems of the file, and of `identity`.
    pub fn machine(&self, identity: &MachineIdentity) -> Result<(Config, Vec<Warning>), Problems> {
        let serial = identity.serial.to_string();
        let replaced = [
            (SERIAL, Some(serial.as_str())),
            (HOSTNAME, identity.hostname.as_deref()),
            (PASSWORD, identity.password.as_ref().map(Secret::reveal)),
        ];
        let change = |text: &mut Text| {
            for (field, value) in replaced {
                let key = KEYS.iter().find(|key| key.field == field);
                if let (Some(key), Some(value)) = (key, value) {
                    text.set(&key.section.to_lowercase(), key.name, value);
                }
            }
        };
        let variable = |name: &str| {
            let is_replaced = name == SERIAL_VARIABLE || (name == PASSWORD_VARIABLE && identity.password.is_some());
            if is_replaced { None } else { environment(name) }
        };
        Config::read_changed(Purpose::Online, &self.source_name, self.text.reveal(), &change, &variable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD_START: &str = "00112233445566778899aabbccddeeff00112233445566778899aabb";

    fn template(machine: &str) -> Template {
        Template::new("t.cfg", &format!("[GENERAL]\nmotion_dir: m\n[MACHINE]\n{machine}"))
    }

    #[test]
    fn each_machine_has_its_serial_number_wherever_the_file_refers_to_it() {
        let template = template(&format!("serial: 7\nhostname: M-%(serial)s\npassword: {PASSWORD_START}%(serial)s\n"));
        let (config, warnings) = template.machine(&MachineIdentity::new(12_345_678)).unwrap();
        assert_eq!((config.machine.serial, &*config.machine.hostname), (12_345_678, "M-12345678"));
        assert_eq!(config.machine.password.reveal(), format!("{PASSWORD_START}12345678"));
        assert!(warnings.is_empty(), "{warnings:?}");
        let problems = template.machine(&MachineIdentity::new(7)).unwrap_err().to_string();
        assert!(problems.starts_with("t.cfg:6: password must be"), "{problems}");
    }

    #[test]
    fn what_is_given_replaces_what_the_file_has_or_lacks() {
        let mut identity = MachineIdentity::new(5);
        identity.hostname = Some("ABC-123".into());
        identity.password = Some(Secret::new("ab".repeat(32)));
        for text in ["", "serial: x\nhostname: y\npassword: %(serial)s\n"] {
            let (config, _) = template(text).machine(&identity).unwrap();
            assert_eq!((config.machine.serial, &*config.machine.hostname), (5, "ABC-123"));
            assert_eq!(config.machine.password.reveal(), "ab".repeat(32));
        }
        let bare = Template::new("t.cfg", "").machine(&identity).unwrap().0;
        assert_eq!(bare.machine.serial, 5);
        identity.hostname = Some("%(serial)s".into());
        let problems = template("").machine(&identity).unwrap_err().to_string();
        assert!(problems.contains("hostname must be"), "not a reference: {problems}");
    }

    #[test]
    fn it_prints_without_the_password() {
        assert!(!format!("{:?}", template("password: hunter2")).contains("hunter2"));
    }
}
