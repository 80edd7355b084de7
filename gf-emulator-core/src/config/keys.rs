//! The table of keys: every name that a configuration file may use, and what it sets.
//!
//! The parser, the remarks on unknown keys and the test of the sample file walk this one table. A key of the Python
//! clients that means nothing here is in it too, so that it is neither remarked on nor left unchecked.

use std::path::PathBuf;

use super::value::{self, Checked};
use super::{Config, proxy};
use crate::Secret;

/// One key.
pub(super) struct Key {
    /// In upper case.
    pub(super) section: &'static str,
    /// In lower case.
    pub(super) name: &'static str,
    /// Whose it is.
    pub(super) origin: Origin,
    /// What it sets. Keys with the same field are two names of one thing; the first in the table counts where both are
    /// of one generation.
    pub(super) field: &'static str,
    /// In a few words.
    pub(super) about: &'static str,
    /// Checks the value and sets the field.
    pub(super) set: fn(&mut Draft, &str) -> Checked<()>,
}

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The 1.x Python client's.
    V1,
    /// The 2.6 Python client's.
    V2,
    /// Both of them have it.
    Both,
    /// This project's own.
    New,
}

/// A configuration under way, with what only makes sense once every key is read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// `[LOGGING] dir`.
    log_dir: Option<PathBuf>,
    /// `[LOGGING] save_sent_images`.
    save_sent_images: bool,
    /// A `log_level` of `False`.
    no_log_file: bool,
    /// A `proxy`, if only to say that there is none: the environment does not count then.
    pub(super) proxy_is_set: bool,
}

impl Draft {
    /// `console_only` where the 1.x names ask for the console: that client writes no file then.
    pub(super) fn finish(self, console_only: bool) -> Config {
        let mut config = self.config;
        if self.save_sent_images {
            config.logging.sent_images_dir = Some(self.log_dir.unwrap_or_else(|| ".".into()));
        }
        if self.no_log_file || (console_only && config.logging.console_level.is_some()) {
            config.logging.file = None;
        }
        config
    }
}

const fn key(
    section: &'static str,
    name: &'static str,
    origin: Origin,
    field: &'static str,
    about: &'static str,
    set: fn(&mut Draft, &str) -> Checked<()>,
) -> Key {
    Key { section, name, origin, field, about, set }
}

/// For keys that only other values refer to.
fn only_a_path(_: &mut Draft, text: &str) -> Checked<()> {
    value::optional_path(text).map(|_| ())
}

