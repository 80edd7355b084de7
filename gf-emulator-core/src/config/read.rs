//! Reads a [`Config`] from a file or text, and checks whole configurations.
//!
//! Driven by the table of keys. Refers by name only to the required keys, and to those with special rules.

use std::io::Read;
use std::path::Path;

use super::interpolation::{self, Budget, InterpolationError, Scope};
use super::keys::{self, Draft, HOSTNAME, KEYS, Key, Origin, PASSWORD, SERIAL};
use super::text::{Entry, Text, shown};
use super::value::{self, Parsed};
use super::{Config, Generation, Problem, Problems, Proxy, Service, Warning};
use crate::{Error, files};

/// More than any configuration needs.
const MAX_FILE_BYTES: usize = 1 << 20;

pub(super) const SERIAL_VARIABLE: &str = "GF_MACHINE_SERIAL";
pub(super) const PASSWORD_VARIABLE: &str = "GF_MACHINE_PASSWORD";
/// Environment variables that override the file, by field.
const VARIABLES: [(&str, &str); 2] = [(SERIAL, SERIAL_VARIABLE), (PASSWORD, PASSWORD_VARIABLE)];

/// A key set by the file, in its section or in `[DEFAULT]`.
struct Setting<'t> {
    key: &'static Key,
    line: usize,
    /// Set in `[DEFAULT]`; a key in its own section takes precedence.
    is_default: bool,
    value: Result<String, InterpolationError>,
    entry: &'t Entry,
}

impl Setting<'_> {
    fn is_empty(&self) -> bool {
        self.value.as_ref().is_ok_and(String::is_empty)
    }

    /// Returns what may help with a wrong value, which is not shown: it may be a secret, right or wrong.
    fn hint(&self) -> &'static str {
        if self.entry.value.contains(['#', ';']) { "; a comment after a value is taken as part of it" } else { "" }
    }
}

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A machine that signs in to a service.
    Online,
    /// A machine without a service: see [`Config::load_offline`].
    Offline,
}

