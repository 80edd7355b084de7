//! The table of keys of a configuration file, and what they set.
//!
//! Used by the reader, the warnings about unknown keys and the test of the sample file. Includes keys of the Python
//! clients that have no effect here, so that they are checked and cause no warning.

use std::path::PathBuf;

use super::value::{self, Parsed};
use super::{Config, proxy};
use crate::Secret;

/// A key of the table.
pub(super) struct Key {
    /// In upper case.
    pub(super) section: &'static str,
    /// In lower case.
    pub(super) name: &'static str,
    /// Who defined it.
    pub(super) origin: Origin,
    /// The field it sets. Keys with the same field are synonyms; among those of one generation, the first takes
    /// precedence.
    pub(super) field: &'static str,
    /// Checks the value and sets the field.
    pub(super) set: fn(&mut Draft, &str) -> Parsed<()>,
}

/// Who defined a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The 1.x Python client.
    V1,
    /// The 2.6 Python client.
    V2,
    /// Both Python clients.
    Both,
    /// This project.
    New,
}

/// A configuration being read, with values that are combined at the end.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// `[LOGGING] dir`.
    log_dir: Option<PathBuf>,
    /// `[LOGGING] capture_dir`: replaces `dir` for pictures. A file may have both.
    capture_dir: Option<PathBuf>,
    /// `[LOGGING] save_sent_images`.
    save_sent_images: bool,
    /// `log_level` is `False`.
    no_log_file: bool,
    /// `proxy` is set, possibly to `none`: the environment is ignored.
    pub(super) proxy_is_set: bool,
}

impl Draft {
    /// Returns the configuration. `console_only`: the 1.x key for the console is set, and then there is no log file.
    pub(super) fn finish(self, console_only: bool) -> Config {
        let mut config = self.config;
        if self.save_sent_images {
            config.logging.sent_images_dir = Some(self.capture_dir.or(self.log_dir).unwrap_or_else(|| ".".into()));
        }
        if self.no_log_file || (console_only && config.logging.console_level.is_some()) {
            config.logging.file = None;
        }
        config
    }
}

/// Defines a key that parses a value and stores it in a field of [`Config`], or one with a setter of its own.
macro_rules! key {
    ($section:literal, $name:literal, $origin:ident, $parse:ident => $part:ident.$field:ident) => {
        Key {
            section: $section,
            name: $name,
            origin: Origin::$origin,
            field: concat!(stringify!($part), ".", stringify!($field)),
            set: |draft, text| value::$parse(text).map(|value| draft.config.$part.$field = value.into()),
        }
    };
    ($section:literal, $name:literal, $origin:ident, $field:expr, $set:expr) => {
        Key { section: $section, name: $name, origin: Origin::$origin, field: $field, set: $set }
    };
}