/// Every key there is.
pub(super) const KEYS: &[Key] = &[
    key("GENERAL", "base_dir", Origin::V1, "general.base_dir", "for %(base_dir)s in other values", only_a_path),
    key("GENERAL", "log_file", Origin::V1, "logging.file", "the log file", |d, t| {
        value::optional_path(t).map(|file| d.config.logging.file = file)
    }),
    key("GENERAL", "log_level", Origin::V1, "logging.level", "the log file's level", set_level),
    key("GENERAL", "console_log_level", Origin::V1, "logging.console_level", "the console's level", |d, t| {
        value::level(t).map(|level| d.config.logging.console_level = level)
    }),
    key("GENERAL", "motion_dir", Origin::V1, "motion.dir", "where jobs are kept", |d, t| {
        value::path(t).map(|dir| d.config.motion.dir = dir)
    }),
    key("GENERAL", "firmware_check", Origin::V1, "firmware.check", "ask for the current firmware version", |d, t| {
        value::boolean(t).map(|check| d.config.firmware.check = check)
    }),
    key("GENERAL", "firmware_download", Origin::New, "firmware.download", "download firmware that differs", |d, t| {
        value::boolean(t).map(|download| d.config.firmware.download = Some(download))
    }),
    key("GENERAL", "firmware_dir", Origin::V1, "firmware.dir", "where firmware is kept", |d, t| {
        value::path(t).map(|dir| d.config.firmware.dir = dir)
    }),
    key("GENERAL", "image_dir", Origin::V1, "emulator.image_dir", "where the canned pictures are", |d, t| {
        value::path(t).map(|dir| d.config.emulator.image_dir = dir)
    }),
    key("SERVICE", "server_url", Origin::Both, "service.server_url", "the service's web address", |d, t| {
        value::url(t, "https", "http").map(|url| d.config.service.server_url = url.into())
    }),
    key("SERVICE", "status_service_url", Origin::Both, "service.status_service_url", "its WebSocket", |d, t| {
        value::url(t, "wss", "ws").map(|url| d.config.service.status_service_url = url.into())
    }),
    key("SERVICE", "protocol", Origin::New, "service.protocol", "the generation to speak", |d, t| {
        value::generation(t).map(|generation| d.config.service.protocol = generation)
    }),
    key("SERVICE", "ca_file", Origin::New, "service.ca_file", "more root certificates to trust", |d, t| {
        value::optional_path(t).map(|file| d.config.service.ca_file = file)
    }),
    key("SERVICE", "user_agent", Origin::New, "service.user_agent", "the User-Agent of every request", |d, t| {
        d.config.service.user_agent = if t.is_empty() { None } else { Some(value::header(t)?.into()) };
        Ok(())
    }),
    key("SERVICE", "actions_file", Origin::New, "service.actions_file", "an actions table of one's own", |d, t| {
        value::optional_path(t).map(|file| d.config.service.actions_file = file)
    }),
    key("SERVICE", "retry_for_s", Origin::New, "service.retry_for", "how long to keep trying at start", |d, t| {
        value::seconds(t).map(|time| d.config.service.retry_for = time)
    }),
    key("SERVICE", "proxy", Origin::New, "service.proxy", "the HTTP proxy to go through", set_proxy),
    key("MACHINE", "ip_address", Origin::V1, "machine.ip_address", "the address that the machine reports", |d, t| {
        value::address(t).map(|_| d.config.machine.ip_address = t.into())
    }),
    key("MACHINE", "serial", Origin::Both, SERIAL, "the machine's serial number", |d, t| {
        value::serial(t).map(|serial| d.config.machine.serial = serial)
    }),
    key("MACHINE", "hostname", Origin::Both, HOSTNAME, "the machine's name", |d, t| {
        value::name(t).map(|hostname| d.config.machine.hostname = hostname.into())
    }),
    key("MACHINE", "password", Origin::Both, PASSWORD, "the machine's password", |d, t| {
        value::password(t).map(|password| d.config.machine.password = Secret::new(password))
    }),
    key("MACHINE", "head_id", Origin::V2, "machine.head_id", "the head's id", |d, t| {
        value::head_number(t).map(|id| d.config.machine.head_id = id)
    }),
    key("MACHINE", "head_serial", Origin::Both, "machine.head_serial", "the head's serial number", |d, t| {
        value::head_number(t).map(|serial| d.config.machine.head_serial = serial)
    }),
    key("MACHINE", "head_firmware", Origin::Both, "machine.head_firmware", "the head's firmware", |d, t| {
        value::head_number(t).map(|firmware| d.config.machine.head_firmware = firmware)
    }),
    key("MACHINE", "firmware", Origin::V1, "machine.firmware", "the firmware version to report", |d, t| {
        value::version(t).map(|version| d.config.machine.firmware = version.into())
    }),
    key("MACHINE", "app_version", Origin::V1, "machine.app_version", "the application's version", set_app_version),
    key("MATERIAL", "thickness", Origin::V1, "emulator.material_thickness", "picks the head pictures", |d, t| {
        value::thickness(t).map(|thickness| d.config.emulator.material_thickness = thickness.into())
    }),
    // Where [FACTORY_FIRMWARE] and [EMULATOR] name one thing, the 2.6 client acts on the former.
    key("FACTORY_FIRMWARE", "check", Origin::V2, "firmware.check", "as firmware_check", |d, t| {
        value::boolean(t).map(|check| d.config.firmware.check = check)
    }),
    key("FACTORY_FIRMWARE", "download_dir", Origin::V2, "firmware.dir", "as firmware_dir", |d, t| {
        value::path(t).map(|dir| d.config.firmware.dir = dir)
    }),
    key("FACTORY_FIRMWARE", "fw_version", Origin::V2, "machine.firmware", "as firmware", |d, t| {
        value::version(t).map(|version| d.config.machine.firmware = version.into())
    }),
    key("FACTORY_FIRMWARE", "app_version", Origin::V2, "machine.app_version", "as in [MACHINE]", set_app_version),
    key("EMULATOR", "base_dir", Origin::V2, "emulator.base_dir", "for %(base_dir)s in other values", only_a_path),
    key("EMULATOR", "firmware_check", Origin::V2, "firmware.check", "as in [GENERAL]", |d, t| {
        value::boolean(t).map(|check| d.config.firmware.check = check)
    }),
    key("EMULATOR", "firmware_download", Origin::New, "firmware.download", "as in [GENERAL]", |d, t| {
        value::boolean(t).map(|download| d.config.firmware.download = Some(download))
    }),
    key("EMULATOR", "firmware_dl_dir", Origin::V2, "firmware.dir", "as firmware_dir", |d, t| {
        value::path(t).map(|dir| d.config.firmware.dir = dir)
    }),
    key("EMULATOR", "motion_dl_dir", Origin::V2, "motion.dir", "as motion_dir", |d, t| {
        value::path(t).map(|dir| d.config.motion.dir = dir)
    }),
    key("EMULATOR", "image_src_dir", Origin::V2, "emulator.image_dir", "as image_dir", |d, t| {
        value::path(t).map(|dir| d.config.emulator.image_dir = dir)
    }),
    key("EMULATOR", "bypass_homing", Origin::V2, "emulator.bypass_homing", "have the service skip homing", |d, t| {
        value::boolean(t).map(|bypass| d.config.emulator.bypass_homing = bypass)
    }),
    key("EMULATOR", "material_thickness", Origin::V2, "emulator.material_thickness", "as thickness", |d, t| {
        value::thickness(t).map(|thickness| d.config.emulator.material_thickness = thickness.into())
    }),
    key("EMULATOR", "time_scale", Origin::New, "emulator.time_scale", "how long the machine's doings take", |d, t| {
        value::time_scale_text(t).map(|scale| d.config.emulator.time_scale = scale)
    }),
    key("EMULATOR", "button", Origin::New, "emulator.button", "who presses the button", |d, t| {
        value::button(t).map(|button| d.config.emulator.button = button)
    }),
    key("LOGGING", "dir", Origin::V2, "logging.dir", "where sent pictures are kept", |d, t| {
        value::optional_path(t).map(|dir| d.log_dir = dir)
    }),
    key("LOGGING", "file", Origin::V2, "logging.file", "as log_file", |d, t| {
        value::optional_path(t).map(|file| d.config.logging.file = file)
    }),
    key("LOGGING", "level", Origin::V2, "logging.level", "as log_level", set_level),
    key("LOGGING", "console_level", Origin::V2, "logging.console_level", "as console_log_level", |d, t| {
        value::level(t).map(|level| d.config.logging.console_level = level)
    }),
    key("LOGGING", "save_sent_images", Origin::V2, "logging.sent_images_dir", "keep the pictures sent", |d, t| {
        value::boolean(t).map(|save| d.save_sent_images = save)
    }),
    key("LOGGING", "save_puls", Origin::V2, "motion.keep", "keep the jobs once they are over", |d, t| {
        value::boolean(t).map(|keep| d.config.motion.keep = keep)
    }),
    key("LOGGING", "record", Origin::New, "logging.record_dir", "where sessions are recorded", |d, t| {
        value::optional_path(t).map(|dir| d.config.logging.record_dir = dir)
    }),
    key("LOGGING", "record_serial", Origin::New, "logging.record_serial", "recordings have the serial", |d, t| {
        value::boolean(t).map(|shown| d.config.logging.record_serial = shown)
    }),
    key("THERMAL", "water_heater_percent", Origin::V2, "thermal.heater", "drives nothing here", |_, t| {
        value::percent(t)
    }),
    key("THERMAL", "max_start_temp", Origin::V2, "thermal.start", "drives nothing here", |_, t| value::temperature(t)),
    key("THERMAL", "max_run_temp", Origin::V2, "thermal.run", "drives nothing here", |_, t| value::temperature(t)),
    key("MOTION", "z_home_offset", Origin::V2, "motion.z_home_offset", "drives nothing here", |_, t| value::steps(t)),
    key("MOTION", "warm_up_delay", Origin::V2, "emulator.warm_up", "seconds before a print runs", |d, t| {
        value::seconds(t).map(|time| d.config.emulator.warm_up = time)
    }),
    key("MOTION", "cool_down_delay", Origin::V2, "emulator.cool_down", "seconds after it has parked", |d, t| {
        value::seconds(t).map(|time| d.config.emulator.cool_down = time)
    }),
    key("MOTION", "remark_bytes", Origin::New, "motion.remark_bytes", "the size that is remarked on", |d, t| {
        value::limit_bytes(t).map(|limit| d.config.motion.remark_bytes = limit)
    }),
    key("MOTION", "refuse_bytes", Origin::New, "motion.refuse_bytes", "the size that is refused", |d, t| {
        value::limit_bytes(t).map(|limit| d.config.motion.refuse_bytes = limit)
    }),
    key(
        "MOTION",
        "refuse_inflated_bytes",
        Origin::New,
        "motion.refuse_inflated_bytes",
        "the same, once inflated",
        |d, t| value::limit_bytes(t).map(|limit| d.config.motion.refuse_inflated_bytes = limit),
    ),
];