/// Reads the fields of a parsed file.
struct Reader<'t> {
    purpose: Purpose,
    text: &'t Text,
    scopes: Vec<Scope<'t>>,
    budget: Budget,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Config {
    /// Reads a `.cfg` file: of either generation of the Python client, or with this project's own keys.
    ///
    /// The environment variables `GF_MACHINE_SERIAL` and `GF_MACHINE_PASSWORD` override the file. If the file has no
    /// `proxy`, the environment's proxy is used ([`Proxy::from_environment`]). Warnings, such as unknown keys, are
    /// logged. Relative paths are relative to the current directory.
    ///
    /// ```no_run
    /// use gf_emulator_core::Config;
    ///
    /// let config = Config::from_file("gf-machine-emulator.cfg")?;
    /// println!("{} speaks {}", config.machine.hostname, config.generation());
    /// # Ok::<(), gf_emulator_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the file cannot be read or is not a regular file; [`Error::Config`] with all problems in it.
    pub fn from_file(path: impl AsRef<Path>) -> crate::Result<Self> {
        let path = path.as_ref();
        let (config, warnings) = Self::load(path)?;
        for warning in warnings {
            log::warn!("{}:{}: {}", path.display(), warning.line, warning.what);
        }
        Ok(config)
    }

    /// As [`Config::from_file`], but returns the warnings instead of logging them.
    ///
    /// # Errors
    ///
    /// As [`Config::from_file`].
    pub fn load(path: impl AsRef<Path>) -> crate::Result<(Self, Vec<Warning>)> {
        Self::load_for(Purpose::Online, path.as_ref())
    }

    /// As [`Config::load`], for a machine without a service ([`Emulator::offline`](crate::Emulator::offline)): serial
    /// number (default 0), host name and password are optional, the password is not checked, and the environment's
    /// proxy is ignored.
    ///
    /// # Errors
    ///
    /// As [`Config::from_file`].
    pub fn load_offline(path: impl AsRef<Path>) -> crate::Result<(Self, Vec<Warning>)> {
        Self::load_for(Purpose::Offline, path.as_ref())
    }

    fn load_for(purpose: Purpose, path: &Path) -> crate::Result<(Self, Vec<Warning>)> {
        let text = read_text(path)?;
        Ok(Self::read_cfg(purpose, &path.display().to_string(), &text, &environment)?)
    }

    /// Reads the text of a `.cfg` file. `variable` looks up environment variables; `source_name` is used in messages.
    ///
    /// If a file uses several names of a setting, their values must be equal. There is one exception: if a key of
    /// `[FACTORY_FIRMWARE]` and one of `[EMULATOR]` differ, the first counts, with a warning.
    ///
    /// ```
    /// use gf_emulator_core::Config;
    ///
    /// let text = "[MACHINE]\nserial: 12345678\nhostname: ABC-123\n[EMULATOR]\nmotion_dir: jobs\n";
    /// let variable = |name: &str| (name == "GF_MACHINE_PASSWORD").then(|| "0123456789abcdef".repeat(4));
    /// let (config, warnings) = Config::from_cfg("example", text, &variable)?;
    /// assert_eq!(config.machine.serial, 12_345_678);
    /// assert_eq!(warnings[0].to_string(), "line 5: unknown key motion_dir in [EMULATOR]: it belongs in [GENERAL]");
    /// # Ok::<(), gf_emulator_core::config::Problems>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All problems in the order of their lines, followed by what is missing.
    pub fn from_cfg(
        source_name: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Warning>), Problems> {
        Self::read_cfg(Purpose::Online, source_name, text, variable)
    }

    pub(super) fn read_cfg(
        purpose: Purpose,
        source_name: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Warning>), Problems> {
        Self::read_changed(purpose, source_name, text, &|_| (), variable)
    }

    /// As [`read_cfg`](Self::read_cfg), after `change` has changed the parsed file.
    pub(super) fn read_changed(
        purpose: Purpose,
        source_name: &str,
        text: &str,
        change: &dyn Fn(&mut Text),
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Warning>), Problems> {
        if text.len() > MAX_FILE_BYTES {
            return Err(file_too_large(source_name));
        }
        let mut problems = Vec::new();
        let mut text = Text::parse(text, &mut problems);
        change(&mut text);
        let mut reader = Reader::new(purpose, &text, problems);
        let config = reader.config(variable);

        let Reader { mut problems, mut warnings, .. } = reader;
        warnings.sort_by_key(|warning| warning.line);
        if problems.is_empty() {
            return Ok((config, warnings));
        }
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        // An invalid value is reported again for every value that refers to it.
        problems.dedup();
        Err(Problems { source: source_name.into(), list: problems, warnings })
    }

    /// Checks a configuration built in code by the rules for files.
    ///
    /// # Errors
    ///
    /// All problems in the order of the fields.
    pub fn check(&self) -> Result<(), Problems> {
        self.check_fields(|_| true)
    }

    /// As [`Config::check`], for a machine without a service: ignores its identity and `[SERVICE]`.
    pub(crate) fn check_offline(&self) -> Result<(), Problems> {
        self.check_fields(|field| !field.starts_with("service.") && ![SERIAL, HOSTNAME, PASSWORD].contains(&field))
    }

    fn check_fields(&self, counts: impl Fn(&str) -> bool) -> Result<(), Problems> {
        fn base_url(url: &str, parse: fn(&str) -> Parsed<&str>) -> Parsed<()> {
            let trimmed = parse(url)?;
            if trimmed.len() == url.len() { Ok(()) } else { Err("a URL that does not end with a slash") }
        }
        fn path(path: &Path) -> Parsed<()> {
            if path.as_os_str().is_empty() { Err("a path") } else { Ok(()) }
        }
        fn unit<T>(checked: Parsed<T>) -> Parsed<()> {
            checked.map(|_| ())
        }
        let Self { service, machine, firmware, emulator, motion, logging } = self;
        let optional = |text: &Option<String>, check: fn(&str) -> Parsed<&str>| match text {
            Some(text) => unit(check(text)),
            None => Ok(()),
        };
        let checks = [
            ("service.server_url", base_url(&service.server_url, value::https_url)),
            ("service.status_service_url", base_url(&service.status_service_url, value::wss_url)),
            ("service.ca_file", service.ca_file.as_deref().map_or(Ok(()), path)),
            ("service.user_agent", optional(&service.user_agent, value::header)),
            ("service.actions_file", service.actions_file.as_deref().map_or(Ok(()), path)),
            ("service.retry_for", unit(value::time(service.retry_for))),
            (SERIAL, unit(value::serial(&machine.serial.to_string()))),
            (HOSTNAME, unit(value::name(&machine.hostname))),
            (PASSWORD, unit(value::password(machine.password.reveal()))),
            ("machine.firmware", unit(value::version(&machine.firmware))),
            ("machine.app_version", optional(&machine.app_version, value::name)),
            ("machine.ip_address", unit(value::address(&machine.ip_address))),
            ("machine.head_id", value::head(machine.head_id)),
            ("machine.head_serial", value::head(machine.head_serial)),
            ("machine.head_firmware", value::head(machine.head_firmware)),
            ("firmware.dir", path(&firmware.dir)),
            ("firmware.status_file", firmware.status_file.as_deref().map_or(Ok(()), path)),
            ("emulator.image_dir", path(&emulator.image_dir)),
            ("emulator.material_thickness", unit(value::thickness(&emulator.material_thickness))),
            ("emulator.time_scale", unit(value::time_scale(emulator.time_scale))),
            ("emulator.button_timeout", unit(value::button_timeout(emulator.button_timeout))),
            ("emulator.warm_up", unit(value::time(emulator.warm_up))),
            ("emulator.cool_down", unit(value::time(emulator.cool_down))),
            ("motion.dir", path(&motion.dir)),
            ("logging.file", logging.file.as_deref().map_or(Ok(()), path)),
            ("logging.sent_images_dir", logging.sent_images_dir.as_deref().map_or(Ok(()), path)),
        ];
        let wrong = |(field, checked): (&str, Parsed<()>)| {
            checked.err().map(|right| Problem { line: None, what: format!("{field} must be {right}") })
        };
        let list: Vec<_> = checks.into_iter().filter(|(field, _)| counts(field)).filter_map(wrong).collect();
        if list.is_empty() {
            Ok(())
        } else {
            Err(Problems { source: "configuration".into(), list, warnings: Vec::new() })
        }
    }
}