/// All keys.
pub(super) const KEYS: &[Key] = &[
    key!("GENERAL", "base_dir", V1, "general.base_dir", check_path),
    key!("GENERAL", "log_file", V1, optional_path => logging.file),
    key!("GENERAL", "log_level", V1, "logging.level", set_level),
    key!("GENERAL", "console_log_level", V1, level => logging.console_level),
    key!("GENERAL", "motion_dir", V1, path => motion.dir),
    key!("GENERAL", "firmware_check", V1, boolean => firmware.check),
    key!("GENERAL", "firmware_download", New, boolean => firmware.download),
    key!("GENERAL", "firmware_dir", V1, path => firmware.dir),
    key!("GENERAL", "image_dir", V1, path => emulator.image_dir),
    key!("SERVICE", "server_url", Both, https_url => service.server_url),
    key!("SERVICE", "status_service_url", Both, wss_url => service.status_service_url),
    key!("SERVICE", "protocol", New, generation => service.protocol),
    key!("SERVICE", "ca_file", New, optional_path => service.ca_file),
    key!("SERVICE", "user_agent", New, optional_header => service.user_agent),
    key!("SERVICE", "actions_file", New, optional_path => service.actions_file),
    key!("SERVICE", "retry_for_s", New, seconds => service.retry_for),
    key!("SERVICE", "proxy", New, "service.proxy", set_proxy),
    key!("MACHINE", "ip_address", V1, address => machine.ip_address),
    key!("MACHINE", "serial", Both, serial => machine.serial),
    key!("MACHINE", "hostname", Both, name => machine.hostname),
    key!("MACHINE", "password", Both, PASSWORD, |draft, text| {
        value::password(text).map(|password| draft.config.machine.password = Secret::new(password))
    }),
    key!("MACHINE", "head_id", V2, head_number => machine.head_id),
    key!("MACHINE", "head_serial", Both, head_number => machine.head_serial),
    key!("MACHINE", "head_firmware", Both, head_number => machine.head_firmware),
    key!("MACHINE", "firmware", V1, version => machine.firmware),
    key!("MACHINE", "app_version", V1, optional_name => machine.app_version),
    key!("MATERIAL", "thickness", V1, thickness => emulator.material_thickness),
    // The 2.6 client reads [FACTORY_FIRMWARE], and ignores its synonyms in [EMULATOR].
    key!("FACTORY_FIRMWARE", "check", V2, boolean => firmware.check),
    key!("FACTORY_FIRMWARE", "download_dir", V2, path => firmware.dir),
    key!("FACTORY_FIRMWARE", "fw_version", V2, version => machine.firmware),
    key!("FACTORY_FIRMWARE", "app_version", V2, optional_name => machine.app_version),
    key!("FACTORY_FIRMWARE", "status_file", V2, optional_path => firmware.status_file),
    key!("EMULATOR", "base_dir", V2, "emulator.base_dir", check_path),
    key!("EMULATOR", "firmware_check", V2, boolean => firmware.check),
    key!("EMULATOR", "firmware_download", New, boolean => firmware.download),
    key!("EMULATOR", "firmware_dl_dir", V2, path => firmware.dir),
    key!("EMULATOR", "motion_dl_dir", V2, path => motion.dir),
    key!("EMULATOR", "image_src_dir", V2, path => emulator.image_dir),
    key!("EMULATOR", "bypass_homing", V2, boolean => emulator.bypass_homing),
    key!("EMULATOR", "material_thickness", V2, thickness => emulator.material_thickness),
    key!("EMULATOR", "time_scale", New, time_scale_text => emulator.time_scale),
    key!("EMULATOR", "button", New, button => emulator.button),
    key!("EMULATOR", "button_timeout_s", New, button_timeout_s => emulator.button_timeout),
    key!("LOGGING", "dir", V2, "logging.dir", |draft, text| {
        value::optional_path(text).map(|dir| draft.log_dir = dir)
    }),
    key!("LOGGING", "capture_dir", V2, "logging.capture_dir", |draft, text| {
        value::optional_path(text).map(|dir| draft.capture_dir = dir)
    }),
    key!("LOGGING", "file", V2, optional_path => logging.file),
    key!("LOGGING", "level", V2, "logging.level", set_level),
    key!("LOGGING", "console_level", V2, level => logging.console_level),
    key!("LOGGING", "save_sent_images", V2, "logging.sent_images_dir", |draft, text| {
        value::boolean(text).map(|save| draft.save_sent_images = save)
    }),
    key!("LOGGING", "record", New, optional_path => logging.record_dir),
    key!("LOGGING", "record_serial", New, boolean => logging.record_serial),
    // No effect in an emulator. There, save_puls asks for a second copy of each job; the first stays in any case.
    key!("LOGGING", "save_puls", V2, "logging.save_puls", |_, text| value::boolean(text).map(|_| ())),
    key!("FORGECTRL", "url", V2, "forgectrl.url", |_, _| Ok(())),
    key!("THERMAL", "water_heater_percent", V2, "thermal.heater", |_, text| value::percent(text)),
    key!("THERMAL", "max_start_temp", V2, "thermal.start", |_, text| value::temperature(text)),
    key!("THERMAL", "max_run_temp", V2, "thermal.run", |_, text| value::temperature(text)),
    key!("MOTION", "z_home_offset", V2, "motion.z_home_offset", |_, text| value::steps(text)),
    key!("MOTION", "warm_up_delay", V2, seconds => emulator.warm_up),
    key!("MOTION", "cool_down_delay", V2, seconds => emulator.cool_down),
    key!("MOTION", "keep_jobs", New, boolean => motion.keep),
    key!("MOTION", "remark_bytes", New, limit_bytes => motion.remark_bytes),
    key!("MOTION", "refuse_bytes", New, limit_bytes => motion.refuse_bytes),
    key!("MOTION", "refuse_inflated_bytes", New, limit_bytes => motion.refuse_inflated_bytes),
];