/// The three fields without which there is nobody to sign in.
pub(super) const SERIAL: &str = "machine.serial";
pub(super) const HOSTNAME: &str = "machine.hostname";
pub(super) const PASSWORD: &str = "machine.password";

fn set_level(draft: &mut Draft, text: &str) -> Checked<()> {
    match value::level(text)? {
        Some(level) => draft.config.logging.level = level,
        None => draft.no_log_file = true,
    }
    Ok(())
}

fn set_app_version(draft: &mut Draft, text: &str) -> Checked<()> {
    draft.config.machine.app_version = if text.is_empty() { None } else { Some(value::name(text)?.into()) };
    Ok(())
}

fn set_proxy(draft: &mut Draft, text: &str) -> Checked<()> {
    if !text.is_empty() {
        // One that is wrong is set all the same: what the environment has is not looked at, nor complained of.
        draft.proxy_is_set = true;
        draft.config.service.proxy = proxy::setting(text)?;
    }
    Ok(())
}

/// The key of the table that `name` in `section` (both as the table writes them) is likely meant to be.
pub(super) fn near(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && is_near(key.name, name)).or_else(|| {
        // The right name in the wrong place.
        KEYS.iter().find(|key| key.name == name)
    })
}

/// The section of the table that `name`, in upper case, is likely meant to be.
pub(super) fn near_section(name: &str) -> Option<&'static str> {
    KEYS.iter().map(|key| key.section).find(|section| is_near(section, name))
}