fn file_too_large(source: &str) -> Problems {
    Problems::one(source, None, format!("larger than {MAX_FILE_BYTES} bytes: not a configuration file"))
}

/// Reads the text of a configuration file.
pub(super) fn read_text(path: &Path) -> crate::Result<String> {
    let file_error = |source| Error::File { doing: "read", path: path.into(), source };
    let mut bytes = Vec::new();
    // One more byte, to detect a larger file.
    let limit = MAX_FILE_BYTES as u64 + 1;
    files::open(path)?.take(limit).read_to_end(&mut bytes).map_err(file_error)?;

    let source = path.display().to_string();
    let too_large = bytes.len() > MAX_FILE_BYTES;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // The limit may have split a character.
        Err(_) if too_large => Err(Error::Config(file_too_large(&source))),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..good].split(|&byte| byte == b'\n').count();
            Err(Problems::one(&source, Some(line), "not UTF-8: save the file in that encoding").into())
        }
    }
}

/// Returns a variable of the environment. A value that is not Unicode is converted lossily, and then rejected.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

impl<'t> Reader<'t> {
    fn new(purpose: Purpose, text: &'t Text, problems: Vec<Problem>) -> Self {
        let scopes = text.sections.iter().map(|section| Scope::new(section, &text.defaults)).collect();
        Self { purpose, text, scopes, budget: Budget::default(), problems, warnings: Vec::new() }
    }

    fn problem(&mut self, line: Option<usize>, what: String) {
        self.problems.push(Problem { line, what });
    }