/// Checks keys that only other values refer to.
fn check_path(_: &mut Draft, text: &str) -> Parsed<()> {
    value::optional_path(text).map(|_| ())
}

/// The fields required for signing in.
pub(super) const SERIAL: &str = "machine.serial";
pub(super) const HOSTNAME: &str = "machine.hostname";
pub(super) const PASSWORD: &str = "machine.password";

fn set_level(draft: &mut Draft, text: &str) -> Parsed<()> {
    match value::level(text)? {
        Some(level) => draft.config.logging.level = level,
        None => draft.no_log_file = true,
    }
    Ok(())
}

fn set_proxy(draft: &mut Draft, text: &str) -> Parsed<()> {
    if !text.is_empty() {
        // Also if it is invalid: then the environment's proxy is not checked, either.
        draft.proxy_is_set = true;
        draft.config.service.proxy = proxy::setting(text)?;
    }
    Ok(())
}

/// Returns the key that an unknown `name` in `section` (both in the table's case) is probably a misspelling of.
pub(super) fn near(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && is_near(key.name, name)).or_else(|| {
        // The right name in the wrong section.
        KEYS.iter().find(|key| key.name == name)
    })
}

/// Returns the section that an unknown `name`, in upper case, is probably a misspelling of.
pub(super) fn near_section(name: &str) -> Option<&'static str> {
    KEYS.iter().map(|key| key.section).find(|section| is_near(section, name))
}

/// Returns whether the edit distance is at most 2.
fn is_near(a: &str, b: &str) -> bool {
    const MAX_DISTANCE: usize = 2;
    if a.len().abs_diff(b.len()) > MAX_DISTANCE || a.len().min(b.len()) <= MAX_DISTANCE {
        return false;
    }
    // Levenshtein distance, one row at a time.
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, of_b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(of_a != *of_b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()] <= MAX_DISTANCE
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_consistent() {
        let mut names = HashSet::new();
        for key in KEYS {
            let name = format!("[{}] {}", key.section, key.name);
            assert_eq!(key.section, key.section.to_uppercase(), "{name}");
            assert_eq!(key.name, key.name.to_lowercase(), "{name}");
            assert!(key.field.contains('.'), "{name}");
            assert!(names.insert(name.clone()), "{name} is duplicated");
        }
    }

    #[test]
    fn finds_similar_names() {
        let near = |section, name| near(section, name).map(|key| (key.section, key.name));
        assert_eq!(near("MACHINE", "pasword"), Some(("MACHINE", "password")));
        assert_eq!(near("EMULATOR", "timescale"), Some(("EMULATOR", "time_scale")));
        assert_eq!(near("MACHINE", "motion_dir"), Some(("GENERAL", "motion_dir")));
        assert_eq!(near("MACHINE", "colour"), None);
        assert_eq!(near("LOGGING", "x"), None);
        assert_eq!(near_section("MASCHINE"), Some("MACHINE"));
        assert_eq!(near_section("FORGECTL"), Some("FORGECTRL"));
        assert_eq!(near_section("OTHER"), None);
    }
}