/// Whether one or two letters make the difference.
fn is_near(a: &str, b: &str) -> bool {
    const NEAR: usize = 2;
    if a.len().abs_diff(b.len()) > NEAR || a.len().min(b.len()) <= NEAR {
        return false;
    }
    // The edit distance, one row of its table at a time.
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
    row[b.len()] <= NEAR
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_in_order() {
        let mut names = HashSet::new();
        for key in KEYS {
            let name = format!("[{}] {}", key.section, key.name);
            assert_eq!(key.section, key.section.to_uppercase(), "{name}");
            assert_eq!(key.name, key.name.to_lowercase(), "{name}");
            assert!(!key.about.is_empty() && key.field.contains('.'), "{name}");
            assert!(names.insert(name.clone()), "{name} is there twice");
        }
    }

    #[test]
    fn near_names_are_found() {
        let near = |section, name| near(section, name).map(|key| (key.section, key.name));
        assert_eq!(near("MACHINE", "pasword"), Some(("MACHINE", "password")));
        assert_eq!(near("EMULATOR", "timescale"), Some(("EMULATOR", "time_scale")));
        assert_eq!(near("MACHINE", "motion_dir"), Some(("GENERAL", "motion_dir")));
        assert_eq!(near("MACHINE", "colour"), None);
        assert_eq!(near("LOGGING", "x"), None);
        assert_eq!(near_section("MASCHINE"), Some("MACHINE"));
        assert_eq!(near_section("FORGECTRL"), None);
    }
}