    fn config(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Config {
        self.check_interpolation();
        self.warn_about_percent_signs();
        self.warn_about_unknown_names();

        let mut draft = Draft::default();
        for (index, key) in KEYS.iter().enumerate() {
            // Each field once, with all its keys.
            if KEYS[..index].iter().all(|before| before.field != key.field) {
                self.set_field(key, variable, &mut draft);
            }
        }
        if !draft.proxy_is_set && self.purpose == Purpose::Online {
            match Proxy::from_environment(variable) {
                Ok(proxy) => draft.config.service.proxy = proxy,
                // Not needed for a service on this computer.
                Err(_) if draft.config.service.is_on_this_computer() => {}
                Err(e) => self.problem(None, e.to_string()),
            }
        }
        self.check_addresses(&draft.config.service);
        let console_only = self.is_set("GENERAL", "console_log_level") && !self.is_set("LOGGING", "file");
        let config = draft.finish(console_only);
        self.warn_about_the_machine(&config);
        config
    }

    /// Finds a file with only one of the two addresses, that of another service than the cloud: the key of the other one is
    /// missing or misspelt, and the machine would connect to the cloud.
    fn check_addresses(&mut self, service: &Service) {
        if self.purpose == Purpose::Offline {
            return;
        }
        let cloud = Service::default();
        let addresses = [
            ("server_url", "service.server_url", service.server_url == cloud.server_url),
            (
                "status_service_url",
                "service.status_service_url",
                service.status_service_url == cloud.status_service_url,
            ),
        ];
        let [server, status] = addresses.map(|(_, field, _)| {
            KEYS.iter().filter(|key| key.field == field).find_map(|key| self.setting(key)).map(|setting| setting.line)
        });
        let (line, is_cloud, missing) = match (server, status) {
            (Some(line), None) => (line, addresses[0].2, addresses[1].0),
            (None, Some(line)) => (line, addresses[1].2, addresses[0].0),
            _ => return,
        };
        if !is_cloud {
            self.problem(Some(line), format!("{missing} is not set, and would be the cloud's: set it, too"));
        }
    }

    /// Warns about values that are valid but probably not intended.
    fn warn_about_the_machine(&mut self, config: &Config) {
        let hostname = &config.machine.hostname;
        if hostname.to_ascii_uppercase().trim_start_matches("GF-") != hostname {
            self.warn(HOSTNAME, "hostname should be as in ABC-123: in capitals, without gf-".into());
        }
        if let Some(protocol) = config.service.protocol {
            let of_firmware = Generation::of_firmware(&config.machine.firmware);
            if protocol != of_firmware {
                let what = format!("protocol is {protocol}, but the firmware version is for {of_firmware}");
                self.warn("service.protocol", what);
            }
        }
    }

    /// Adds a warning on the line that sets `field`, if any.
    fn warn(&mut self, field: &str, what: String) {
        let setting = KEYS.iter().filter(|key| key.field == field).find_map(|key| self.setting(key));
        if let Some(Setting { line, .. }) = setting {
            self.warnings.push(Warning { line, what });
        }
    }

    /// Reports invalid interpolation, also in unknown keys, as Python does.
    fn check_interpolation(&mut self) {
        for (section, scope) in self.text.sections.iter().zip(&mut self.scopes) {
            for entry in &section.entries {
                if let Err(InterpolationError { line, what }) = scope.value(entry, &mut self.budget) {
                    self.problems.push(Problem { line: Some(line), what });
                }
            }
        }
    }

    /// Warns about percent signs that refer to nothing: probably a mistyped reference, or meant for another program.
    fn warn_about_percent_signs(&mut self) {
        for entry in self.text.sections.iter().chain([&self.text.defaults]).flat_map(|section| &section.entries) {
            if interpolation::has_lone_percent(&entry.value) {
                let key = shown(&entry.key);
                let what = format!("a % in {key} is kept as it is: %(name)s refers to a key, %% is a percent sign");
                self.warnings.push(Warning { line: entry.line, what });
            }
        }
    }

    fn warn_about_unknown_names(&mut self) {
        for (section, scope) in self.text.sections.iter().zip(&self.scopes) {
            let name = section.name.to_uppercase();
            if KEYS.iter().all(|key| key.section != name) {
                let mut what = format!("unknown section [{}]", shown(&name));
                if let Some(near) = keys::near_section(&name) {
                    what = format!("{what}: did you mean [{near}]?");
                }
                self.warnings.push(Warning { line: section.line, what });
                continue;
            }
            for entry in &section.entries {
                let known = KEYS.iter().any(|key| key.section == name && key.name == entry.key);
                // A name that only other values refer to is intended.
                if known || scope.referenced.contains(entry.key.as_str()) {
                    continue;
                }
                let mut what = format!("unknown key {} in [{name}]", shown(&entry.key));
                match keys::near(&name, &entry.key) {
                    Some(near) if near.section == name => what = format!("{what}: did you mean {}?", near.name),
                    Some(near) => what = format!("{what}: it belongs in [{}]", near.section),
                    None => {}
                }
                self.warnings.push(Warning { line: entry.line, what });
            }
        }
    }

    fn is_set(&mut self, section: &str, name: &str) -> bool {
        KEYS.iter()
            .find(|key| key.section == section && key.name == name)
            .is_some_and(|key| self.setting(key).is_some_and(|setting| !setting.is_empty()))
    }

    /// Returns the file's value for `key`. `[DEFAULT]` applies only to sections that are in the file.
    fn setting(&mut self, key: &'static Key) -> Option<Setting<'t>> {
        let section = self.text.position(&key.section.to_lowercase())?;
        let own = self.text.sections[section].entry(key.name);
        let entry = own.or_else(|| self.text.defaults.entry(key.name))?;
        let value = self.scopes[section].value(entry, &mut self.budget);
        Some(Setting { key, line: entry.line, is_default: own.is_none(), value, entry })
    }

    /// Sets the field of the key `first` from the environment, or from any of its keys in the file.
    fn set_field(&mut self, first: &'static Key, variable: &dyn Fn(&str) -> Option<String>, draft: &mut Draft) {
        let environment = VARIABLES.iter().find(|(field, _)| *field == first.field).map(|(_, name)| *name);
        if let Some(name) = environment
            && let Some(value) = variable(name).filter(|value| !value.is_empty())
        {
            if let Err(right) = (first.set)(draft, value.trim())
                && self.checks(first)
            {
                self.problem(None, format!("{name} in the environment must be {right}"));
            }
            return;
        }

        let mut settings: Vec<Setting> =
            KEYS.iter().filter(|key| key.field == first.field).filter_map(|key| self.setting(key)).collect();
        if settings.iter().any(|setting| !setting.is_default) {
            settings.retain(|setting| !setting.is_default);
        }
        self.compare(&settings);
        let is_required = [SERIAL, HOSTNAME, PASSWORD].contains(&first.field);
        match settings.first() {
            Some(setting) if !(is_required && setting.is_empty()) => {
                // Interpolation errors have been reported.
                if let Ok(value) = &setting.value
                    && let Err(right) = (setting.key.set)(draft, value)
                    && self.checks(first)
                {
                    let problem = format!("{} must be {right}{}", setting.key.name, setting.hint());
                    self.problem(Some(setting.line), problem);
                }
            }
            empty if is_required && self.purpose == Purpose::Online => {
                let line = empty.map(|setting| setting.line);
                let Key { section, name, .. } = first;
                let or = environment.map(|name| format!(" in the file, or set {name} in the environment"));
                let or = or.unwrap_or_default();
                self.problem(line, format!("{name} in [{section}] is missing: set it{or}"));
            }
            _ => {}
        }
    }

    /// Returns whether an invalid value of this key is a problem.
    fn checks(&self, key: &Key) -> bool {
        key.field != PASSWORD || self.purpose == Purpose::Online
    }

    /// Reports different values for several keys of a field.
    fn compare(&mut self, settings: &[Setting]) {
        let Some((first, others)) = settings.split_first() else { return };
        for other in others {
            let (Ok(one), Ok(two)) = (&first.value, &other.value) else { continue };
            if one == two || std::ptr::eq(first.entry, other.entry) {
                continue;
            }
            let name = |setting: &Setting| format!("{} in [{}]", setting.key.name, setting.key.section);
            if first.key.origin == Origin::V2 && other.key.origin == Origin::V2 {
                let what =
                    format!("{} is ignored: {} on line {} takes precedence", name(other), name(first), first.line);
                self.warnings.push(Warning { line: other.line, what });
            } else {
                let (early, late) = if first.line < other.line { (first, other) } else { (other, first) };
                let what = format!("{} differs from {} on line {}: remove one", name(late), name(early), early.line);
                self.problem(Some(late.line), what);
            }
        }
    }
}
